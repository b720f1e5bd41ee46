from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pladapt import DataError, InputError
from pladapt.errors import MissingDataError
from pladapt.files import (
    Files,
    Grouping,
    ImageLayout,
    MaskLayout,
    Pairing,
    read_samples,
    read_truth,
)
from pladapt.files.names import as_cell, visible
from pladapt.files.pairing import likely_pattern

if TYPE_CHECKING:
    from pathlib import Path


def test_by_default_names_are_equal() -> None:
    pairs, problems = Pairing().match_names(["a", "b"], ["b", "c"])
    assert pairs == {"b": "b"}
    assert problems == [("a", True, ""), ("c", False, "")]


@pytest.mark.parametrize(
    ("pattern", "names", "truths"),
    [
        (r"^(.+?)(?:_0000)?$", ["case_001_0000", "case_002_0000"], ["case_001", "case_002"]),
        (r"^(.+?)(?:_mask)?$", ["x", "y"], ["x_mask", "y_mask"]),
        (r"^(.+?)(?:image|mask)?$", ["p1/image", "p2/image"], ["p1/mask", "p2/mask"]),
        (r"(\d+)", ["img_07", "img_08"], ["seg-07-final", "seg-08-final"]),
        (r"^(?:img_|mask_)?(.+)$", ["img_1", "img_2"], ["mask_1", "mask_2"]),
    ],
)
def test_a_pattern_says_what_names_share(pattern: str, names: list[str], truths: list[str]) -> None:
    assert Pairing(pattern).match_names(names, truths) == (
        dict(zip(names, truths, strict=True)),
        [],
    )


def test_names_that_share_too_much_are_left_out_with_the_reason() -> None:
    names = ["case_001_0000", "case_001_0001", "case_002_0000"]
    pairs, problems = Pairing(r"^(.+?)(?:_\d{4})?$").match_names(names, ["case_001", "case_002"])
    assert pairs == {"case_002_0000": "case_002"}
    reason = "case_001_0000, case_001_0001 would pair with case_001: expected one each."
    assert problems == [
        ("case_001_0000", True, reason),
        ("case_001_0001", True, reason),
        ("case_001", False, reason),
    ]


@pytest.mark.parametrize(
    ("names", "truths"),
    [
        (["case_001_0000", "case_001_0001"], ["case_001"]),
        (["x", "y"], ["x_mask", "y_mask"]),
        (["a/x_image", "a/y_image"], ["a/x_seg", "a/y_seg"]),
        (["img_1", "img_2"], ["mask_1", "mask_2"]),
        (["s.1+2", "s.3"], ["s.1+2 (label)", "s.3 (label)"]),
    ],
)
def test_a_pattern_that_would_pair_names_is_found(names: list[str], truths: list[str]) -> None:
    pattern = likely_pattern(names, truths)
    assert pattern is not None
    assert len(Pairing(pattern).match_names(names, truths)[0]) == len(truths)


def test_names_with_nothing_in_common_have_no_pattern() -> None:
    assert likely_pattern(["a", "b"], ["c"]) is None
    assert likely_pattern([], ["c"]) is None


def test_pairs_that_cannot_be_told_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no regular expression"):
        Pairing("p(")
    with pytest.raises(InputError, match="has no group"):
        Pairing("_mask$")
    path = tmp_path / "pairs.csv"
    with pytest.raises(MissingDataError, match="no table of pairs"):
        Pairing.from_csv(path)
    path.write_text("image,mask\na,b\n")
    with pytest.raises(DataError, match="expected name and truth"):
        Pairing.from_csv(path)
    path.write_text("name,truth\na,x\nb,x\n")
    with pytest.raises(DataError, match="the truth 'x' twice"):
        Pairing.from_csv(path)


def test_a_table_pairs_with_or_without_extensions(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("name,truth\nc/a.nii.gz,seg7\nb,seg8.png\nd,\n")
    pairs, problems = Pairing.from_csv(path).match_names(["c/a", "b", "e"], ["seg7", "seg8", "e"])
    assert pairs == {"c/a": "seg7", "b": "seg8"}
    assert problems == [("e", True, ""), ("e", False, "")]


def test_the_truth_of_images_may_have_other_names(tmp_path: Path) -> None:
    for side, name in (("images", "case_001_0000"), ("truth", "case_001")):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / f"{name}.npy", np.eye(4, dtype=np.uint8))
    samples, _ = read_samples(
        Files.find(tmp_path / "images"), layout=ImageLayout(), grouping=Grouping()
    )
    truth = Files.find(tmp_path / "truth")
    with pytest.raises(DataError, match=r"would pair with --match '\^\(\.\+\?\)\(\?:_0000\)\?\$'"):
        read_truth(samples, truth, layout=MaskLayout())
    labelled, problems = read_truth(
        samples, truth, layout=MaskLayout(), pairing=Pairing(r"^(.+?)(?:_0000)?$")
    )
    assert problems == []
    assert labelled[0].id == "case_001_0000"
    np.testing.assert_array_equal(labelled[0].mask, np.eye(4))


def test_characters_that_steer_are_shown_and_letters_have_one_form() -> None:
    assert visible("a\x1b[2J\r\n\x9b\u202e\udce9") == "a\\x1b[2J\\r\\n\\x9b\\u202e\\udce9"
    assert visible("Müller_胸部") == "Müller_胸部"
    assert visible("u\u0308") == "\u00fc"


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@A1", "\t=1", " =1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert as_cell(text) == f"'{text}"
    assert as_cell("a=1") == "a=1"
