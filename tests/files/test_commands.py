from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pladapt.selection.ranking import rank_blocks
from typer.testing import CliRunner

from pladapt import DataError, InputError, MissingDataError, Selection, rank
from pladapt.cli.application import application
from pladapt.files import select_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from typer.testing import Result

    Write = Callable[[Path, NDArray[Any]], Path]

MAPS = np.random.default_rng(0).random((5, 16, 16), np.float32)


@pytest.fixture
def maps(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    for index, values in enumerate(MAPS):
        write(tmp_path / f"maps/{index}.npy", values)
        write(tmp_path / f"truth/{index}.png", (values > 0.6).astype(np.uint8) * 255)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "maps"


def pladapt(line: str) -> Result:
    return CliRunner().invoke(application(), line.split())


def error_of(line: str) -> str:
    result = pladapt(line)
    assert result.exit_code == 1
    return str(result.exception)


def test_the_steps_one_after_the_other(maps: Path) -> None:
    torn = maps / "torn.npy"
    torn.write_bytes(b"")
    scored = pladapt(f"score --probabilities {maps} -o scores.parquet --cutoff 0.6")
    assert scored.exit_code == 0, scored.output
    assert "Left out: torn: It cannot be read" in scored.stdout
    assert (maps.parent / "scores.left-out.csv").read_text().startswith("name,reason\ntorn,")

    selected = pladapt("select scores.parquet -o selection.parquet --top-fraction 0.4")
    assert selected.exit_code == 0, selected.output
    scores = pq.read_table("scores.parquet")
    expected = rank(scores, min_pixels=50, top_k=2).table
    assert pq.read_table("selection.parquet").equals(expected)
    assert len(Selection(expected).kept) == 2

    torn.unlink()
    evaluated = pladapt(f"evaluate {maps} truth -o evaluation --cutoff 0.5 --truth-label 255")
    assert evaluated.exit_code == 0, evaluated.output
    assert "1.000 ± 0.000" in evaluated.stdout  # the sensitivity
    summary = pq.read_table("evaluation/summary.parquet").to_pylist()
    wanted = np.float32(0.6) < MAPS
    found = np.float32(0.5) < MAPS
    dsc = 2 * np.count_nonzero(wanted) / (np.count_nonzero(wanted) + np.count_nonzero(found))
    pooled = next(r for r in summary if (r["aggregation"], r["metric"]) == ("pooled", "dsc"))
    assert pooled["mean"] == pytest.approx(dsc)


def test_nothing_left_out_leaves_no_list(maps: Path) -> None:
    (maps.parent / "scores.left-out.csv").write_text("of an earlier call")
    assert pladapt(f"score --probabilities {maps} -o scores.parquet").exit_code == 0
    assert not (maps.parent / "scores.left-out.csv").exists()


def test_finished_scores_are_not_written_over_unasked(maps: Path) -> None:
    line = f"score --probabilities {maps} -o scores.parquet"
    assert pladapt(line).exit_code == 0
    assert "is there already; give another file, or --overwrite" in error_of(line)
    assert pladapt(f"{line} --overwrite --cutoff 0.7").exit_code == 0


@pytest.mark.parametrize(
    "line",
    ["score -o s.parquet", "score m.onnx -o s.parquet", "score m i --probabilities p -o s.parquet"],
)
def test_score_needs_a_model_and_images_or_probabilities(line: str, maps: Path) -> None:
    assert maps.exists()
    assert "Give MODEL and IMAGES, or --probabilities FOLDER" in error_of(line)


def test_any_predictor_by_name(maps: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    message = error_of(f"score model.onnx {maps} -o s.parquet --predictor onnx --option depth=3")
    assert "'onnx' cannot be made with" in message
    assert "depth" in message
    line = f"score --probabilities {maps} -o s.parquet --selector-option depth=3"
    assert "'certainty-index' cannot be made with {'cutoff': 0.5, 'depth': 3}" in error_of(line)
    assert "There is no predictor 'onx'. Did you mean 'onnx'" in error_of(
        f"score model.onnx {maps} -o s.parquet --predictor onx"
    )
    assert "--option 'depth' has no '='" in error_of(
        f"score model.onnx {maps} -o s.parquet --option depth"
    )


def test_any_selector_by_name_and_with_its_options(maps: Path) -> None:
    line = f"score --probabilities {maps} --selector trimmed-certainty --selector-option trim=0.25"
    result = pladapt(f"{line} -o scores.parquet --cutoff 0.6")
    assert result.exit_code == 0, result.output
    told = json.loads(pq.read_schema("scores.parquet").metadata[b"pladapt"])["selector"]
    assert told["type"].endswith("TrimmedCertaintySelector")
    assert told["cutoff"] == 0.6


def test_an_onnx_file_scores_images(maps: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    shape = ["batch", 1, "height", "width"]
    made = onnx.helper.make_graph(
        [onnx.helper.make_node("Mul", ["images", "images"], ["probabilities"])],
        "square",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, shape)],
    )
    opset = onnx.helper.make_opsetid("", 20)
    onnx.save(onnx.helper.make_model(made, opset_imports=[opset], ir_version=9), "square.onnx")
    line = f"score square.onnx {maps} -o scores.parquet --option device=cpu --batch-size 2"
    result = pladapt(line)
    assert result.exit_code == 0, result.output
    above = [np.square(m)[np.square(m) > 0.5].astype(np.float64) for m in MAPS]
    scores = pq.read_table(tmp_path / "scores.parquet")
    assert scores["pixels"].to_pylist() == [len(values) for values in above]
    np.testing.assert_allclose(scores["score"], [v.mean() for v in above], rtol=1e-6)


def test_an_interruption_says_how_to_go_on(maps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pladapt.files.scoring.predict", interrupt)
    line = f"score --probabilities {maps} -o scores.parquet"
    result = pladapt(line)
    assert result.exit_code == 130
    assert "the same command continues the run" in " ".join(result.output.split())
    monkeypatch.undo()
    monkeypatch.chdir(maps.parent)
    result = pladapt(f"{line} --cutoff 0.7")
    assert result.exit_code == 1
    assert getattr(result.exception, "__notes__", []) == ["Or start anew with --overwrite."]
    assert pladapt(line).exit_code == 0


def table(rows: int, **columns: Any) -> pa.Table:
    generator = np.random.default_rng(0)
    ids = [f"{index:06}" for index in generator.permutation(rows)]
    return pa.table({"id": ids, "score": generator.random(rows).round(4), **columns})


def test_a_file_of_many_blocks_is_selected_as_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pladapt.files.selection._BLOCK", 100)
    scores = table(2_500, pixels=np.arange(2_500) % 90)
    pq.write_table(scores, tmp_path / "scores.parquet", row_group_size=333)
    options: dict[str, Any] = {"min_pixels": 50, "top_k": 70}
    counts = select_file(
        tmp_path / "scores.parquet", tmp_path / "out.parquet", ci_limit=0.3, **options
    )
    expected = rank(scores, limit=0.3, limit_name="ci_limit", **options)
    assert pq.read_table(tmp_path / "out.parquet").equals(expected.table)
    assert counts == expected.counts


def test_selecting_holds_no_more_memory_for_more_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocated: list[int] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        for block in rank_blocks(*arguments, **options):
            allocated.append(pa.total_allocated_bytes() - before)
            yield block

    monkeypatch.setattr("pladapt.files.selection.rank_blocks", watched)
    monkeypatch.setattr("pladapt.files.selection._BLOCK", 10_000)
    path = tmp_path / "scores.parquet"
    pq.write_table(table(400_000), path, row_group_size=10_000)
    before = pa.total_allocated_bytes()
    select_file(path, tmp_path / "out.parquet", min_pixels=0, top_k=100)
    assert len(allocated) == 40
    assert max(allocated) < path.stat().st_size / 2  # the file alone would be more


def test_scores_without_pixels_can_be_selected_without_that_rule(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(table(10), path)
    with pytest.raises(InputError, match=r"no column 'pixels'; they have \['id', 'score'\]"):
        select_file(path, tmp_path / "out.parquet")
    assert select_file(path, tmp_path / "out.parquet", min_pixels=0, top_fraction=0.25) == {
        "kept": 2,
        "top_k": 8,
    }


def test_what_cannot_be_selected_from_is_said(tmp_path: Path) -> None:
    path, out = tmp_path / "scores.parquet", tmp_path / "out.parquet"
    with pytest.raises(MissingDataError, match="`pladapt score` writes one"):
        select_file(path, out)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="no whole parquet file"):
        select_file(path, out)
    pq.write_table(table(10), path)
    for options in ({"top_fraction": 0.0}, {"top_fraction": 0.5, "top_k": 3}):
        with pytest.raises(InputError, match="top_fraction is"):
            select_file(path, out, min_pixels=0, **options)  # type: ignore[arg-type]  # mixed
    with pytest.raises(InputError, match="must not be negative"):
        select_file(path, out, min_pixels=-1)
    pq.write_table(pa.concat_tables([table(10), table(10)]), path)
    with pytest.raises(InputError, match="stands twice"):
        select_file(path, out, min_pixels=0)
    assert not out.exists()


def test_plugins_lists_recipes() -> None:
    result = CliRunner().invoke(application(), ["plugins"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.split("│")] for line in result.output.splitlines()]
    listed = {(row[1], row[2]) for row in rows if len(row) > 3}
    assert {("recipe", "paper"), ("recipe", "robust")} <= listed
