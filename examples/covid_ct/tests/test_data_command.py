"""``pladapt covid-ct data``: what there is, beside what the paper counts."""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pladapt.cli.application import application
from pladapt.errors import MissingDataError
from pladapt_covid_ct.datasets import DATASETS, Counts
from pladapt_covid_ct.inventory import take_stock


def silent(stage, done, total):
    assert 0 < done <= total


def holdings(folder, *, verify=False):
    return {h.info.letter: h for h in take_stock(folder, verify=verify, progress=silent)}


def pack(folder, target, *, prefix=""):
    """Zip a folder's files as a download has them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, prefix + path.name)


@pytest.fixture
def packed(phantoms, tmp_path):
    """Data set C as it is downloaded."""
    for name in ("rp_im", "rp_msk", "rp_lung_msk"):
        pack(phantoms / "C" / name, tmp_path / "C" / f"{name}.zip", prefix=f"{name}/")
    return tmp_path


def publish(monkeypatch, letter, **changes):
    monkeypatch.setitem(DATASETS, letter, replace(DATASETS[letter], **changes))


def test_what_is_there_is_counted_and_what_is_not_says_how_it_is_obtained(phantoms):
    found = holdings(phantoms)
    assert {letter: holding.state for letter, holding in found.items()} == {
        "A": "incomplete",
        "B": "incomplete",
        "C": "incomplete",
        "D": "not found",
        "E": "not found",
    }
    assert found["A"].dataset.counts[:2] == (2, 12)
    assert found["A"].folder == phantoms / "A"
    assert "Download" in found["D"].trouble
    assert DATASETS["D"].page in found["D"].trouble


def test_a_set_with_the_papers_counts_is_complete_until_a_file_is_left_out(
    phantoms, tmp_path, monkeypatch
):
    shutil.copytree(phantoms / "A", tmp_path / "A")
    counts = DATASETS["A"].load(tmp_path).counts
    publish(monkeypatch, "A", paper=counts)
    assert holdings(tmp_path)["A"].state == "complete"
    publish(monkeypatch, "A", paper=Counts(None, None, None))
    assert holdings(tmp_path)["A"].state == "found"
    publish(monkeypatch, "A", paper=counts)
    stray = tmp_path / "A" / "Infection_Mask" / "coronacases_009.nii.gz"
    stray.write_bytes(b"no mask of anything")
    assert holdings(tmp_path)["A"].state == "incomplete"


def test_files_of_which_no_slice_can_be_made_are_unusable(tmp_path):
    path = tmp_path / "A" / "ct_scans" / "coronacases_001.nii.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cut off")
    holding = holdings(tmp_path)["A"]
    assert holding.state == "unusable"
    assert "coronacases_001" in holding.trouble


def test_an_archive_is_verified_only_when_asked_and_where_a_checksum_is_published(
    packed, monkeypatch
):
    digest = hashlib.sha256((packed / "C" / "rp_im.zip").read_bytes()).hexdigest()
    publish(
        monkeypatch,
        "C",
        archives={"rp_im.zip": digest, "rp_msk.zip": "0" * 64, "rp_lung_msk.zip": None},
    )
    unasked = {archive.name: archive.verdict for archive in holdings(packed)["C"].archives}
    assert unasked["rp_im.zip"] == "present, not verified"
    image, mask, lung = holdings(packed, verify=True)["C"].archives
    assert image.verdict.startswith("the published file")
    assert mask.differs
    assert "0" * 64 in mask.verdict
    assert "not published" in lung.verdict
    assert not lung.differs


def test_an_archive_inside_another_is_verified_too(packed, tmp_path, monkeypatch):
    digest = hashlib.sha256((packed / "C" / "rp_im.zip").read_bytes()).hexdigest()
    bundle = tmp_path / "bundle" / "C" / "13521509.zip"
    pack(packed / "C", bundle)
    publish(monkeypatch, "C", archives={"rp_im.zip": digest})
    (archive,) = holdings(tmp_path / "bundle", verify=True)["C"].archives
    assert archive.path == "C/13521509.zip/rp_im.zip"
    assert archive.verdict.startswith("the published file")


def test_a_damaged_archive_is_not_the_published_one(packed, monkeypatch):
    publish(monkeypatch, "C", archives={"rp_im.zip": "0" * 64})
    path = packed / "C" / "rp_im.zip"
    path.write_bytes(path.read_bytes()[:-40])
    (archive,) = holdings(packed, verify=True)["C"].archives
    assert archive.differs


def run(*arguments):
    return CliRunner().invoke(application(), ["covid-ct", "data", *map(str, arguments)])


def test_the_command_tells_every_set_its_page_its_licence_and_the_papers_counts(phantoms):
    result = run("--data", phantoms)
    assert result.exit_code == 0, result.output
    for info in DATASETS.values():
        assert info.page in result.output
        assert info.licence in result.output
    assert re.search(r"2 of 10 +12 of 2581 +\d+ of 1351", result.output)
    assert "of 433" in result.output


def test_the_command_fails_if_an_archive_differs(packed, monkeypatch):
    assert run("--data", packed, "--verify").exit_code == 0
    publish(monkeypatch, "C", archives={"rp_im.zip": "0" * 64})
    result = run("--data", packed, "--verify")
    assert result.exit_code == 1
    assert "NOT the published file" in result.output


def test_a_folder_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(MissingDataError, match="nowhere"):
        take_stock(tmp_path / "nowhere", verify=False, progress=silent)
