from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pladapt import InputError, LabelledSample, calibrate_cutoff
from pladapt.evaluation import Calibration
from pladapt.evaluation.calibration import DEFAULT_CUTOFFS, count_above

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn
    from numpy.typing import NDArray

    from pladapt.evaluation.calibration import Aggregation

CLOSE = (0.5, float(np.nextafter(np.float32(0.5), np.float32(1))), 0.50001, 0.6)
"""Cut-offs too close for any bucket to hold one alone."""


def naive_counts(
    probabilities: NDArray[Any], truth: NDArray[Any], cutoffs: Sequence[float]
) -> list[list[int]]:
    """Try each cut-off."""
    dtype = probabilities.dtype.type
    above = [np.ones_like(truth), *(probabilities > dtype(c) for c in cutoffs)]
    return [[int((a & (truth == kind)).sum()) for a in above] for kind in (False, True)]


@st.composite
def counted(draw: DrawFn) -> tuple[NDArray[Any], NDArray[Any], list[float]]:
    """Draw ascending cut-offs, and values on, beside and between them."""
    dtype = np.dtype(draw(st.sampled_from(["float16", "float32", "float64"])))
    edges = draw(
        st.lists(
            hnp.from_dtype(dtype, min_value=2**-10, max_value=1 - 2**-10),
            min_size=1,
            max_size=12,
            unique_by=float,
        ).map(sorted)
    )
    beside = [np.nextafter(e, dtype.type(side)) for e in edges for side in (0, 1)]
    special = st.sampled_from([*edges, *beside, dtype.type(0), dtype.type(-0.0), dtype.type(1)])
    anything = hnp.from_dtype(dtype, min_value=0, max_value=1)
    probabilities = draw(hnp.arrays(dtype, st.integers(0, 40), elements=special | anything))
    truth = draw(hnp.arrays(np.bool_, probabilities.shape))
    return probabilities, truth, [float(e) for e in edges]


@given(counted())
def test_counting_once_equals_trying_each_cutoff(
    drawn: tuple[NDArray[Any], NDArray[Any], list[float]],
) -> None:
    assert count_above(*drawn).tolist() == naive_counts(*drawn)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "cutoffs",
    [DEFAULT_CUTOFFS, (0.5,), (0.1, 0.11, 0.9), tuple(np.linspace(0.001, 0.999, 999))],
    ids=["default", "one", "irregular", "fine"],
)
def test_counting_once_is_exact_at_and_beside_every_cutoff(
    dtype: str, cutoffs: Sequence[float]
) -> None:
    edges = np.array(cutoffs, dtype)
    ends = np.array([0, 1], dtype)
    probabilities = np.concatenate(
        [edges, np.nextafter(edges, ends[0]), np.nextafter(edges, ends[1]), ends, -ends[:1]]
    )
    truth = np.arange(probabilities.size) % 3 == 0
    assert count_above(probabilities, truth, cutoffs).tolist() == naive_counts(
        probabilities, truth, cutoffs
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cutoffs_closer_than_any_bucket_are_exact_too(dtype: str) -> None:
    edges = np.array(CLOSE, dtype)
    probabilities = np.concatenate([edges, np.nextafter(edges, np.dtype(dtype).type(1))])
    truth = np.ones(probabilities.shape, np.bool_)
    assert count_above(probabilities, truth, CLOSE).tolist() == naive_counts(
        probabilities, truth, CLOSE
    )


def test_counting_once_is_exact_beyond_one_block() -> None:
    generator = np.random.default_rng(1)
    probabilities = generator.random((3, 200, 250), np.float32).transpose(1, 0, 2)
    truth = generator.random(probabilities.shape) < 0.2
    cutoffs = DEFAULT_CUTOFFS[::7]
    assert count_above(probabilities, truth, cutoffs).tolist() == naive_counts(
        probabilities, truth, cutoffs
    )


@pytest.mark.parametrize("value", [math.nan, 1.5, -0.1, math.inf])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"NaN or values outside \[0, 1\]"):
        count_above(np.array([0.5, value]), np.array([True, False]), [0.5])


@pytest.mark.parametrize(
    "cutoffs",
    [(), (0.0, 0.5), (0.5, 1.0), (0.5, 0.4), (0.5, 0.5), (math.nan,), (0.1, math.nan, 0.5)],
)
def test_cutoffs_must_ascend_within_the_open_interval(cutoffs: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="must ascend between 0 and 1, both excluded; got"):
        count_above(np.array([0.5]), np.array([True]), cutoffs)


class AsGiven:
    """Predicts the image itself."""

    def predict(self, images: Any, /) -> Any:
        """Return the images."""
        return images


def samples(classes: int = 1, seed: int = 0) -> list[LabelledSample]:
    """Make slices of three patients: of two sizes, one without a lesion, some pixels ignored."""
    generator = np.random.default_rng(seed)
    made = []
    for index, group in enumerate("ppqqqr"):
        shape = (6, 7) if index % 2 else (5, 5)
        mask = generator.integers(0, classes + 1, shape).astype(np.uint8)
        if index == 3:
            mask[:] = 0
        noise = generator.random((classes + 1, *shape))
        noise[mask, *np.indices(shape)] += 0.6
        image = noise / noise.sum(axis=0)
        mask[0, :2] = 255
        made.append(LabelledSample(f"s{index}", group, image[1:] if classes == 1 else image, mask))
    return made


def naive_curve(
    given_: Sequence[LabelledSample], class_: int, cutoffs: Sequence[float], aggregation: str
) -> list[float]:
    """Try each cut-off on each sample, and average by hand."""
    curve = []
    for cutoff in cutoffs:
        units: dict[str, list[int]] = {}
        for sample in given_:
            key = {"sample": sample.id, "group": sample.group, "pooled": ""}[aggregation]
            unit = units.setdefault(key, [0, 0])
            plane = sample.image[class_ - 1 if len(sample.image) == 1 else class_]
            for p, t in zip(plane.flat, sample.mask.flat, strict=True):
                if t != 255:
                    unit[0] += 2 * bool(p > cutoff and t == class_)
                    unit[1] += bool(p > cutoff) + bool(t == class_)
        scores = [part / whole if whole else 1.0 for part, whole in units.values()]
        curve.append(sum(scores) / len(scores))
    return curve


@pytest.mark.parametrize("aggregation", ["sample", "group", "pooled"])
@pytest.mark.parametrize("classes", [1, 2])
def test_the_best_cutoff_is_that_of_trying_each(aggregation: Aggregation, classes: int) -> None:
    cutoffs = [0.05, 0.2, 0.3, 0.35, 0.45, 0.5, 0.55, 0.62, 0.8]
    given_ = samples(classes)
    calibration = calibrate_cutoff(
        AsGiven(), given_, cutoffs=cutoffs, aggregation=aggregation, batch_size=2
    )
    found = [calibration.cutoff] if classes == 1 else calibration.cutoff
    assert isinstance(found, list | tuple)
    for class_, cutoff in enumerate(found, start=1):
        curve = naive_curve(given_, class_, cutoffs, aggregation)
        rows = [row for row in calibration.curve.to_pylist() if row["class"] == class_]
        assert [row["cutoff"] for row in rows] == cutoffs
        assert [row["dsc"] for row in rows] == pytest.approx(curve)
        assert cutoff == cutoffs[int(np.argmax(curve))]
    assert calibration.aggregation == aggregation


def test_the_aggregations_differ() -> None:
    curves = [
        tuple(calibrate_cutoff(AsGiven(), samples(), aggregation=a).curve["dsc"].to_pylist())
        for a in ("sample", "group", "pooled")
    ]
    assert len(set(curves)) == 3


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_batch_does_not_matter(batch_size: int) -> None:
    one = calibrate_cutoff(AsGiven(), samples(), batch_size=batch_size)
    assert one.curve.equals(calibrate_cutoff(AsGiven(), samples(), batch_size=2).curve)


def test_of_equally_good_cutoffs_the_one_nearest_to_a_half_wins() -> None:
    perfect = LabelledSample("a", "p", np.array([[[0.05, 0.95]]]), np.array([[0, 1]]))
    for cutoffs, best in (
        ((0.1, 0.3, 0.6, 0.9), 0.6),
        ((0.2, 0.3), 0.3),
        ((0.7, 0.9), 0.7),
        (DEFAULT_CUTOFFS, 0.5),
    ):
        assert calibrate_cutoff(AsGiven(), [perfect], cutoffs=cutoffs).cutoff == best


def test_the_cutoff_is_of_use_to_the_certainty_index_as_it_is() -> None:
    from pladapt.selection.certainty_index import CertaintyIndexSelector

    for classes in (1, 2):
        cutoff = calibrate_cutoff(AsGiven(), samples(classes)).cutoff
        assert CertaintyIndexSelector(cutoff=cutoff).cutoff == cutoff


def test_an_unknown_aggregation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'slice'; expected \('sample', 'group', 'pooled'\)"):
        calibrate_cutoff(AsGiven(), samples(), aggregation="slice")  # type: ignore[arg-type]  # what is tested


def test_there_must_be_samples_to_calibrate_on() -> None:
    with pytest.raises(InputError, match="no samples to calibrate on"):
        calibrate_cutoff(AsGiven(), [])


def test_bad_cutoffs_are_refused() -> None:
    with pytest.raises(InputError, match="must ascend"):
        calibrate_cutoff(AsGiven(), samples(), cutoffs=(0.9, 0.1))


@pytest.mark.parametrize(
    ("curves", "edges"),
    [
        ({1: [0.2, 0.9, 0.3]}, ()),
        ({1: [0.9, 0.5, 0.3]}, (1,)),
        ({1: [0.2, 0.5, 0.9]}, (1,)),
        ({1: [0.2, 0.9, 0.3], 2: [0.1, 0.2, 0.9]}, (2,)),
        ({1: [0.9]}, ()),
    ],
)
def test_a_best_cutoff_at_the_edge_of_those_tried_is_said(
    curves: dict[int, list[float]], edges: tuple[int, ...]
) -> None:
    rows = [
        {"class": class_, "cutoff": cutoff, "dsc": value}
        for class_, values in curves.items()
        for cutoff, value in zip((0.1, 0.5, 0.9), values, strict=False)
    ]
    found = Calibration.from_curve(pa.Table.from_pylist(rows), "pooled")
    assert found.at_edge == edges
