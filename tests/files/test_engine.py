"""Work on images that is done elsewhere, piece by piece: by an engine that sends all it needs."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pladapt import DataError, InputError
from pladapt.cli.engine import EngineOptions
from pladapt.errors import MissingDependencyError
from pladapt.files import Files, GivenProbabilities, Grouping, ImageLayout, score_files, write_masks
from pladapt.runs.engine import LocalEngine
from pladapt.selection import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

FILES, TORN = 14, "05"


class Elsewhere(LocalEngine):
    """Sends what makes the work to a worker for each piece, as one on another machine."""

    def map(
        self,
        make: Callable[..., Any],
        predictor: Any,
        items: Sequence[Any],
        *,
        multiple_of: int = 1,
    ) -> Generator[Any]:
        size = 2 * multiple_of
        for start in range(0, len(items), size):
            work = pickle.loads(pickle.dumps(make))(predictor)  # noqa: S301 - made here
            yield from list(work(items[start : start + size]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Volumes of three slices, of two sizes, and one that cannot be read."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(FILES):
        side = 6 if number % 5 else 8
        np.save(folder / f"{number:02}.npy", rng.random((3, side, side), np.float32))
    (folder / f"{TORN}.npy").write_bytes(b"torn")
    return folder


def scored(folder: Path, output: Path, **options: Any) -> tuple[bytes, list[Any]]:
    problems = score_files(
        GivenProbabilities(),
        Files.find(folder),
        output,
        selector=CertaintyIndexSelector(cutoff=0.5),
        layout=ImageLayout(probabilities=True, axes="ZYX"),
        grouping=Grouping(),
        batch_size=2,
        **options,
    )
    return output.read_bytes(), problems


def test_scores_are_the_same_in_pieces(folder: Path, tmp_path: Path) -> None:
    local = scored(folder, tmp_path / "local.parquet")
    assert scored(folder, tmp_path / "pieces.parquet", engine=Elsewhere()) == local
    assert [problem.name for problem in local[1]] == [TORN]


def test_masks_are_the_same_in_pieces(folder: Path, tmp_path: Path) -> None:
    found = {}
    for name, engine in (("local", None), ("pieces", Elsewhere())):
        masks, maps = tmp_path / name, tmp_path / f"{name}-maps"
        table, problems = write_masks(
            GivenProbabilities(),
            Files.find(folder),
            masks,
            layout=ImageLayout(probabilities=True, axes="ZYX"),
            batch_size=2,
            probabilities=maps,
            engine=engine,
        )
        contents = {
            path.name: path.read_bytes() for path in [*masks.glob("*.npy"), *maps.iterdir()]
        }
        found[name] = table.to_pylist(), problems, contents
    assert found["pieces"] == found["local"]
    assert len(found["local"][0]) == FILES - 1


def test_a_pass_that_was_stopped_goes_on_with_another_engine(folder: Path, tmp_path: Path) -> None:
    local = scored(folder, tmp_path / "local.parquet")

    def stop(_stage: str, done: int, _total: int) -> None:
        if done >= FILES // 2:
            raise KeyboardInterrupt

    output = tmp_path / "scores.parquet"
    with pytest.raises(KeyboardInterrupt):
        scored(folder, output, engine=Elsewhere(), progress=stop)
    assert scored(folder, output) == local


def test_the_limit_of_what_is_left_out_counts_over_all_pieces(folder: Path, tmp_path: Path) -> None:
    (folder / "00.npy").write_bytes(b"torn")
    with pytest.raises(DataError, match="2 of 14 files cannot be used, and max_errors allows 1"):
        scored(folder, tmp_path / "scores.parquet", engine=Elsewhere(), max_errors=1)
    _, problems = scored(folder, tmp_path / "scores.parquet", engine=Elsewhere(), max_errors=2)
    assert [problem.name for problem in problems] == ["00", TORN]


def test_options_of_ray_need_ray_chosen_and_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EngineOptions().chosen(GivenProbabilities) is None
    with pytest.raises(InputError, match="--workers, --ray-address is of --engine ray"):
        EngineOptions(given=frozenset({"workers", "ray_address"})).chosen(GivenProbabilities)
    for name in [name for name in sys.modules if name.startswith("pladapt.ray")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pladapt\[ray\]'"):
        EngineOptions(engine="ray").chosen(GivenProbabilities)
