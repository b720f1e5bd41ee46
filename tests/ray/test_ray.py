"""The passes over images on a Ray cluster of one machine, in which nodes come and go."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("ray", reason="the extra ray is not installed")

import ray
from ray.cluster_utils import Cluster

from pladapt import DataError, InputError
from pladapt.errors import ClusterError
from pladapt.files import Files, GivenProbabilities, Grouping, ImageLayout, score_files, write_masks
from pladapt.ray import RayEngine
from pladapt.selection import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pladapt.typing import Predictor

IMAGES, BLOCK, BROKEN = 40, 4, 13
NODE: dict[str, Any] = {
    "num_cpus": 1,
    "object_store_memory": 80 * 2**20,
    "include_dashboard": False,
}


def test_where_no_cluster_is_the_user_learns_how_to_start_one() -> None:
    with pytest.raises(ClusterError, match=r"Nothing listens at 127.0.0.1:1 .*ray start --head"):
        RayEngine(address="127.0.0.1:1")
    with pytest.raises(InputError, match="workers is 0"):
        RayEngine(workers=0)
    with pytest.raises(InputError, match="no CPU and no GPU"):
        RayEngine(cpus=0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head where nothing runs, and a node for one worker."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    try:
        cluster.add_node(**NODE)
        RayEngine(address=cluster.address)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        np.save(folder / f"{number:02}.npy", rng.random((8, 8), np.float32))
    (folder / f"{BROKEN}.npy").write_bytes(b"torn")
    return folder


def slow() -> Predictor:
    """Return what takes its time, so that a node can be killed meanwhile."""

    class Slow:
        def predict(self, images: Any) -> Any:
            time.sleep(0.05)
            return images

        def describe(self) -> str:
            return "given"

    return Slow()


def scored(folder: Path, output: Path, **options: Any) -> tuple[bytes, list[Any]]:
    problems = score_files(
        options.pop("predictor", GivenProbabilities()),
        Files.find(folder),
        output,
        selector=CertaintyIndexSelector(cutoff=0.5),
        layout=ImageLayout(probabilities=True),
        grouping=Grouping(),
        batch_size=2,
        **options,
    )
    return output.read_bytes(), problems


def contents(folder: Path) -> dict[str, bytes]:
    shown = {path.name: path for path in folder.iterdir() if not path.name.startswith(".")}
    return {n: path.read_bytes() for n, path in shown.items() if n != "run.json"}


def test_scores_and_masks_are_those_of_one_process(
    cluster: Cluster, folder: Path, tmp_path: Path
) -> None:
    local = scored(folder, tmp_path / "local.parquet")
    assert scored(folder, tmp_path / "ray.parquet", engine=RayEngine(block=BLOCK)) == local
    assert [problem.name for problem in local[1]] == [str(BROKEN)]

    masks = {"layout": ImageLayout(probabilities=True), "batch_size": 2}
    maps = {name: tmp_path / f"{name}-maps" for name in ("local", "ray")}
    given = GivenProbabilities(), Files.find(folder)
    write_masks(*given, tmp_path / "local", probabilities=maps["local"], **masks)
    engine = RayEngine(block=BLOCK)
    write_masks(*given, tmp_path / "ray", probabilities=maps["ray"], engine=engine, **masks)
    assert len(contents(tmp_path / "local")) == IMAGES - 1 + 1  # but the broken one, and the table
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert contents(maps["ray"]) == contents(maps["local"])


def test_a_node_that_dies_loses_nothing_and_nothing_is_done_twice(
    cluster: Cluster, folder: Path, tmp_path: Path
) -> None:
    local = scored(folder, tmp_path / "local.parquet", predictor=slow())
    first, nodes, seen = cluster.worker_nodes.copy(), [], list[int]()

    def progress(_stage: str, done: int, _total: int) -> None:
        seen.append(done)
        if len(nodes) == 0 and done >= BLOCK:
            nodes.append(cluster.add_node(**NODE))
        if len(nodes) == 1 and done >= 2 * BLOCK:
            nodes.append(None)
            for node in first:
                cluster.remove_node(node, allow_graceful=False)

    engine = RayEngine(predictor=slow, block=BLOCK)
    on_ray = scored(folder, tmp_path / "ray.parquet", engine=engine, progress=progress)
    assert len(nodes) == 2
    assert on_ray == local
    assert seen == sorted(seen)
    ids = pq.read_table(tmp_path / "ray.parquet")["id"].to_pylist()
    assert ids == sorted({*ids})
    assert len(ids) == IMAGES - 1


def test_a_job_that_was_stopped_goes_on_with_any_engine(
    cluster: Cluster, folder: Path, tmp_path: Path
) -> None:
    local = scored(folder, tmp_path / "local.parquet")
    seen: list[int] = []

    def stop(_stage: str, done: int, _total: int) -> None:
        if done >= IMAGES // 2:
            raise KeyboardInterrupt

    def watch(_stage: str, done: int, _total: int) -> None:
        seen.append(done)

    output = tmp_path / "ray.parquet"
    with pytest.raises(KeyboardInterrupt):
        scored(folder, output, engine=RayEngine(block=BLOCK), progress=stop)
    assert scored(folder, output, progress=watch) == local
    assert seen[0] > IMAGES // 2


def broken() -> Predictor:
    raise DataError("The weights are torn.")


def dying() -> Predictor:
    class Dying:
        def predict(self, images: Any) -> Any:
            os._exit(1)

        def describe(self) -> str:
            return "dying"

    return Dying()


def test_what_cannot_work_anywhere_ends_the_job_with_its_message(
    cluster: Cluster, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pladapt.ray.pool._DEATHS", 1)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"predictor": broken}, DataError, "The weights are torn"),
        ({"predictor": dying}, ClusterError, "1 workers died"),
        ({"gpus": 1}, ClusterError, "No machine of the Ray cluster has 1 CPUs and 1 GPUs"),
    ]
    for options, error, said in cases:
        with pytest.raises(error, match=said):
            scored(folder, tmp_path / "ray.parquet", engine=RayEngine(block=BLOCK, **options))
    assert not (tmp_path / "ray.parquet").exists()
