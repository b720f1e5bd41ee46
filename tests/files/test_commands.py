from __future__ import annotations

import json
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pladapt import DataError, InputError, Prediction, Rules, Selection
from pladapt.cli import main
from pladapt.cli.application import application
from pladapt.errors import MissingDataError, UnknownPluginError
from pladapt.files import select_file
from pladapt.selection.neighbour_agreement import NeighbourAgreementSelector
from pladapt.selection.soft_dice import SoftDiceSelector

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

    selected = pladapt("select scores.parquet -o selection.parquet --top-k 0.4")
    assert selected.exit_code == 0, selected.output
    assert "Selector: certainty-index" in selected.stdout
    assert "Rules: min_pixels 50, top_k 0.4" in selected.stdout
    scores = pq.read_table("scores.parquet")
    expected = Rules(min_pixels=50, top_k=2).select(scores).table
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

    monkeypatch.setattr("pladapt.files.scorer.predict", interrupt)
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


def test_a_file_is_selected_as_a_table(tmp_path: Path) -> None:
    scores = table(2_500, pixels=np.arange(2_500) % 90)
    pq.write_table(scores, tmp_path / "scores.parquet", row_group_size=333)
    options: dict[str, Any] = {"min_pixels": 50, "limit": 0.3, "quantile": 0.1, "top_k": 70}
    found = select_file(tmp_path / "scores.parquet", tmp_path / "out.parquet", **options)
    expected = Rules(**options).select(scores)
    assert pq.read_table(tmp_path / "out.parquet").equals(expected.table)
    assert found.selection.counts == expected.counts
    assert (found.selector, found.rules) == (None, Rules(**options))


def test_scores_without_pixels_can_be_selected_without_that_rule(tmp_path: Path) -> None:
    path, out = tmp_path / "scores.parquet", tmp_path / "out.parquet"
    pq.write_table(table(10), path)
    with pytest.raises(InputError, match=r"no column 'pixels'.* Leave out min_pixels"):
        select_file(path, out, min_pixels=50)
    assert select_file(path, out).selection.counts == {"kept": 10}
    assert select_file(path, out, min_pixels=0, top_k=0.25).selection.counts == {
        "kept": 2,
        "top_k": 8,
    }


def test_a_limit_given_while_scoring_is_the_one_that_selecting_uses(maps: Path) -> None:
    line = "score --probabilities maps -o scores.parquet --selector soft-dice"
    assert pladapt(f"{line} --selector-option limit=0.7 --selector-option top_k=2").exit_code == 0
    assert maps.exists()
    scores = pq.read_table("scores.parquet")
    for given, changed in (
        ("", {}),
        ("--limit 0.65", {"limit": 0.65}),
        ("--top-k 4 --spread group --spread size", {"top_k": 4, "spread": ("group", "size")}),
        ("--min-pixels 130 --quantile 0.5", {"min_pixels": 130, "quantile": 0.5}),
    ):
        result = pladapt(f"select scores.parquet -o selection.parquet {given}")
        assert result.exit_code == 0, result.output
        rules = Rules(**({"min_pixels": 50, "limit": 0.7, "top_k": 2} | changed))
        assert pq.read_table("selection.parquet").equals(rules.select(scores).table)
        assert "Selector: soft-dice" in result.stdout
    assert "Rules: min_pixels 130, limit 0.7, quantile 0.5, top_k 2" in result.stdout


def test_a_score_that_compares_samples_is_the_one_that_selects_from_a_file(maps: Path) -> None:
    line = "score --probabilities maps -o scores.parquet --group-by folder"
    line += " --selector neighbour-agreement --selector-option min_pixels=1"
    assert pladapt(line).exit_code == 0
    assert maps.exists()
    assert pladapt("select scores.parquet -o selection.parquet --top-k 3").exit_code == 0
    scores, found = pq.read_table("scores.parquet"), pq.read_table("selection.parquet")
    assert found.equals(NeighbourAgreementSelector(min_pixels=1, top_k=3).select(scores).table)
    assert found["score"].to_pylist() != scores["score"].to_pylist()


def test_an_audit_of_a_file_is_of_the_score_that_selects(
    maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # a line for each row
    names = ("certainty-index", "neighbour-agreement")
    for name in names:
        line = f"score --probabilities {maps} -o {name}.parquet --selector {name}"
        assert pladapt(f"{line} --group-by folder").exit_code == 0
        assert pladapt(f"select {name}.parquet -o {name}.selection.parquet").exit_code == 0
    line = f"evaluate {maps} truth -o evaluation --cutoff 0.5 --truth-label 255 --group-by folder"
    assert pladapt(line).exit_code == 0
    shown = []
    for suffix in ("parquet", "selection.parquet"):
        files = " ".join(f"{name}={name}.{suffix}" for name in names)
        result = pladapt(f"audit {files} --evaluation evaluation")
        assert result.exit_code == 0, result.output
        shown.append(result.stdout)
    assert shown[0] == shown[1]
    rows = [line.split("│")[2:] for line in shown[0].splitlines() if line.startswith("│")]
    assert len(rows) == len(names)
    assert rows[0] != rows[1]


def test_an_audit_of_scores_of_two_models_says_so(maps: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    for path in maps.glob("*.npy"):
        np.save(others / path.name, 0.9 * np.load(path))
    for folder, name in ((maps, "one"), (others, "other")):
        assert pladapt(f"score --probabilities {folder} -o {name}.parquet").exit_code == 0
    assert (
        pladapt(f"evaluate {maps} truth -o evaluation --cutoff 0.5 --truth-label 255").exit_code
        == 0
    )
    audit = "audit one.parquet other.parquet --evaluation evaluation"
    with pytest.warns(UserWarning, match="'other' are of another model than 'one'"):
        assert pladapt(audit).exit_code == 0


def test_a_selector_without_a_name_is_asked_for(maps: Path, tmp_path: Path) -> None:
    selector = SoftDiceSelector(min_pixels=1, top_k=2)
    prediction = Prediction(("a", "b", "c"), MAPS[:3, None])
    scores = pa.table({"id": list(prediction.ids)} | dict(selector.score(prediction)))
    made = json.dumps({"selector": {"type": "mine.Selector"}})
    path, out = tmp_path / "own.parquet", tmp_path / "out.parquet"
    pq.write_table(scores.replace_schema_metadata({"pladapt": made}), path)
    with pytest.raises(InputError, match=r"mine\.Selector.*give the selector itself"):
        select_file(path, out)
    found = select_file(path, out, selector=selector)
    assert found.selection.table.equals(selector.select(scores).table)
    assert select_file(path, out, selector=selector, top_k=1).selection.counts["top_k"] == 2


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ("no json", DataError, "do not say what made them"),
        ('{"made_by": 3}', DataError, "do not say what made them"),
        ('{"made_by": {"selector": "nobodys", "options": {}}}', UnknownPluginError, "nobodys"),
        (
            '{"made_by": {"selector": "soft-dice", "options": {"depth": 3}}}',
            DataError,
            "cannot be made with {'depth': 3}",
        ),
    ],
)
def test_a_damaged_record_of_the_selector_is_named(
    tmp_path: Path, metadata: str, error: type[Exception], message: str
) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(table(10).replace_schema_metadata({"pladapt": metadata}), path)
    with pytest.raises(error, match=message):
        select_file(path, tmp_path / "out.parquet")


def test_what_cannot_be_selected_from_is_said(tmp_path: Path) -> None:
    path, out = tmp_path / "scores.parquet", tmp_path / "out.parquet"
    with pytest.raises(MissingDataError, match="`pladapt score` writes one"):
        select_file(path, out)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="no whole parquet file"):
        select_file(path, out)
    pq.write_table(table(10), path)
    for top_k in (0, 0.0, 1.5):
        with pytest.raises(InputError, match="top_k is"):
            select_file(path, out, top_k=top_k)
    assert "--top-k is 'half'; give a number" in error_of(f"select {path} -o {out} --top-k half")
    assert "Cannot spread over 'patient'" in error_of(
        f"select {path} -o {out} --top-k 3 --spread patient"
    )
    with pytest.raises(InputError, match="must be at least 0"):
        select_file(path, out, min_pixels=-1)
    pq.write_table(pa.concat_tables([table(10), table(10)]), path)
    with pytest.raises(InputError, match="is there twice"):
        select_file(path, out)
    assert not out.exists()


def test_plugins_lists_recipes() -> None:
    result = CliRunner().invoke(application(), ["plugins", "recipe", "--json"])
    assert result.exit_code == 0, result.output
    listed = {part["name"] for part in json.loads(result.stdout)["parts"]}
    assert {"paper", "robust"} <= listed


def test_the_end_that_a_scheduler_sends_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ended = partial(os.kill, os.getpid(), signal.SIGTERM)
    monkeypatch.setattr("pladapt.cli.application", lambda: ended)
    try:
        with pytest.raises(KeyboardInterrupt):
            main()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_finished_evaluation_is_not_written_over_unasked(
    maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"evaluate {maps} truth -o evaluation --cutoff 0.5 --truth-label 255"
    assert pladapt(line).exit_code == 0
    before = pq.read_table("evaluation/summary.parquet")
    with monkeypatch.context() as patch:
        patch.setattr("pladapt.files.evaluate_files", None)  # before any work
        assert "evaluation is there already; give another folder, or --ov" in error_of(line)
    assert pladapt(f"{line} --overwrite").exit_code == 0
    assert pq.read_table("evaluation/summary.parquet").equals(before)
    (maps.parent / "evaluation/notes.txt").write_text("mine")
    assert "--overwrite would lose the rest" in error_of(f"{line} --overwrite")
    assert (maps.parent / "evaluation/notes.txt").exists()
    (maps.parent / "empty").mkdir()
    assert pladapt(line.replace("-o evaluation", "-o empty")).exit_code == 0
    assert "--overwrite would lose" in error_of(
        f"{line} --overwrite".replace("-o evaluation", f"-o {maps / '0.npy'}")
    )


def test_an_evaluation_that_fails_leaves_the_earlier_one(maps: Path) -> None:
    line = f"evaluate {maps} truth -o evaluation --cutoff 0.5 --truth-label"
    assert pladapt(f"{line} 255").exit_code == 0
    assert "can be used" in error_of(f"{line} 7 --overwrite")
    assert pq.read_table("evaluation/summary.parquet").num_rows > 0


def test_names_are_paired_by_a_pattern_or_a_table(maps: Path) -> None:
    for path in sorted((maps.parent / "truth").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    line = f"evaluate {maps} truth --cutoff 0.6 --truth-label 255"
    assert "would pair with --match '^(.+?)(?:_mask)?$'" in error_of(f"{line} -o a")
    result = pladapt(f"{line} -o a --match ^(.+?)(?:_mask)?$")
    assert result.exit_code == 0, result.output
    rows = ["name,truth", *(f"{index}.npy,{index}_mask.png" for index in range(4))]
    (maps.parent / "pairs.csv").write_text("\n".join(rows))
    result = pladapt(f"{line} -o b --pairs pairs.csv")
    assert result.exit_code == 0, result.output
    assert "Left out: 4: There is no truth of this name" in result.stdout
    for folder, count in (("a", 5), ("b", 4)):
        samples = pq.read_table(f"{folder}/samples.parquet")
        assert samples["dsc"].to_pylist() == [1.0] * count


def test_masks_of_instances_and_maps_in_percent(maps: Path) -> None:
    for index, values in enumerate(MAPS):
        np.save(f"truth/{index}.npy", (values > 0.6) * np.arange(1, 17))
        (maps.parent / f"truth/{index}.png").unlink()
        np.save(maps / f"{index}.npy", (values * 100).astype(np.uint8))
    line = f"evaluate {maps} truth -o evaluation --cutoff 0.6"
    assert "Give the scale (--scale)" in error_of(f"{line} --binary")
    assert "ask for that (--binary)" in error_of(f"{line} --scale 100")
    result = pladapt(f"{line} --scale 100 --binary")
    assert result.exit_code == 0, result.output
    dsc = pq.read_table("evaluation/samples.parquet")["dsc"].to_pylist()
    assert min(dsc) > 0.95  # of 100 steps


def test_files_that_were_not_looked_at_are_counted_and_listed(maps: Path) -> None:
    for name in ("notes.txt", "more.txt", "case.xyz"):
        (maps / name).write_text("no image")
    (maps / ".hidden.txt").write_text("nor this")
    result = pladapt(f"score --probabilities {maps} -o scores.parquet")
    assert result.exit_code == 0, result.output
    assert "listed in scores.left-out.csv: 2 .txt, 1 .xyz" in result.stdout
    lines = (maps.parent / "scores.left-out.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "name",
        "case.xyz",
        "more.txt",
        "notes.txt",
    ]
    strict = pladapt(f"score --probabilities {maps} -o scores.parquet --overwrite --on-error raise")
    assert strict.exit_code == 0, strict.output


HOSTILE = "=1+1\x1b[31m\u202e"


def test_a_name_steers_neither_the_terminal_nor_a_spreadsheet(maps: Path) -> None:
    (maps / f"{HOSTILE}.npy").write_bytes(b"torn")
    result = pladapt(f"score --probabilities {maps} -o scores.parquet")
    assert result.exit_code == 0, result.output
    assert "\x1b[31m" not in result.output
    assert "\u202e" not in result.output
    assert "Left out: =1+1\\x1b[31m\\u202e: It cannot be read" in result.stdout
    listed = (maps.parent / "scores.left-out.csv").read_text()
    assert "\n'=1+1\\x1b[31m\\u202e," in listed


def test_an_error_steers_no_terminal(
    maps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pladapt.cli import main

    given = ["pladapt", "score", "--probabilities", str(maps / HOSTILE), "-o", "s.parquet"]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit, match="1"):
        main()
    said = capsys.readouterr().err
    assert "There is no folder or file" in said
    assert "\x1b[31m" not in said
    assert "\\x1b[31m" in said


@pytest.mark.parametrize(
    "line",
    [
        "score --probabilities maps -o",
        "predict nowhere:net maps -o",
        "adapt nowhere:net maps -o",
        "source maps -o",
        "evaluate maps maps -o",
        "select s.parquet -o",
        "merge s.parquet -o",
        "names maps -o",
        "new selector own -o",
    ],
)
def test_a_place_that_cannot_be_made_is_said_before_the_work(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    result = CliRunner().invoke(application(), [*line.split(), "file/deep/made.npz"])
    assert isinstance(result.exception, InputError)
    assert f"{tmp_path / 'file'} is a file" in str(result.exception)


def test_an_error_of_the_system_names_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pladapt.cli.application", lambda: (tmp_path / "none").stat)
    with pytest.raises(SystemExit, match="1"):
        main()
    said = capsys.readouterr().err
    assert f"FileNotFoundError: {tmp_path}/none: No such file or directory." in said
    assert "Traceback" not in said


def test_names_that_are_no_text_are_scored_all_the_same(maps: Path) -> None:
    import os

    raw = os.fsencode(maps) + b"/caf\xe9.npy"
    with open(raw, "wb") as file:  # noqa: PTH123 - a path of bytes
        np.save(file, MAPS[0])
    result = pladapt(f"score --probabilities {maps} -o scores.parquet")
    assert result.exit_code == 0, result.output
    assert "caf\\udce9" in pq.read_table("scores.parquet")["id"].to_pylist()


def test_more_errors_than_may_be_end_the_command_and_a_higher_limit_continues_it(
    maps: Path,
) -> None:
    for name in ("torn", "cut"):
        (maps / f"{name}.npy").write_bytes(b"")
    line = f"score --probabilities {maps} -o scores.parquet"
    assert "cannot be used, and max_errors allows 1" in error_of(f"{line} --max-errors 1%")
    assert "give a number from 0, or a percentage" in error_of(f"{line} --max-errors few")
    result = pladapt(f"{line} --max-errors 2")
    assert result.exit_code == 0, result.output
    assert "Left out: 2 in all, listed in" in " ".join(result.stdout.split())


def test_parts_are_scored_and_merged(maps: Path) -> None:
    line = f"score --probabilities {maps}"
    for part in (1, 2, 3):
        scored = pladapt(f"{line} -o {part}.parquet --part {part}/3")
        assert scored.exit_code == 0, scored.output
    merged = pladapt("merge 2.parquet 3.parquet 1.parquet -o merged.parquet")
    assert merged.exit_code == 0, merged.output
    assert pladapt(f"{line} -o scores.parquet").exit_code == 0
    merged_file, whole = maps.parent / "merged.parquet", maps.parent / "scores.parquet"
    assert merged_file.read_bytes() == whole.read_bytes()
    assert "is there already" in error_of("merge 1.parquet -o merged.parquet")
    assert "The parts are 1/3, 2/3" in error_of("merge 1.parquet 2.parquet -o two.parquet")
    assert "give a number and how many parts" in error_of(f"{line} -o x.parquet --part 4/3")
