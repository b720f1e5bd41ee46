"""Borders, lesions and volumes of files, in the units that the files say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pladapt import InputError
from pladapt.cli.application import application
from pladapt.runs.stages import read_evaluation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from typer.testing import Result

    Write = Callable[[Path, NDArray[Any]], Path]

TRUTH = np.zeros((6, 20, 20), np.uint8)
TRUTH[1:3, 2:8, 2:8] = 1
PREDICTION = np.roll(TRUTH, 3, 1)
PREDICTION[5, 15:17, 15:17] = 1


def volume(path: Path, array: NDArray[Any], *, unit: str = "mm", size: float = 1) -> None:
    """Write ``(Z, Y, X)`` of voxels of 5 x 0.7 x 0.8 mm, in whatever unit."""
    nibabel = pytest.importorskip("nibabel", reason="the extra files is not installed")
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([0.8 * size, 0.7 * size, 5 * size, 1])
    image = nibabel.Nifti1Image(array.T, affine)
    image.header.set_xyzt_units(unit)
    image.to_filename(path)


def evaluate(folder: Path, *options: str) -> Result:
    words = [str(folder / "predicted"), str(folder / "truth"), "-o", str(folder / "out"), *options]
    return CliRunner().invoke(application(), ["evaluate", *words])


ALL = ("--surface", "2", "--lesions", "--volumes", "--dimensions", "3")
BOX_ML = 72 * 5 * 0.7 * 0.8 / 1000


@pytest.mark.parametrize(("unit", "size"), [("mm", 1), ("micron", 1000), ("meter", 0.001)])
def test_the_size_of_a_voxel_is_the_file_s(tmp_path: Path, unit: str, size: float) -> None:
    volume(tmp_path / "truth/a.nii.gz", TRUTH, unit=unit, size=size)
    volume(tmp_path / "predicted/a.nii.gz", np.roll(TRUTH, 3, 1), unit=unit, size=size)
    result = evaluate(tmp_path, *ALL)
    assert result.exit_code == 0, result.output
    found = read_evaluation(tmp_path / "out")
    assert found.value("hd95", aggregation="sample") == pytest.approx(3 * 0.7, rel=1e-5)
    assert found.samples["volume"].to_pylist() == [pytest.approx(BOX_ML, rel=1e-5)]


def test_the_command_prints_figures_units_and_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("a/1", "a/2", "b/1"):
        volume(tmp_path / f"truth/{name}.nii.gz", TRUTH)
        volume(tmp_path / f"predicted/{name}.nii.gz", PREDICTION)
    volume(tmp_path / "truth/b/2.nii.gz", TRUTH)
    volume(tmp_path / "predicted/b/2.nii.gz", 0 * TRUTH)
    result = evaluate(tmp_path, *ALL, "--group-by", "folder", "--by-group")
    assert result.exit_code == 0, result.output
    assert "nsd tolerance: 2 mm" in result.output
    assert "one empty: 1 of 4: NSD 0, without HD95" in result.output
    assert "volume unit: ml" in result.output
    (row,) = [line for line in result.output.splitlines() if line.startswith("│ b ")]
    figures = row.replace("│", " ").split()
    bias = (72 + 4 - 2 * 72) * 5 * 0.7 * 0.8 / 1000
    assert figures[-4:] == ["0.500", "0.500", f"{bias:.3f}", f"{76 / 144:.3f}"]
    notes = json.loads((tmp_path / "out/notes.json").read_text())
    assert notes["hd95_unit"] == "mm"
    assert notes["empty_dsc"] == "1"


def test_pictures_are_measured_in_pixels_and_with_a_spacing_in_mm(
    tmp_path: Path, write: Write
) -> None:
    write(tmp_path / "truth/a.png", TRUTH[1])
    write(tmp_path / "predicted/a.png", np.roll(TRUTH[1], 3, 0))
    result = evaluate(tmp_path, "--surface", "2")
    assert "hd95 unit: pixels" in result.output
    assert read_evaluation(tmp_path / "out").value("hd95", aggregation="sample") == 3
    evaluate(tmp_path, "--surface", "2", "--spacing", "0.5,2", "--overwrite")
    assert read_evaluation(tmp_path / "out").value("hd95", aggregation="sample") == 1.5


def test_a_slice_of_a_volume_has_the_volume_s_spacing(tmp_path: Path) -> None:
    volume(tmp_path / "truth/a.nii.gz", TRUTH)
    volume(tmp_path / "predicted/a.nii.gz", PREDICTION)
    evaluate(tmp_path, "--surface", "2", "--volumes")
    found = read_evaluation(tmp_path / "out")
    assert found.samples["hd95"].to_pylist()[1] == pytest.approx(3 * 0.7, rel=1e-5)
    assert found.value("volume_ratio") == pytest.approx(76 / 72)
    assert sum(found.samples["volume"].to_pylist()) == pytest.approx(BOX_ML, rel=1e-5)


def test_voxels_compared_as_they_are_stored_keep_their_size(tmp_path: Path) -> None:
    volume(tmp_path / "truth/a.nii.gz", TRUTH)
    volume(tmp_path / "predicted/a.nii.gz", PREDICTION, size=2)
    evaluate(tmp_path, "--volumes", "--dimensions", "3", "--as-stored")
    found = read_evaluation(tmp_path / "out")
    assert found.samples["volume"].to_pylist() == [pytest.approx(BOX_ML, rel=1e-5)]


def test_millimetres_and_pixels_are_not_averaged(tmp_path: Path, write: Write) -> None:
    volume(tmp_path / "truth/a.nii.gz", TRUTH)
    volume(tmp_path / "predicted/a.nii.gz", PREDICTION)
    write(tmp_path / "truth/b.npy", TRUTH)
    write(tmp_path / "predicted/b.npy", PREDICTION)
    result = evaluate(tmp_path, "--surface", "2")
    assert isinstance(result.exception, InputError)
    assert "'a/z000' in mm, 'b/z000' in pixels" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--spacing", "1,1"), "--spacing is for --surface"),
        (("--volumes", "--spacing", "1;1"), "expected numbers in mm"),
        (("--volumes", "--spacing", "1,-1"), "expected the size of a pixel"),
    ],
)
def test_a_spacing_that_is_none_is_refused(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    result = evaluate(tmp_path, *options)
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)
