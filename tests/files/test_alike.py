"""What is alike everywhere, as results are that come of a mistake, is said."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pladapt import InputError
from pladapt.cli.application import application

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from typer.testing import Result

    Write = Callable[[Path, NDArray[Any]], Path]

RAMP = np.linspace(0.4, 0.9, 64, dtype=np.float32).reshape(8, 8)


def pladapt(*words: object) -> Result:
    return CliRunner().invoke(application(), [str(word) for word in words])


def score(folder: Path, cutoff: float) -> Result:
    output = folder / f"{cutoff}.parquet"
    option = f"cutoff={cutoff}"
    words = ("--probabilities", folder / "maps", "-o", output, "--selector-option", option)
    return pladapt("score", *words)


@pytest.mark.parametrize(("cutoff", "what"), [(0.95, "nothing"), (0.3, "everything")])
def test_scores_of_which_all_or_nothing_is_foreground_are_warned_of(
    tmp_path: Path, write: Write, cutoff: float, what: str
) -> None:
    for index in range(3):
        write(tmp_path / f"maps/{index}.npy", RAMP)
    with pytest.warns(UserWarning, match=rf"every mask \(3\) {what} is foreground.*--window"):
        assert score(tmp_path, cutoff).exit_code == 0


def test_scores_that_differ_or_are_alike_by_chance_are_no_matter(
    tmp_path: Path, write: Write
) -> None:
    write(tmp_path / "maps/0.npy", RAMP)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score(tmp_path, 0.5).exit_code == 0
        write(tmp_path / "maps/1.npy", 0 * RAMP)
        assert score(tmp_path, 0.3).exit_code == 0


def test_the_first_file_that_can_be_read_says_how_large_a_sample_is(
    tmp_path: Path, write: Write
) -> None:
    write(tmp_path / "maps/0.npy", 9 * RAMP)
    write(tmp_path / "maps/1.npy", RAMP)
    with pytest.warns(UserWarning, match="everything is foreground"):
        assert score(tmp_path, 0.3).exit_code == 0


def test_a_folder_is_not_compared_with_itself(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "masks/0.npy", np.eye(4, dtype=np.uint8))
    result = pladapt("evaluate", tmp_path / "masks", tmp_path / "masks", "-o", tmp_path / "out")
    assert isinstance(result.exception, InputError)
    assert "The predictions and the truth are both" in str(result.exception)


def test_where_no_truth_has_foreground_that_is_said(tmp_path: Path, write: Write) -> None:
    for folder in ("predicted", "truth"):
        write(tmp_path / folder / "0.npy", np.zeros((4, 4), np.uint8))
    words = ("evaluate", tmp_path / "predicted", tmp_path / "truth", "-o", tmp_path / "out")
    said = "No true mask has a pixel of any class"
    assert said in pladapt(*words).output
    write(tmp_path / "truth/1.npy", np.eye(4, dtype=np.uint8))
    write(tmp_path / "predicted/1.npy", np.eye(4, dtype=np.uint8))
    assert said not in pladapt(*words, "--overwrite").output
