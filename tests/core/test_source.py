from __future__ import annotations

import dataclasses
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from hypothesis import given, settings
from hypothesis import strategies as st

from pladapt import (
    Batch,
    DataError,
    InputError,
    LabelledSample,
    Prediction,
    Sample,
    SourceStatistics,
    certainty_index,
    hard_labels,
)
from pladapt.errors import MissingDataError
from pladapt.functional.overlap import dsc
from pladapt.functional.uncertainty import foreground_entropy
from pladapt.predictors.agreement import Views
from pladapt.source.features import ImageFeatures

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def organ(count: int = 5, *, channels: int = 1, size: int = 12, seed: int = 0) -> list[Sample]:
    """Make images of a noisy organ before a background that differs from image to image."""
    generator = np.random.default_rng(seed)
    made = []
    for index in range(count):
        image = np.full((channels, size, size + 1), -1 - index / 8, np.float32)
        shape = (channels, size - 4, size - 3)
        image[:, 2:-2, 2:-2] = generator.normal(size=shape)
        made.append(Sample(f"s{index}", f"p{index % 2}", image))
    return made


@dataclass
class Sigmoid:
    """A predictor of one class, or of two, that takes an image's first value for a logit."""

    classes: int = 1

    def predict(self, images: Any, /) -> Any:
        """Return a sigmoid, or a softmax."""
        xp = array_namespace(images)
        first = images[:, :1, ...]
        if self.classes == 1:
            return 1 / (1 + xp.exp(-first))
        logits = xp.exp(xp.concat([first * 0, first, -2 * first], axis=1))
        return logits / xp.sum(logits, axis=1, keepdims=True)


class Members(Sigmoid):
    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the mean of the predictions of the images and of darker and brighter ones."""
        xp = array_namespace(batch.images)
        members = xp.stack([self.predict(batch.images + shift) for shift in (0, -1, 0.5)])
        return Prediction(batch.ids, xp.mean(members, axis=0), members)


class Displaced(Sigmoid):
    def predict(self, images: Any, /) -> Any:
        """Return the predictions a pixel further to the right."""
        return super().predict(np.roll(images, 1, axis=-1))


def same(one: SourceStatistics, other: SourceStatistics) -> bool:
    pairs = [
        (getattr(one, field.name), getattr(other, field.name))
        for field in dataclasses.fields(SourceStatistics)
    ]
    ours, theirs = ([plain(value) for value in side] for side in zip(*pairs, strict=True))
    np.testing.assert_equal(ours, theirs)
    return all(type(a) is type(b) for a, b in pairs)


def plain(value: Any) -> Any:
    return vars(value) if isinstance(value, ImageFeatures) else value


def test_the_numbers_of_the_images() -> None:
    samples = organ(channels=2)
    measured = SourceStatistics.measure(samples, levels=33)
    images = np.stack([sample.image for sample in samples])
    for channel in range(2):
        lung = images[:, channel, 2:-2, 2:-2].ravel()
        expected = np.quantile(lung, np.linspace(0, 1, 33), method="inverted_cdf")
        np.testing.assert_array_equal(measured.quantiles[channel], expected)
    outside = np.quantile(images[:, 0, 0, 0], np.linspace(0, 1, 33), method="inverted_cdf")
    np.testing.assert_array_equal(measured.background, [outside, outside])
    assert (measured.samples, measured.region) == (5, "informative")
    assert measured.fraction is measured.agreement is None


@pytest.mark.parametrize("classes", [1, 2])
def test_the_numbers_of_the_predictions(classes: int) -> None:
    samples, predictor = organ(seed=1), Members(classes)
    cutoff = 0.4 if classes == 1 else (0.4, 0.5)
    measured = SourceStatistics.measure(samples, predictor, cutoff=cutoff, batch_size=2)
    images = np.stack([sample.image for sample in samples])
    prediction = predictor.predict_batch(Batch.unnamed(images))
    probabilities = prediction.probabilities
    labels = hard_labels(probabilities, cutoff)
    certainty, _ = certainty_index(probabilities, cutoff)
    np.testing.assert_allclose(measured.certainty, np.nanmean(certainty, axis=0), rtol=1e-6)
    np.testing.assert_allclose(measured.certainty_std, np.nanstd(certainty, axis=0), rtol=1e-5)
    entropy = np.nanmean(foreground_entropy(probabilities, cutoff)[0], axis=0)
    np.testing.assert_allclose(measured.entropy, entropy, rtol=1e-6)
    for place in range(classes):
        found = labels == place + 1
        assert measured.foreground_fraction is not None
        assert measured.fraction is not None
        assert measured.foreground_fraction[place] == pytest.approx(found.mean())
        assert measured.fraction[place] == pytest.approx(found[:, 2:-2, 2:-2].mean())


@pytest.mark.parametrize("classes", [1, 2])
def test_the_agreement_is_that_with_the_views_of_each_image(classes: int) -> None:
    samples, predictor = organ(seed=1), Displaced(classes)
    views = Views(axes=(-1, -2), scales=())
    measured = SourceStatistics.measure(samples, predictor, cutoff=0.4, views=views)
    images = np.stack([sample.image for sample in samples])
    plain = labels_of(predictor, images)
    expected = []
    for axis in views.axes:
        mirrored = np.flip(labels_of(predictor, np.flip(images, axis)), axis)
        for class_ in range(1, classes + 1):
            tp, fp, fn, _ = counts(mirrored == class_, plain == class_)
            expected.append(dsc(tp, fp, fn))
    assert measured.agreement == pytest.approx(float(np.mean(expected)))
    assert 0 < measured.agreement < 1


def labels_of(predictor: Any, images: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(hard_labels(predictor.predict(images), 0.4))


def counts(predicted: NDArray[Any], truth: NDArray[Any]) -> tuple[int, ...]:
    rows = [predicted & truth, predicted & ~truth, ~predicted & truth, ~predicted & ~truth]
    return tuple(int(row.sum()) for row in rows)


@settings(max_examples=15)  # each measures twice
@given(order=st.permutations(range(6)), batch_size=st.integers(1, 7))
def test_neither_the_order_nor_the_batches_change_anything(
    order: list[int], batch_size: int
) -> None:
    samples, predictor = organ(6, channels=2), Members()
    shuffled = [samples[index] for index in order]
    first = SourceStatistics.measure(samples, predictor)
    assert same(first, SourceStatistics.measure(shuffled, predictor, batch_size=batch_size))


def test_every_array_library_gives_the_same(xp: Any) -> None:
    samples = organ()
    converted = [dataclasses.replace(s, image=xp.asarray(s.image)) for s in samples]
    assert same(SourceStatistics.measure(samples), SourceStatistics.measure(converted))


class Sealed(LabelledSample):
    """A labelled sample whose mask must not be read once it is made."""

    def __getattribute__(self, name: str) -> Any:
        if name == "mask" and object.__getattribute__(self, "image").flags.writeable is False:
            raise AssertionError("a mask was read")
        return super().__getattribute__(name)


def test_masks_are_not_read() -> None:
    samples = organ()
    sealed = [Sealed(s.id, s.group, s.image.copy(), np.zeros((12, 13), int)) for s in samples]
    for sample in sealed:
        sample.image.setflags(write=False)
    measured = SourceStatistics.measure(sealed, Members())
    assert same(measured, SourceStatistics.measure(samples, Members()))


def bright(images: Any) -> Any:
    return images[:, 0, ...] > 0


def test_the_region_may_be_all_or_a_function() -> None:
    samples = organ()
    values = np.stack([sample.image for sample in samples]).ravel()
    everything = SourceStatistics.measure(samples, region=None, levels=2)
    assert everything.quantiles.tolist() == [[values.min(), values.max()]]
    assert everything.background is everything.region is None
    some = SourceStatistics.measure(samples, region=bright, levels=2)
    assert some.quantiles.tolist() == [[values[values > 0].min(), values.max()]]
    assert some.region is not None
    assert some.region.endswith("test_source.bright")


def test_images_may_be_of_several_shapes() -> None:
    samples = [*organ(2), *organ(1, size=9)]
    measured = SourceStatistics.measure(samples, region=None, levels=2)
    values = np.concatenate([sample.image.ravel() for sample in samples])
    assert measured.quantiles.tolist() == [[values.min(), values.max()]]
    assert measured.samples == 3


@pytest.mark.parametrize("cutoff", [0.3, (0.3, 0.6)])
@pytest.mark.parametrize("predictor", [None, Sigmoid(2), Members(2)])
def test_what_is_saved_is_read(tmp_path: Path, predictor: Any, cutoff: Any) -> None:
    samples = organ()
    path = tmp_path / "deep" / "source"
    for region in ("informative", None, bright):
        measured = SourceStatistics.measure(samples, predictor, cutoff=cutoff, region=region)
        measured.save(path)
        assert same(SourceStatistics.load(path), measured)
        before = path.read_bytes()
        measured.save(str(path))
        assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["source"]


def test_a_file_that_is_missing_truncated_or_other_is_named(tmp_path: Path) -> None:
    path = tmp_path / "source.npz"
    with pytest.raises(MissingDataError, match=r"source\.npz.*measure"):
        SourceStatistics.load(path)
    SourceStatistics.measure(organ()).save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for broken in (b"", whole[:40], whole[:-30], b"no archive", bytes(flipped)):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"source\.npz is not a whole file"):
            SourceStatistics.load(path)
    np.savez(path, about=np.array(json.dumps({"version": 99})))
    with pytest.raises(DataError, match="another version"):
        SourceStatistics.load(path)
    np.savez(path, numbers=np.arange(3))
    with pytest.raises(DataError, match=r"source\.npz is not a whole file"):
        SourceStatistics.load(path)
    np.savez(path, allow_pickle=True, about=np.array([object()], object))
    with pytest.raises(DataError, match="pickle"):
        SourceStatistics.load(path)


def test_an_archive_made_to_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "source.npz"
    SourceStatistics.measure(organ()).save(path)
    monkeypatch.setattr("pladapt.source.statistics._MAX_BYTES", 100)
    with pytest.raises(DataError, match=r"would take .* bytes of memory"):
        SourceStatistics.load(path)


def with_value(value: float) -> list[Sample]:
    samples = organ()
    samples[3].image[0, 5, 5] = value
    return samples


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([], {}, "no samples"),
        (with_value(np.nan), {}, "'s3' holds NaN"),
        (with_value(np.inf), {}, "'s3' holds NaN or infinite"),
        ([*organ(1), *organ(1, channels=3)], {}, "3 channels and the first one 1"),
        ([Sample("s", "p", np.zeros((1, 4, 4)))], {}, "every image is constant"),
        ([Sample("s", "p", np.zeros((1, 4, 4), int))], {}, "floating"),
        (organ(), {"levels": 1}, "at least 2"),
        (organ(), {"region": "lung"}, "No region 'lung'"),
        (organ(), {"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(samples: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SourceStatistics.measure(samples, **options)


def test_quantiles_must_ascend() -> None:
    measured = SourceStatistics.measure(organ())
    for wrong in (measured.quantiles[:, ::-1], measured.quantiles[0], measured.quantiles * np.nan):
        with pytest.raises(InputError, match="ascending"):
            dataclasses.replace(measured, quantiles=wrong)


def test_a_torn_header_of_an_array_is_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "source.npz"
    SourceStatistics.measure(organ()).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = members["quantiles.npy"]
    members["quantiles.npy"] = header.replace(b"{'descr'", b"('descr'", 1)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(DataError, match="is not a whole file"):
        SourceStatistics.load(path)
