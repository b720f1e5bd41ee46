"""From slices to samples: lungs, size, order, normalisation."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pladapt.errors import DataError, InputError, MissingDependencyError
from pladapt.types import LabelledSample, Sample
from pladapt_covid_ct import chest
from pladapt_covid_ct.datasets import DATASETS, load_series
from pladapt_covid_ct.lungs import find_lung, origin, threshold_lungs, with_lungs
from pladapt_covid_ct.phantoms import SCANNERS
from pladapt_covid_ct.preprocessing import PreparedSlices, Preprocessing, keep_slices
from pladapt_covid_ct.slices import Intensity, Slice


def make_slice(image, lung=None, lesion=None, intensity=Intensity.OTHER):
    return Slice("s", "p", np.asarray(image, np.float32), lesion, lung, intensity)


@pytest.fixture
def lung():
    lung = np.zeros((4, 4), np.bool_)
    lung[1:3, 1:3] = True
    return lung


@pytest.fixture
def image():
    return np.arange(16, dtype=np.float32).reshape(4, 4) + 1


class TestNormalisation:
    def test_masked_first_non_lung_is_the_darkest(self, image, lung):
        """Worked by hand: the lung is 6, 7, 10, 11 and twelve pixels are 0."""
        result = Preprocessing(size=4)(make_slice(image, lung)).image[0]
        mean = 34 / 16
        std = np.sqrt((36 + 49 + 100 + 121) / 16 - mean**2)
        np.testing.assert_allclose(result[1, 1:3], (np.array([6, 7]) - mean) / std, rtol=1e-5)
        np.testing.assert_allclose(result[~lung], -mean / std, rtol=1e-5)
        assert result[~lung].max() < result[lung].min()

    def test_normalised_first_non_lung_is_the_mean(self, image, lung):
        options = Preprocessing(size=4, order="normalise-then-mask")
        result = options(make_slice(image, lung)).image[0]
        std = np.sqrt((16**2 - 1) / 12)
        np.testing.assert_allclose(result[lung], (image[lung] - 8.5) / std, rtol=1e-5)
        assert not result[~lung].any()

    @pytest.mark.parametrize("order", ["mask-then-normalise", "normalise-then-mask"])
    def test_statistics_of_the_lung(self, image, lung, order):
        options = Preprocessing(size=4, order=order, statistics="lung")
        result = options(make_slice(image, lung)).image[0]
        assert result[lung].mean() == pytest.approx(0, abs=1e-6)
        assert result[lung].std() == pytest.approx(1, rel=1e-5)

    @pytest.mark.parametrize("statistics", ["slice", "lung"])
    @pytest.mark.parametrize("order", ["mask-then-normalise", "normalise-then-mask"])
    def test_a_slice_without_lung_or_contrast_is_all_zero(self, image, lung, statistics, order):
        options = Preprocessing(size=4, statistics=statistics, order=order)
        nowhere = np.zeros_like(lung)
        flat = np.full((4, 4), 7.0)
        everywhere = np.ones_like(lung)
        assert not options(make_slice(image * 0, lung)).image.any()
        assert not options(make_slice(flat, everywhere)).image.any()
        assert not options(make_slice(image, nowhere)).image[0].any()

    @given(
        npst.arrays(np.int16, (6, 6), elements=st.integers(-2000, 4000)),
        npst.arrays(np.bool_, (6, 6)),
        st.sampled_from(["mask-then-normalise", "normalise-then-mask"]),
        st.sampled_from(["slice", "lung"]),
    )
    def test_always_finite_and_blind_to_scale(self, image, lung, order, statistics):
        options = Preprocessing(size=6, order=order, statistics=statistics)
        result = options(make_slice(image, lung)).image
        assert np.isfinite(result).all()
        assert result.shape == (1, 6, 6)
        assert result.dtype == np.float32
        doubled = options(make_slice(image * 2.0, lung)).image
        np.testing.assert_allclose(doubled, result, atol=2e-3)

    def test_hounsfield_units_are_counted_from_air_within_the_window(self, lung):
        """Metal counts as 600 HU, and the padding outside the scanner's circle as air."""
        image = np.full((4, 4), -1024.0)
        image[1, 1:3], image[2, 1:3] = [-3000, 8000], [-850, 0]
        whole = np.ones_like(lung)
        result = Preprocessing(size=4)(make_slice(image, whole, intensity=Intensity.HU))
        clipped = np.clip(image, -1024, 600)
        expected = (clipped - clipped.mean()) / clipped.std()
        np.testing.assert_allclose(result.image[0], expected, rtol=1e-4)
        masked = Preprocessing(size=4)(make_slice(image, lung, intensity=Intensity.HU)).image[0]
        assert masked.min() == masked[0, 0] == masked[1, 1]
        untouched = Preprocessing(size=4, window=None)
        result = untouched(make_slice(image, whole, intensity=Intensity.HU))
        np.testing.assert_allclose(result.image[0], (image - image.mean()) / image.std(), rtol=1e-4)


class TestSize:
    def test_shrinking_averages_images_and_keeps_mask_values(self):
        image = np.kron(np.array([[1.0, 3.0], [5.0, 7.0]]), np.ones((8, 8)))
        lesion = np.kron(np.array([[0, 1], [2, 3]], np.uint8), np.ones((8, 8), np.uint8))
        options = Preprocessing(size=4, lungs="none", lesions="classes")
        prepared = options(make_slice(image, lesion=lesion))
        np.testing.assert_array_equal(prepared.mask, lesion[::4, ::4])
        assert prepared.mask.dtype == np.uint8
        corners = prepared.image[0][[0, 0, 3, 3], [0, 3, 0, 3]]
        assert (np.diff(corners) > 0).all()

    def test_noise_is_averaged_out_unless_nearest_is_asked_for(self):
        noise = np.random.default_rng(0).normal(size=(256, 256))
        noise[:128] += 3
        spread = {}
        for interpolation in ("bilinear", "bicubic", "nearest"):
            options = Preprocessing(size=32, lungs="none", interpolation=interpolation)
            result = options(make_slice(noise)).image[0]
            spread[interpolation] = result[:12].std()
        assert spread["bilinear"] < spread["bicubic"] < spread["nearest"]

    def test_lesions_are_one_foreground_by_default(self, image):
        lesion = np.array([[0, 1, 2, 3]] * 4, np.uint8)
        prepared = Preprocessing(size=4, lungs="none")(make_slice(image, lesion=lesion))
        np.testing.assert_array_equal(prepared.mask, lesion > 0)
        assert prepared.mask.dtype == np.uint8


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("size", 0),
        ("window", (600, -1024)),
        ("order", "mask"),
        ("statistics", "volume"),
        ("lesions", "two"),
        ("lungs", "guess"),
        ("interpolation", "cubic"),
    ],
)
def test_an_unknown_option_is_refused(option, value):
    with pytest.raises(InputError, match=f"{option} is "):
        Preprocessing(**{option: value})


class TestViews:
    @pytest.fixture
    def slices(self, phantoms):
        return DATASETS["A"].load(phantoms).slices

    def test_labelled_and_unlabelled_samples_of_the_same_slices(self, slices):
        prepared = PreparedSlices(slices, Preprocessing(size=32))
        labelled, unlabelled = prepared.labelled(), prepared.unlabelled()
        assert len(labelled) == len(unlabelled) == len(slices) == 12
        for index in (0, 7, 11):
            with_mask, without = labelled[index], unlabelled[index]
            assert type(with_mask) is LabelledSample
            assert type(without) is Sample
            assert (with_mask.id, with_mask.group) == (without.id, without.group)
            assert with_mask.id == slices.ids[index]
            assert with_mask.image.shape == (1, 32, 32)
            np.testing.assert_array_equal(with_mask.image, without.image)
        assert [sample.id for sample in unlabelled] == list(slices.ids)

    def test_the_cache_gives_the_same_and_decodes_once(self, slices):
        cached = PreparedSlices(slices, Preprocessing(size=32))
        plain = PreparedSlices(slices, Preprocessing(size=32), cache=False)
        steps = []
        cached.preload(lambda *step: steps.append(step))
        assert steps[0] == ("prepare", 1, 12)
        assert steps[-1] == ("prepare", 12, 12)
        assert cached[3] is cached[3]
        assert plain[3] is not plain[3]
        for index in range(12):
            np.testing.assert_array_equal(cached[index].image, plain[index].image)
            np.testing.assert_array_equal(cached[index].mask, plain[index].mask)

    def test_data_without_masks_cannot_be_labelled(self, tmp_path, write_dicom):
        write_dicom(tmp_path / "a.dcm", np.full((8, 8), -1000))
        prepared = PreparedSlices(load_series(tmp_path).slices, Preprocessing(size=8))
        with pytest.raises(InputError, match="1 slices have no lesion mask"):
            prepared.labelled()
        assert prepared.unlabelled()[0].image.shape == (1, 8, 8)

    def test_only_infected_slices_or_those_with_lung(self, slices):
        rows = slices.rows
        infected = keep_slices(slices, only_infected=True)
        assert infected.ids == tuple(row.id for row in rows if row.lesion_pixels > 0)
        assert 0 < len(infected) < len(slices)
        assert keep_slices(slices, with_lung=True).ids == slices.ids
        assert keep_slices(slices).ids == slices.ids

    def test_a_slice_whose_lung_mask_is_empty_is_left_out(self, tmp_path, ct, lesion, write_nifti):
        for kind, array in (
            ("COVID-19-CT-Seg_20cases", ct),
            ("Infection_Mask", lesion),
            ("Lung_Mask", lesion * 2),
        ):
            write_nifti(tmp_path / kind / "coronacases_001.nii.gz", array)
        slices = DATASETS["A"].load(tmp_path).slices
        assert keep_slices(slices, with_lung=True).ids == ("coronacases_001/z001",)


class TestLungs:
    def test_which_way_is_taken(self, image, lung):
        with_mask = make_slice(image, lung, intensity=Intensity.HU)
        without = make_slice(image, intensity=Intensity.HU)
        assert origin(with_mask, "files-or-threshold") == "files"
        assert origin(without, "files-or-threshold") == "threshold"
        assert origin(with_mask, "threshold") == "threshold"
        assert origin(with_mask, "none") == "none"
        assert find_lung(with_mask, "files") is lung
        assert find_lung(with_mask, "none") is None
        with pytest.raises(DataError, match="has no lung mask"):
            find_lung(without, "files")
        with pytest.raises(InputError, match="lungs is 'guess'"):
            find_lung(without, "guess")

    @pytest.mark.parametrize(
        ("letter", "lungs", "note"),
        [
            ("A", "files", "files (12 slices)"),
            ("A", "files-or-threshold", "files (12 slices)"),
            ("A", "threshold", "threshold (12 slices)"),
            ("A", "none", "none"),
            ("C", "files-or-threshold", "files (12 slices)"),
        ],
    )
    def test_a_data_set_notes_whence_its_masks_come(self, phantoms, letter, lungs, note):
        before = DATASETS[letter].load(phantoms)
        after = with_lungs(before, lungs)
        assert after.slices is before.slices
        assert after.notes == (*before.notes, f"Lung masks: {note}.")

    def test_without_masks_of_its_own_it_is_thresholded(self, phantoms):
        dataset = with_lungs(DATASETS["B"].load(phantoms), "files-or-threshold")
        assert dataset.notes[-1] == f"Lung masks: threshold ({len(dataset.slices)} slices)."

    def test_lungmask_that_is_not_installed_is_named_with_the_command(self, phantoms, monkeypatch):
        monkeypatch.setitem(sys.modules, "lungmask", None)
        monkeypatch.delitem(sys.modules, "lungmask.mask", raising=False)
        dataset = DATASETS["A"].load(phantoms)
        with pytest.raises(MissingDependencyError, match=r"pip install 'pladapt-covid-ct\[lungm"):
            with_lungs(dataset, "lungmask")

    def test_only_hounsfield_units_can_be_thresholded(self, image):
        with pytest.raises(DataError, match=r"8-bit intensities.*Hounsfield units only"):
            find_lung(make_slice(image, intensity=Intensity.EIGHT_BIT), "files-or-threshold")

    def test_a_body_worked_by_hand(self):
        """A body with a lung, a vessel in it, a trachea's width of air, and air outside."""
        image = np.full((100, 100), -1000, np.int16)
        image[10:90, 10:90] = 40
        image[30:70, 20:60] = -850
        image[45:50, 35:40] = 40  # a vessel
        image[20:23, 75:78] = -1000  # an airway
        expected = np.zeros((100, 100), np.bool_)
        expected[30:70, 20:60] = True
        np.testing.assert_array_equal(threshold_lungs(image), expected)

    def test_a_mediastinum_between_lungs_that_touch_is_not_filled(self):
        image = np.full((100, 100), -1000, np.int16)
        image[5:95, 5:95] = 40
        image[15:85, 10:90] = -850
        image[25:75, 30:70] = 40
        assert not threshold_lungs(image)[50, 50]

    @pytest.mark.parametrize("value", [-1000, 40])
    def test_no_body_or_no_lung_gives_no_mask(self, value):
        assert not threshold_lungs(np.full((32, 32), value, np.int16)).any()

    @pytest.mark.parametrize("letter", ["A", "B"])
    def test_it_agrees_with_the_lungs_of_phantoms(self, letter):
        rng = np.random.default_rng(5)
        simulated = chest.simulate(rng, SCANNERS[letter].tissue, slices=6, size=128)
        found = threshold_lungs(SCANNERS[letter].scan(rng, simulated))
        truth = simulated.lung > 0
        overlap = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        assert found.shape == truth.shape
        assert overlap > 0.93
