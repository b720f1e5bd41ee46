from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import InputError, Prediction, Sample
from pladapt.data.batches import batches
from pladapt.data.views import Mapped, Subset
from pladapt.functional.arrays import native_float, to_numpy
from pladapt.predictors.prediction import predictions
from pladapt.typing import BatchPredictor

if TYPE_CHECKING:
    from pladapt import Batch


class AsGiven:
    """Predicts the image itself."""

    def predict(self, images: Any, /) -> Any:
        """Return the images."""
        return images


class Twice:
    """Averages the image and its square."""

    def predict(self, images: Any, /) -> Any:
        """Never called where the members are."""
        raise AssertionError(images.shape)

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the image and its square."""
        members = np.stack([batch.images, batch.images**2])
        return Prediction(batch.ids, members.mean(axis=0), members)


def samples(*widths: int) -> list[Sample]:
    return [
        Sample(f"s{index}", "p", np.full((1, 2, width), index / 10))
        for index, width in enumerate(widths)
    ]


@given(st.lists(st.integers(1, 3), max_size=12), st.integers(1, 5))
def test_every_sample_is_predicted_once_and_in_order(widths: list[int], batch_size: int) -> None:
    given_ = samples(*widths)
    seen: list[Sample] = []
    for batch, prediction in predictions(AsGiven(), given_, batch_size=batch_size):
        assert 1 <= len(batch) <= batch_size
        assert prediction.ids == tuple(sample.id for sample in batch)
        assert prediction.members is None
        for sample, probabilities in zip(batch, prediction.probabilities, strict=True):
            np.testing.assert_array_equal(probabilities, sample.image)
        seen += batch
    assert seen == given_


def test_a_batch_ends_where_the_shape_changes() -> None:
    sizes = [len(batch) for batch, _ in predictions(AsGiven(), samples(3, 3, 3, 4, 3, 3))]
    assert sizes == [3, 1, 2]


def test_members_are_kept_and_averaged() -> None:
    assert isinstance(Twice(), BatchPredictor)
    ((_, prediction),) = predictions(Twice(), samples(3, 3))
    assert prediction.members is not None
    assert prediction.members.shape == (2, 2, 1, 2, 3)
    np.testing.assert_allclose(prediction.probabilities[1], (0.1 + 0.01) / 2)


def test_a_predictor_learns_whose_images_it_predicts() -> None:
    class Noting:
        """Predicts the image itself, and notes the batches."""

        def __init__(self) -> None:
            self.batches: list[Batch] = []

        def predict(self, images: Any, /) -> Any:
            """Return the images."""
            return images

        def predict_batch(self, batch: Batch, /) -> Prediction:
            """Return the images."""
            self.batches.append(batch)
            return Prediction(batch.ids, batch.images)

    noting, given_ = Noting(), [Sample(f"s{i}", f"p{i // 2}", np.ones((1, 2, 2))) for i in range(3)]
    list(predictions(noting, given_, batch_size=2))
    assert [batch.ids for batch in noting.batches] == [("s0", "s1"), ("s2",)]
    assert [batch.groups for batch in noting.batches] == [("p0", "p0"), ("p1",)]


@pytest.mark.parametrize("shape", [(2, 1, 2), (1, 1, 2, 3), (2, 1, 2, 4), (2, 1, 2, 3, 1)])
@pytest.mark.parametrize("whole", [False, True])
def test_a_prediction_of_another_size_is_refused(shape: tuple[int, ...], *, whole: bool) -> None:
    class Wrong:
        """Predicts one shape for every batch."""

        def predict(self, _images: Any, /) -> Any:
            """Return it."""
            return np.zeros(shape)

    class WrongBatch(Wrong):
        """The same with ``predict_batch``."""

        def predict_batch(self, _batch: Batch, /) -> Any:
            """Return it."""
            return SimpleNamespace(probabilities=np.zeros(shape), members=None)

    wrong = WrongBatch() if whole else Wrong()
    with pytest.raises(InputError, match=rf"{type(wrong).__name__} predicted shape .*\(2, channel"):
        list(predictions(wrong, samples(3, 3)))


class Slow:
    """Samples that tell in which thread they are read, and fail at one place."""

    def __init__(self, length: int, broken: int = -1) -> None:
        self._length, self._broken = length, broken
        self.threads: set[int] = set()
        self.read = 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int, /) -> Sample:
        self.threads.add(threading.get_ident())
        self.read += 1
        if index == self._broken:
            raise OSError(f"no image {index}")
        return Sample(str(index), "p", np.zeros((1, 2, 2)))


def test_the_next_batch_and_no_more_is_read_ahead() -> None:
    given_ = Slow(100)
    stream: Any = predictions(AsGiven(), given_, batch_size=4)
    next(stream)
    stream.close()
    assert 4 <= given_.read <= 9  # a batch, the next, and the sample that shows where it ends
    assert threading.get_ident() not in given_.threads


def test_the_next_batch_is_read_while_the_predictor_works() -> None:
    read = threading.Event()

    def note(sample: Sample) -> Sample:
        if sample.id == "s3":  # s2 shows where the first batch ends
            read.set()
        return sample

    class Waiting:
        def predict(self, images: Any, /) -> Any:
            assert read.wait(timeout=30), "the second batch was not read"
            return images

    next(predictions(Waiting(), Mapped(samples(3, 3, 3, 3), note), batch_size=2))


def test_a_sample_that_cannot_be_read_ends_in_its_own_error() -> None:
    with pytest.raises(OSError, match="no image 5"):
        list(predictions(AsGiven(), Slow(10, broken=5), batch_size=2))


def test_an_image_of_another_rank_is_named() -> None:
    with pytest.raises(InputError, match=r"'s' has an image of shape \(4, 4\); expected \(channel"):
        list(predictions(AsGiven(), [Sample("s", "p", np.zeros((4, 4)))]))


def test_there_is_at_least_one_sample_in_a_batch() -> None:
    with pytest.raises(InputError, match="batch_size is 0"):
        list(predictions(AsGiven(), samples(3), batch_size=0))


def test_a_prediction_s_shapes_must_agree() -> None:
    maps = np.zeros((2, 1, 4, 4))
    with pytest.raises(InputError, match=r"shape \(2, 1, 4, 4\) for 3 samples; expected \(3, chan"):
        Prediction(("a", "b", "c"), maps)
    with pytest.raises(InputError, match=r"Members have shape \(3, 2, 4, 4\)"):
        Prediction(("a", "b"), maps, np.zeros((3, 2, 4, 4)))


def test_arrays_of_any_library_come_to_the_host(xp: Any) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(to_numpy(xp.asarray(values)), values, strict=True)
    flags = values > 2
    np.testing.assert_array_equal(to_numpy(xp.asarray(flags)), flags, strict=True)


def test_an_array_of_another_device_comes_to_the_host() -> None:
    strict = pytest.importorskip("array_api_strict")
    where = next(d for d in strict.__array_namespace_info__().devices() if "device1" in str(d))
    assert to_numpy(strict.ones(3, device=where)).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("f2", "f4"), ("f4", "f4"), (">f4", "f4"), ("f8", "f8"), (">f8", "f8"), ("g", "f8")],
)
def test_floats_become_native_without_losing_digits(dtype: str, expected: str) -> None:
    values = np.array([[0.1, 0.2], [0.3, 0.4]], dtype).T
    native = native_float(values)
    assert native.dtype == np.dtype(expected)
    assert native.dtype.isnative
    assert native.flags.c_contiguous
    np.testing.assert_array_equal(native, values.astype(expected))


def test_a_view_maps_when_a_sample_is_asked_for() -> None:
    read: list[int] = []
    view = Mapped([1, 2, 3], lambda x: read.append(x) or x * 10)  # type: ignore[func-returns-value]  # notes what was read
    assert len(view) == 3
    assert read == []
    assert (view[1], view[-1]) == (20, 30)
    assert read == [2, 3]
    assert list(view) == [10, 20, 30]  # type: ignore[call-overload]  # ends by IndexError


def test_a_subset_keeps_the_order_of_the_positions() -> None:
    subset = Subset("abcd", [3, 0, 0])
    assert [subset[index] for index in range(len(subset))] == ["d", "a", "a"]
    with pytest.raises(IndexError):
        subset[3]


def test_a_batch_of_large_images_has_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(batches.__globals__, "_MOST_VALUES", 100)
    sizes = [(1, 5, 10), (1, 5, 10), (1, 5, 10), (1, 20, 10), (1, 20, 10), *[(1, 2, 5)] * 9]
    samples = [Sample(str(at), "", np.zeros(size)) for at, size in enumerate(sizes)]
    found = [images.shape for _, images in batches(samples, batch_size=8)]
    large = [(2, 1, 5, 10), (1, 1, 5, 10), (1, 1, 20, 10), (1, 1, 20, 10)]
    assert found == [*large, (8, 1, 2, 5), (1, 1, 2, 5)]
