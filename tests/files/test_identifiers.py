"""That nothing which is written tells whose an image is."""

from __future__ import annotations

import csv
import io
import stat
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pladapt import DataError, InputError
from pladapt.cli.application import application
from pladapt.files import Files, Grouping, ImageLayout, Pairing, Pseudonyms, read_samples
from pladapt.files import pseudonyms as module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from typer.testing import Result

    Write = Callable[[Path, NDArray[Any]], Path]

UID = "1.2.840.113619.2.55.3.2831"
PATIENTS = ("DOE^JANE", "1.2.840.113619.2.55.3.604688119")
NETWORK = """
import torch
from torch import nn

def net():
    conv = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(16)
        conv.bias.fill_(-8)
    return nn.Sequential(conv, nn.BatchNorm2d(1, affine=False))
"""


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the key apart from that of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    return home


def pladapt(*arguments: object) -> Result:
    return CliRunner().invoke(application(), [str(each) for each in arguments])


def paths_of(folder: Path) -> list[Path]:
    return [
        folder / patient / f"{UID}.{number}.dcm" for patient in PATIENTS for number in (1, 2, 3)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images and masks below folders that are called after patients, and a network."""
    pydicom = pytest.importorskip("pydicom", reason="the extra files is not installed")
    draw = np.random.default_rng(0)
    for index, path in enumerate(paths_of(tmp_path / "images")):
        image = draw.integers(0, 40, (16, 16))
        image[4 : 8 + index, 3:12] += 60
        save_dicom(pydicom, path, image.astype(np.uint16), f"{UID}.{index // 3}")
        mask = tmp_path / "truth" / path.relative_to(tmp_path / "images").with_suffix(".npy")
        mask.parent.mkdir(parents=True, exist_ok=True)
        np.save(mask, (image > 50).astype(np.uint8))
    (tmp_path / "network.py").write_text(NETWORK)
    return tmp_path


def save_dicom(pydicom: Any, path: Path, image: NDArray[Any], study: str) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = path.stem
    dataset = pydicom.Dataset()
    dataset.file_meta, dataset.SOPClassUID = meta, meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = path.stem, study
    dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = f"{study}.77", f"{study}.78"
    dataset.PatientName, dataset.PatientID = "DOE^JANE", "MRN0012345"
    dataset.PatientBirthDate, dataset.AccessionNumber = "19610203", "ACC998877"
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = image.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


IDENTIFIERS = (UID, *PATIENTS, "JANE", "MRN0012345", "19610203", "ACC998877")


def written(folder: Path) -> dict[str, bytes]:
    """Return the names and contents of all files below a folder, tables as what they say."""
    import pyarrow.parquet as pq

    found = {}
    for path in (each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            rows = [column for column in table.column_names if column not in ("label", "mask")]
            content += repr((table.select(rows).to_pylist(), table.schema.metadata)).encode()
        found[str(path.relative_to(folder))] = content
    return found


def check_silent(result: Result, output: Path) -> None:
    """Make sure that neither what was printed nor what was written identifies anyone."""
    assert result.exit_code in (0, 3, 4), result.output
    said = {"what is printed": f"{result.output}{result.stderr}".encode(), **written(output)}
    for name, content in said.items():
        for identifier in IDENTIFIERS:
            assert identifier not in name
            assert identifier.encode() not in content, f"{identifier} in {name}"


@pytest.mark.torch
def test_no_output_of_a_command_holds_an_identifier_of_its_input(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the extra torch is not installed")
    pytest.importorskip("jinja2", reason="the extra report is not installed")
    monkeypatch.chdir(data)
    monkeypatch.syspath_prepend(str(data))
    (data / "images" / PATIENTS[0] / f"{UID}.9.dcm").write_bytes(b"no DICOM")  # is left out
    how = ("--window", "0", "100", "--group-by", "folder", "--max-errors", "50%")
    output = data / "output"
    output.mkdir()
    images, truth = data / "images", data / "truth"
    label = ("--truth-label", 1)
    every: dict[str, tuple[object, ...]] = {
        "adapt": (
            "adapt", "network:net", images, "-o", output / "run", "--truth", truth, *label, *how,
            "--selector", "certainty-index", "--retrainer", "fine-tune",
            "--set", "selector.min_pixels=1", "--set", "retrainer.options.epochs=1",
            "--set", "retrainer.options.min_steps=1",
            "--force", "--json",
        ),
        "source": (
            "source", images, "--model", "network:net", "-o", output / "source.npz", *how,
            "--force",
        ),
        "estimate": (
            "estimate", "network:net", images, "--source", output / "source.npz", "--force",
            "--append", output / "estimates.csv", *how,
        ),
        "calibrate": (
            "calibrate", "network:net", images, truth, "-o", output / "cutoff.json", *label, *how,
            "--force",
        ),
        "score": (
            "score", "--probabilities", truth, "-o", output / "scores.parquet", *how[3:],
            "--scale", 1,
        ),
        "select": ("select", output / "scores.parquet", "-o", output / "selection.parquet"),
        "evaluate": ("evaluate", truth, truth, "-o", output / "evaluation"),
        "export": (
            "labels", "export", output / "run", images, "--to", "png", "-o", output / "export",
        ),
    }  # fmt: skip
    for name, arguments in every.items():
        if name == "evaluate":
            other = data / "again"
            other.mkdir()
            for path in truth.rglob("*.npy"):
                (other / path.relative_to(truth)).parent.mkdir(exist_ok=True)
                (other / path.relative_to(truth)).write_bytes(path.read_bytes())
            arguments = ("evaluate", truth, other, *arguments[3:], *how[3:5])  # noqa: PLW2901
        check_silent(pladapt(*arguments), output)


def test_only_the_masks_are_called_as_their_images_are(data: Path) -> None:
    from pladapt.files import GivenProbabilities, write_masks

    truth = Files.find(data / "truth")
    table, _ = write_masks(
        GivenProbabilities(), truth, data / "masks", layout=ImageLayout(probabilities=True, scale=1)
    )
    masks = {path.relative_to(data / "masks").as_posix() for path in data.rglob("masks/*/*.npy")}
    assert masks == {path.relative_to(data / "truth").as_posix() for path in paths_of_masks(data)}
    assert UID not in str(table.to_pylist())
    again, _ = write_masks(
        GivenProbabilities(), truth, data / "masks", layout=ImageLayout(probabilities=True, scale=1)
    )
    assert again.equals(table)  # what is there is found again


def paths_of_masks(data: Path) -> list[Path]:
    return [path.with_suffix(".npy") for path in paths_of(data / "truth")]


def test_the_same_name_and_key_give_the_same_pseudonym_and_another_key_another(
    tmp_path: Path,
) -> None:
    one, other = (Pseudonyms(key_file=tmp_path / name) for name in ("one", "other"))
    assert one.of(UID) == Pseudonyms(key_file=tmp_path / "one").of(UID) != other.of(UID)
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600


@given(
    st.lists(st.integers(0, 10**9), min_size=4, max_size=8),
    st.sampled_from(["", "CT.", "IM", "a/", "series_"]),
    st.sampled_from(["", "_mask", "/z007", "-1"]),
)
def test_every_uid_is_hidden_wherever_it_stands(
    numbers: list[int], before: str, after: str
) -> None:
    uid = ".".join(map(str, [1, *numbers]))
    hidden = Pseudonyms().of(f"{before}{uid}{after}")
    assert uid not in hidden
    assert hidden.startswith(before)
    assert hidden.endswith(after)
    assert Pseudonyms("none").of(uid) == uid


@given(st.text(st.characters(exclude_characters="/", codec="utf-8"), min_size=1, max_size=12))
def test_all_hides_every_name(name: str) -> None:
    if name not in (".", ".."):
        assert Pseudonyms("all").of(f"{name}/{name}").split("/")[0] != name


@pytest.mark.parametrize("name", ["v1.2.3", "10.5.2", "case_007", "2019-03-04", "b/1.2.840.17"])
def test_what_identifies_nobody_stays_and_needs_no_key(name: str, home: Path) -> None:
    assert Pseudonyms().of(name) == name
    assert not Pseudonyms().identifies(name)
    assert not list(home.rglob("*.key"))


def test_slices_keep_their_order() -> None:
    first, second = (Pseudonyms().of(f"{UID}.{number}") for number in (2, 10))
    assert first.rpartition(".")[0] == second.rpartition(".")[0]
    assert (first[-2:], second[-3:]) == (".2", ".10")


def test_groups_and_pairs_are_found_by_the_true_names(data: Path) -> None:
    files, truth = Files.find(data / "images"), Files.find(data / "truth")
    grouping = Grouping(r"^([^/]+)/")
    samples, _ = read_samples(files, layout=ImageLayout(), grouping=grouping)
    groups = {place.group for place in samples.places}
    assert groups == {Pseudonyms().of(patient) for patient in PATIENTS}
    some = Files.find(data / "images" / PATIENTS[0])
    pairs, problems = Pairing(r"\.(\d)$").match(some, truth, "")
    assert len(pairs) == 0
    assert all("would pair with" in reason for _, reason in problems)
    alone = Pairing(rf"({UID}\.\d)$")
    own = [Files.find(data / kind / PATIENTS[0]) for kind in ("images", "truth")]
    assert len(alone.match(*own, "")[0]) == 3


def test_whoever_has_the_key_learns_which_image_it_is(data: Path) -> None:
    result = pladapt("names", data / "images")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["file"] for row in rows} == set(map(str, paths_of(data / "images")))
    assert {row["name"] for row in rows} == set(Files.find(data / "images").paths)
    other = pladapt("names", data / "images", "-o", data / "n.csv", "--pseudonyms", "none")
    assert other.exit_code == 0
    assert f"{PATIENTS[0]}/{UID}.1," in (data / "n.csv").read_text()


def test_a_key_that_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "short").write_text("abc")
    with pytest.raises(DataError, match="holds 3 bytes; a key has at least 16"):
        Pseudonyms(key_file=tmp_path / "short").of(UID)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--pseudonym-key"):
        Pseudonyms(key_file=tmp_path / "file" / "key").of(UID)
    with pytest.raises(InputError, match="hidden is 'some'"):
        Pseudonyms("some")  # type: ignore[arg-type]  # what is refused


def test_two_that_make_the_key_at_once_use_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_text("0123456789abcdef")  # since it was looked for
    module._make_key(path)
    assert path.read_text() == "0123456789abcdef"
    assert list(tmp_path.iterdir()) == [path]
