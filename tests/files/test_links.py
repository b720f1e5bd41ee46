"""Links among images, folders that cannot be read, and names that hide how a file is stored."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pladapt.errors import DataError, MissingDataError
from pladapt.files import Files, ImageLayout
from pladapt.files.folder import not_looked_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Write = Callable[[Path, NDArray[Any]], Path]

PICTURE = np.zeros((4, 3), np.float32)


def test_links_to_files_and_folders_are_followed(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "elsewhere/deep/a.npy", PICTURE)
    write(tmp_path / "images/own.npy", PICTURE)
    (tmp_path / "images/patient").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images/b.npy").symlink_to(tmp_path / "elsewhere/deep/a.npy")
    (tmp_path / "elsewhere/round").symlink_to(tmp_path / "images")
    (tmp_path / "images/self").symlink_to(tmp_path / "images")
    found = Files.find(tmp_path / "images")
    assert sorted(found.paths) == ["b", "own", "patient/deep/a"]
    assert not found.unread


def test_a_link_to_a_file_that_is_not_there_is_said(tmp_path: Path, write: Write) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("gone.nii.gz", "self.npy"):
        (images / name).symlink_to(images / "self.npy")
    with pytest.raises(MissingDataError, match="it has 2 behind a broken link"):
        Files.find(images)
    write(images / "whole.npy", PICTURE)
    found = Files.find(images)
    assert list(found.paths) == ["whole"]
    said = not_looked_at(found)
    assert [problem.name for problem in said] == ["gone.nii.gz", "self.npy"]
    assert all("a link to a file that is not there" in problem.reason for problem in said)


@pytest.mark.skipif(os.geteuid() == 0, reason="whoever is root may read all")
def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "images/a.npy", PICTURE)
    shut = tmp_path / "images/shut"
    shut.mkdir(mode=0)
    try:
        with pytest.raises(DataError, match="cannot be read: Permission denied"):
            Files.find(tmp_path / "images")
    finally:
        shut.chmod(0o700)


@pytest.mark.parametrize(("name", "advice"), [("a.nii", "to .nii.gz"), ("a.nii.gz", "to .nii ")])
def test_a_volume_whose_name_hides_how_it_is_stored_is_to_be_renamed(
    name: str, advice: str, tmp_path: Path, write: Write
) -> None:
    stored = write(tmp_path / "volume.nii", np.zeros((2, 4, 3), np.float32)).read_bytes()
    path = tmp_path / name
    path.write_bytes(gzip.compress(stored) if name == "a.nii" else stored)
    with pytest.raises(DataError, match=f"rename it {advice}"):
        ImageLayout().load(path)
