from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pladapt import DataError, LabelledSample
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.files import Files, Grouping, MaskLayout, evaluate_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt import Evaluation
    from pladapt.files import Problem

    Write = Callable[[Path, NDArray[Any]], Path]

GENERATOR = np.random.default_rng(0)
TRUTH = GENERATOR.integers(0, 2, (3, 5, 8, 7), np.uint8)
MAPS = GENERATOR.random((3, 5, 8, 7), np.float32)


def run(folder: Path, **options: Any) -> tuple[Evaluation, Sequence[Problem]]:
    given: dict[str, Any] = {
        "layout": MaskLayout(),
        "truth_layout": MaskLayout(),
        "grouping": Grouping(),
    }
    roots = options.pop("roots", (folder / "predicted", folder / "truth"))
    return evaluate_files(*map(Files.find, roots), **given | options)


@pytest.fixture
def volumes(tmp_path: Path, write: Write) -> Path:
    for index, (maps, truth) in enumerate(zip(MAPS, TRUTH, strict=True)):
        write(tmp_path / f"predicted/{index}.npy", maps[:, None])
        write(tmp_path / f"truth/{index}.nii.gz", truth)
    return tmp_path


class AsGiven:
    def predict(self, images: Any, /) -> Any:
        """Return the images."""
        return images


def test_files_give_what_the_evaluator_gives_of_arrays(volumes: Path) -> None:
    samples = [
        LabelledSample(f"{i}/z{z:03}", str(i), MAPS[i, z][None], TRUTH[i, z])
        for i in range(3)
        for z in range(5)
    ]
    expected = OverlapEvaluator(samples=samples, cutoff=0.4, empty=0.0).evaluate(AsGiven())
    found, problems = run(volumes, cutoff=0.4, empty=0.0)
    assert problems == []
    assert found.samples.equals(expected.samples)
    assert found.summary.equals(expected.summary)
    assert found.notes == expected.notes


def test_predicted_masks_and_whole_volumes(tmp_path: Path, write: Write) -> None:
    predicted = (MAPS > 0.5).astype(np.uint8)
    for index in range(3):
        write(tmp_path / f"predicted/a/{index}.nii", predicted[index] * 7)
        write(tmp_path / f"truth/a/{index}.tif", TRUTH[index] * 255)
    evaluation, _ = run(
        tmp_path,
        layout=MaskLayout((7,), dimensions=3),
        truth_layout=MaskLayout((255,), dimensions=3),
        grouping=Grouping("folder"),
    )
    assert evaluation.samples["id"].to_pylist() == ["a/0", "a/1", "a/2"]
    assert set(evaluation.samples["group"].to_pylist()) == {"a"}
    both = np.count_nonzero(predicted & TRUTH, axis=(1, 2, 3))
    sizes = predicted.sum((1, 2, 3), int) + TRUTH.sum((1, 2, 3), int)
    np.testing.assert_allclose(evaluation.samples["dsc"], 2 * both / sizes)
    assert evaluation.value("dsc") == pytest.approx(2 * both.sum() / sizes.sum())


def test_several_classes_and_pixels_to_ignore(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "predicted/a.png", np.array([[0, 1, 2, 2]], np.uint8))
    write(tmp_path / "truth/a.png", np.array([[0, 10, 20, 99]], np.uint8))
    evaluation, _ = run(
        tmp_path,
        layout=MaskLayout((1, 2)),
        truth_layout=MaskLayout((10, 20), ignore=99),
    )
    rows = evaluation.samples.select(["class", "tp", "fp", "fn", "tn"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(1, 1, 0, 0, 2), (2, 1, 0, 0, 2)]


def test_what_has_no_partner_is_told_on_either_side(volumes: Path) -> None:
    (volumes / "truth/1.nii.gz").unlink()
    (volumes / "predicted/2.npy").unlink()
    evaluation, problems = run(volumes, cutoff=0.5)
    assert len(evaluation.samples) == 5
    told = {problem.name: problem.reason for problem in problems}
    assert told.keys() == {"1", "2"}
    assert "no truth of this name" in told["1"]
    assert "no prediction of this name" in told["2"]
    with pytest.raises(DataError, match="1: There is no truth"):
        run(volumes, cutoff=0.5, on_error="raise")


def test_files_that_do_not_fit_are_told_with_both_shapes(volumes: Path, write: Write) -> None:
    write(volumes / "truth/1.nii.gz", TRUTH[1, :4])
    (volumes / "truth/2.nii.gz").write_bytes(b"torn")
    _, problems = run(volumes, cutoff=0.5)
    assert problems[0].reason == (
        "The prediction has 5 slices of 8 x 7 and the truth 4 slices of 8 x 7; they must agree."
    )
    assert "says that it is compressed (gzip), and it is not" in problems[1].reason
    with pytest.raises(DataError, match="1: The prediction has 5 slices"):
        run(volumes, cutoff=0.5, on_error="raise")


def test_channels_must_be_the_labels(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "predicted/a.npy", np.full((4, 2, 2), 0.25))
    write(tmp_path / "truth/a.npy", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"4 channels, for 3 classes; the truth has the labels \[1"):
        run(tmp_path, cutoff=0.5)


def test_a_single_file_is_compared_whatever_its_name(volumes: Path) -> None:
    roots = (volumes / "predicted/0.npy", volumes / "truth/1.nii.gz")
    evaluation, _ = run(volumes, cutoff=0.5, roots=roots)
    assert evaluation.samples["id"].to_pylist() == [f"0/z{z:03}" for z in range(5)]


def test_progress_counts_pairs(volumes: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    run(volumes, cutoff=0.5, progress=lambda *step: seen.append(step))
    assert seen == [("evaluate", n, 3) for n in (1, 2, 3)]
