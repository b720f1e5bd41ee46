"""Lung masks by lungmask: its weights, its cache, and the way from a volume to a slice."""

import importlib.util
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from pladapt.errors import DataError, MissingDataError
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.domains import load_domains
from pladapt_covid_ct.lung_segmentation import LungMask
from pladapt_covid_ct.lungs import find_lung, origin, with_lungs
from pladapt_covid_ct.preprocessing import PreparedSlices, Preprocessing
from pladapt_covid_ct.settings import Settings
from pladapt_covid_ct.slices import Intensity, Volume

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lungmask") is None,
    reason="lungmask is not installed: pip install './examples/covid_ct[lungmask]'",
)
RIGHT = 2  # lungmask's label of the right lung


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of lungmask's architecture, random but for the end: all is right lung."""
    from lungmask.resunet import UNet

    torch.manual_seed(0)
    net = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True)
    with torch.no_grad():
        net.last.weight.zero_()
        net.last.bias.copy_(torch.eye(3)[RIGHT])
    path = tmp_path_factory.mktemp("weights") / "all_right_lung.pth"
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture
def unknown(tmp_path):
    path = tmp_path / "unknown.pth"
    path.write_bytes(b"no weights")
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder of torch.hub's, and no network."""

    def download_url_to_file(*args, **kwargs):
        reason = "Name or service not known"
        raise URLError(reason)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download_url_to_file)
    return tmp_path / "torch/hub/checkpoints"


@pytest.fixture
def segmented(monkeypatch):
    """Replace the network by a threshold, and note the shapes that it is given."""
    shapes = []

    def segment(self, image):
        shapes.append(image.shape)
        return image < -500

    monkeypatch.setattr(LungMask, "_segment", segment)
    return shapes


def volume(slices=2, intensity=Intensity.HU):
    """A body of 80 x 60 pixels in air, its upper half aerated."""
    image = np.full((slices, 100, 100), -1000, np.int16)
    image[:, 10:90, 20:80] = 40
    image[:, 12:50, 22:78] = -850
    ids = tuple(f"v/z{z:03}" for z in range(slices))
    return Volume(ids, "p", image, None, None, intensity)


@pytest.mark.parametrize("slices", [1, 2])
def test_the_network_sees_the_body_and_its_labels_become_one_mask(weights, tmp_path, slices):
    """lungmask crops to the body: all of that is what the weights call right lung."""
    segment = LungMask("R231", weights, accept_unknown=True, cache=tmp_path, device="cpu")
    found = segment(volume(slices))
    expected = np.zeros((slices, 100, 100), np.bool_)
    expected[:, 10:90, 20:80] = True
    assert found.dtype == np.bool_
    assert found.shape == expected.shape
    assert (found != expected).mean() < 0.03  # the body is found on a grid of 128 x 128
    assert segment._inferer.volume_postprocessing is (slices > 1)


class TestWeights:
    @pytest.mark.parametrize(
        ("model", "expected"), [("R231", "d5d2fc3d"), ("R231CovidWeb", "0de78a7e")]
    )
    def test_of_another_hash_are_refused(self, unknown, model, expected):
        found = LungMask(model, unknown, accept_unknown=True).sha256[:8]
        with pytest.raises(DataError, match=rf"SHA-256 {found}.* have {expected}.*accept unknown"):
            LungMask(model, unknown)

    def test_accepted_unknown_they_are_called_so(self, unknown):
        segment = LungMask("R231", unknown, accept_unknown=True)
        assert str(segment).endswith(f"R231, unknown weights {segment.sha256[:8]}")
        assert segment.describe()["sha256"] == segment.sha256

    def test_of_another_network_are_refused(self, unknown, tmp_path):
        segment = LungMask("R231", unknown, accept_unknown=True, cache=tmp_path / "cache")
        with pytest.raises(DataError, match=r"unknown.pth does not hold the weights"):
            segment(volume())
        assert not (tmp_path / "cache").exists()

    def test_that_are_not_there(self, tmp_path):
        with pytest.raises(MissingDataError, match=r"no file .*nowhere.pth"):
            LungMask("R231", tmp_path / "nowhere.pth")

    def test_without_network(self, hub):
        with pytest.raises(MissingDataError, match=r"unet_r231-d5d2fc3d.pth could not be downloa"):
            LungMask()
        assert list(hub.iterdir()) == []

    def test_in_the_folder_of_the_hub_are_checked_too(self, hub, unknown):
        hub.mkdir(parents=True)
        unknown.rename(hub / "unet_r231covid-0de78a7e.pth")
        with pytest.raises(DataError, match="have 0de78a7e"):
            LungMask("R231CovidWeb")
        assert LungMask("R231CovidWeb", accept_unknown=True).path.parent == hub

    def test_are_downloaded_with_their_hash(self, hub, monkeypatch):
        config = []

        def download_url_to_file(url, dst, hash_prefix):
            config.append((url, hash_prefix))
            Path(dst).write_bytes(b"downloaded")

        monkeypatch.setattr(torch.hub, "download_url_to_file", download_url_to_file)
        segment = LungMask("R231", accept_unknown=True)
        assert segment.path.read_bytes() == b"downloaded"
        ((url, prefix),) = config
        assert url.startswith("https://github.com/JoHof/lungmask/releases/")
        assert prefix == "d5d2fc3d"


class TestCache:
    @pytest.fixture
    def segment(self, unknown, tmp_path, segmented):
        return LungMask("R231", unknown, accept_unknown=True, cache=tmp_path / "cache")

    def entry(self, segment):
        (path,) = segment.cache.iterdir()
        return path

    def test_a_volume_is_segmented_once(self, segment, unknown, segmented):
        first = segment(volume())
        again = LungMask("R231", unknown, accept_unknown=True, cache=segment.cache)
        np.testing.assert_array_equal(again(volume()), first)
        np.testing.assert_array_equal(first, volume().image < -500)
        assert segmented == [(2, 100, 100)]

    def test_another_volume_or_model_is_another_entry(self, segment, unknown, segmented):
        segment(volume())
        segment(volume(1))
        unknown.write_bytes(b"other weights")
        LungMask("R231", unknown, accept_unknown=True, cache=segment.cache)(volume())
        LungMask("R231CovidWeb", unknown, accept_unknown=True, cache=segment.cache)(volume())
        assert len(segmented) == len(list(segment.cache.iterdir())) == 4

    def test_another_version_of_lungmask_is_another_entry(self, segment, segmented, monkeypatch):
        segment(volume())
        monkeypatch.setattr("pladapt_covid_ct.lung_segmentation.version", lambda _: "9.9")
        segment(volume())
        assert len(segmented) == 2

    @pytest.mark.parametrize("damage", ["truncated", "overwritten", "empty", "of another shape"])
    def test_a_damaged_entry_is_made_anew(self, segment, segmented, damage):
        expected = segment(volume())
        path = self.entry(segment)
        data = bytearray(path.read_bytes())
        if damage == "truncated":
            data = data[: len(data) // 2]
        elif damage == "overwritten":
            data[len(data) // 3] ^= 255
            data[60] ^= 255
        elif damage == "empty":
            data = b""
        path.write_bytes(data)
        if damage == "of another shape":
            np.savez_compressed(path, bits=np.zeros(9, np.uint8), shape=(1, 8, 9))
        np.testing.assert_array_equal(segment(volume()), expected)
        assert len(segmented) == 2
        assert self.entry(segment) == path
        segment(volume())
        assert len(segmented) == 2


def test_only_hounsfield_units_are_segmented(unknown, tmp_path, segmented):
    segment = LungMask("R231", unknown, accept_unknown=True, cache=tmp_path)
    with pytest.raises(DataError, match=r"8-bit intensities.*eight_bit='unwindow'"):
        segment(volume(intensity=Intensity.EIGHT_BIT))
    assert segmented == []


@pytest.mark.parametrize("letter", ["A", "B"])
def test_every_slice_gets_its_mask_and_every_volume_is_segmented_once(
    phantoms, unknown, tmp_path, segmented, letter
):
    options = {"weights": unknown, "accept_unknown": True, "cache": tmp_path / "cache"}
    told = []
    before = DATASETS[letter].load(phantoms)
    after = with_lungs(
        before, "lungmask-covidweb", **options, progress=lambda *step: told.append(step)
    )
    volumes = len(before.slices.volumes.sources)
    assert len(segmented) == volumes == len(told)
    assert told[-1] == ("lungs", volumes, volumes)
    assert {shape[0] for shape in segmented} == ({6} if letter == "A" else {1})
    assert after.slices.ids == before.slices.ids
    for index in range(0, len(before.slices), 4):
        slice_ = after.slices[index]
        np.testing.assert_array_equal(slice_.lung, slice_.image < -500)
        np.testing.assert_array_equal(slice_.lesion, before.slices[index].lesion)
        assert after.slices.rows[index].lung_pixels == slice_.lung.sum()
        assert find_lung(slice_, "lungmask-covidweb") is slice_.lung
        assert origin(slice_, "lungmask-covidweb") == "lungmask-covidweb"
    assert len(segmented) == volumes
    assert after.notes[:-1] == before.notes
    assert "R231CovidWeb, unknown weights" in after.notes[-1]


def test_an_experiment_takes_them_and_tells_whence_they_come(
    phantoms, unknown, tmp_path, segmented, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = Settings(
        size=32, lungs="lungmask", lungs_weights=str(unknown), unknown_weights=True, device="cpu"
    )
    told = set()
    domain = load_domains(phantoms, ["C"], settings, lambda stage, *_: told.add(stage))["C"]
    assert domain.describe()["notes"][-1].startswith("Lung masks: by lungmask 0.")
    assert told == {"lungs", "prepare C"}
    assert len(list((tmp_path / "pladapt-covid-ct/lungs").iterdir())) == 2
    assert len(domain.samples) == 12
    with pytest.raises(DataError, match="accept unknown"):
        load_domains(phantoms, ["C"], replace(settings, unknown_weights=False), print)


def test_masks_that_lungmask_did_not_make_are_not_taken_for_its_own(phantoms):
    slices = DATASETS["A"].load(phantoms).slices
    with pytest.raises(DataError, match="no mask by lungmask: call with_lungs"):
        PreparedSlices(slices, Preprocessing(size=32, lungs="lungmask"))[0]


def test_lungmask_leaves_the_callers_warnings_as_they_are(unknown, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "lungmask"]:
        monkeypatch.delitem(sys.modules, name)
    filters = list(warnings.filters)
    LungMask("R231", unknown, accept_unknown=True)
    assert "lungmask.mask" in sys.modules
    assert warnings.filters == filters
