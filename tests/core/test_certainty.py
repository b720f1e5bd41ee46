from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from array_api_compat import array_namespace, device
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pladapt import InputError, certainty_index, hard_labels
from pladapt.functional import combine_classes
from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn
    from numpy.typing import NDArray

PRECISION = {"float16": 1e-6, "float32": 1e-6, "float64": 1e-12}


def naive_certainty(
    probabilities: NDArray[Any], cutoffs: Sequence[float]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Eq. (1) as it is written, a pixel at a time and summed without rounding."""
    planes = probabilities if probabilities.shape[1] == 1 else probabilities[:, 1:]
    ci, pixels = np.full(planes.shape[:2], np.nan), np.zeros(planes.shape[:2], np.int64)
    for b, f in np.ndindex(ci.shape):
        sure = [float(p) for p in planes[b, f].ravel() if p > planes.dtype.type(cutoffs[f])]
        pixels[b, f] = len(sure)
        if sure:
            ci[b, f] = math.fsum(sure) / len(sure)
    return ci, pixels


def naive_labels(probabilities: NDArray[Any], cutoffs: Sequence[float]) -> NDArray[Any]:
    """Label a pixel at a time: the likeliest of the classes above their cut-offs."""
    planes = probabilities if probabilities.shape[1] == 1 else probabilities[:, 1:]
    labels = np.zeros((len(planes), *planes.shape[2:]), np.uint8)
    for b, *place in np.ndindex(labels.shape):
        values = [planes[(b, f, *place)] for f in range(planes.shape[1])]
        above = [f for f, p in enumerate(values) if p > planes.dtype.type(cutoffs[f])]
        if above:
            labels[(b, *place)] = 1 + max(above, key=lambda f: (values[f], -f))
    return labels


@st.composite
def maps(
    draw: DrawFn, dtypes: Sequence[str] = tuple(PRECISION)
) -> tuple[NDArray[Any], list[float]]:
    """Draw probabilities and a cut-off per class, many values at or beside the cut-offs."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = draw(hnp.array_shapes(min_dims=4, max_dims=5, min_side=1, max_side=4))
    classes = max(1, shape[1] - 1)
    cutoffs = draw(st.lists(st.floats(0.01, 0.99), min_size=classes, max_size=classes))
    edges = [dtype.type(c) for c in cutoffs]
    beside = [np.nextafter(e, dtype.type(side)) for e in edges for side in (0, 1)]
    special = st.sampled_from([*edges, *beside, dtype.type(0), dtype.type(-0.0), dtype.type(1)])
    anything = hnp.from_dtype(dtype, min_value=0, max_value=1)
    return draw(hnp.arrays(dtype, shape, elements=special | anything)), cutoffs


def some_map(shape: tuple[int, ...] = (3, 4, 9, 7), dtype: str = "float32") -> NDArray[Any]:
    values = np.random.default_rng(5).random(shape)
    return (values / values.sum(axis=1, keepdims=True) if shape[1] > 1 else values).astype(dtype)


@given(maps())
def test_agrees_with_the_equation(drawn: tuple[NDArray[Any], list[float]]) -> None:
    probabilities, cutoffs = drawn
    ci, pixels = certainty_index(probabilities, cutoffs)
    expected, count = naive_certainty(probabilities, cutoffs)
    np.testing.assert_array_equal(pixels, count)
    np.testing.assert_allclose(ci, expected, rtol=PRECISION[probabilities.dtype.name])


@given(drawn=maps(dtypes=("float32", "float64")))
def test_agrees_with_the_equation_in_every_library(
    xp: Any, drawn: tuple[NDArray[Any], list[float]]
) -> None:
    probabilities, cutoffs = drawn
    ci, pixels = certainty_index(xp.asarray(probabilities), cutoffs)
    expected, count = naive_certainty(probabilities, cutoffs)
    np.testing.assert_array_equal(to_numpy(pixels), count)
    np.testing.assert_allclose(to_numpy(ci), expected, rtol=PRECISION[probabilities.dtype.name])


@given(drawn=maps(dtypes=("float32", "float64")))
def test_labels_agree_with_a_loop_over_pixels(
    xp: Any, drawn: tuple[NDArray[Any], list[float]]
) -> None:
    probabilities, cutoffs = drawn
    labels = hard_labels(xp.asarray(probabilities), cutoffs)
    assert labels.dtype == xp.uint8
    np.testing.assert_array_equal(to_numpy(labels), naive_labels(probabilities, cutoffs))


@given(maps())
def test_a_pixel_is_counted_exactly_where_it_can_be_labelled(
    drawn: tuple[NDArray[Any], list[float]],
) -> None:
    probabilities, cutoffs = drawn
    _, pixels = certainty_index(probabilities[:, :1], cutoffs[0])
    labels = hard_labels(probabilities[:, :1], cutoffs[0])
    np.testing.assert_array_equal(pixels[:, 0], labels.reshape(len(labels), -1).sum(axis=1))


@pytest.mark.parametrize("shape", [(2, 1, 300, 301), (1, 3, 70, 60, 17)])
@pytest.mark.parametrize("dtype", PRECISION)
def test_agrees_with_the_equation_beyond_one_block(shape: tuple[int, ...], dtype: str) -> None:
    probabilities = some_map(shape, dtype)
    cutoffs = [0.4, 0.2][: max(1, shape[1] - 1)]
    ci, pixels = certainty_index(probabilities, cutoffs)
    expected, count = naive_certainty(probabilities, cutoffs)
    np.testing.assert_array_equal(pixels, count)
    np.testing.assert_allclose(ci, expected, rtol=PRECISION[dtype])


@pytest.mark.parametrize("dtype", PRECISION)
def test_a_probability_equal_to_the_cutoff_does_not_count(dtype: str) -> None:
    value = np.dtype(dtype).type(0.3)  # in no dtype exactly 0.3
    above = np.nextafter(value, np.dtype(dtype).type(1))
    probabilities = np.array([value, value, above, 0], dtype).reshape(1, 1, 2, 2)
    ci, pixels = certainty_index(probabilities, 0.3)
    assert pixels.item() == 1
    assert ci.item() == above


def test_without_a_pixel_above_the_cutoff_the_index_is_undefined(xp: Any) -> None:
    ci, pixels = certainty_index(xp.zeros((2, 1, 4, 4)), 0.5)
    assert to_numpy(pixels).tolist() == [[0], [0]]
    assert np.isnan(to_numpy(ci)).all()


def test_an_image_without_a_pixel_and_a_batch_without_an_image_are_undefined(xp: Any) -> None:
    ci, pixels = certainty_index(xp.zeros((2, 1, 0, 4)))
    assert np.isnan(to_numpy(ci)).all()
    assert to_numpy(pixels).tolist() == [[0], [0]]
    assert certainty_index(xp.zeros((0, 3, 4, 4)))[0].shape == (0, 2)


def test_returns_arrays_of_the_same_library(xp: Any) -> None:
    probabilities = xp.asarray(some_map())
    ci, pixels = certainty_index(probabilities)
    assert array_namespace(ci, pixels) is array_namespace(probabilities)
    assert (ci.dtype, pixels.dtype) == (xp.float64, xp.int64)
    assert ci.shape == pixels.shape == (3, 3)


@pytest.mark.parametrize("name", ["device1", "no_float64"])
def test_everything_stays_on_the_device(name: str) -> None:
    strict = pytest.importorskip("array_api_strict")
    where = next(d for d in strict.__array_namespace_info__().devices() if name in str(d))
    values = some_map()
    probabilities = strict.asarray(values, device=where)
    ci, pixels = certainty_index(probabilities, 0.3)
    scores = [combine_classes(ci, pixels, rule=rule) for rule in ("mean", "min", "pixels")]
    for array in (ci, pixels, *scores, hard_labels(probabilities, 0.3)):
        assert device(array) == where
    np.testing.assert_allclose(
        to_numpy(ci), naive_certainty(values, [0.3] * 3)[0], rtol=PRECISION["float32"]
    )


@pytest.mark.torch
def test_half_precision_in_torch() -> None:
    torch = pytest.importorskip("torch")
    probabilities = torch.asarray(some_map()).to(torch.bfloat16)
    ci, pixels = certainty_index(probabilities, 0.25)  # exact in any precision
    expected, count = certainty_index(probabilities.to(torch.float32), 0.25)
    assert torch.equal(pixels, count)
    np.testing.assert_allclose(to_numpy(ci), to_numpy(expected), rtol=1e-6)
    as_numpy = to_numpy(probabilities)  # numpy has no such type
    np.testing.assert_array_equal(as_numpy, probabilities.to(torch.float32).numpy(), strict=True)
    half = torch.asarray(some_map(dtype="float16"))
    assert torch.equal(certainty_index(half, 0.3)[1], (half[:, 1:] > 0.3).sum(dim=(2, 3)))


@pytest.mark.torch
def test_a_gradient_is_no_hindrance() -> None:
    torch = pytest.importorskip("torch")
    probabilities = torch.full((1, 1, 2, 2), 0.75, requires_grad=True)
    assert certainty_index(probabilities)[0].item() == 0.75


@pytest.mark.parametrize(
    "view",
    [
        lambda p: p[:, :, ::-1, ::2],
        lambda p: np.swapaxes(p, 2, 3),
        lambda p: np.moveaxis(np.ascontiguousarray(np.moveaxis(p, 1, -1)), -1, 1),
        np.asfortranarray,
        lambda p: p.astype(p.dtype.newbyteorder()),
    ],
    ids=["reversed", "transposed", "channels-last", "fortran", "byte-swapped"],
)
@pytest.mark.parametrize("dtype", PRECISION)
def test_memory_order_does_not_matter(view: Any, dtype: str) -> None:
    probabilities = view(some_map(dtype=dtype))
    straight = np.ascontiguousarray(probabilities, dtype)
    np.testing.assert_array_equal(
        certainty_index(probabilities)[0], certainty_index(straight)[0], strict=True
    )
    np.testing.assert_array_equal(hard_labels(probabilities), hard_labels(straight))


def test_the_input_is_only_read() -> None:
    probabilities = some_map()
    probabilities.flags.writeable = False
    before = probabilities.copy()
    certainty_index(probabilities)
    hard_labels(probabilities)
    np.testing.assert_array_equal(probabilities, before)


def test_a_sample_does_not_depend_on_its_batch(xp: Any) -> None:
    probabilities = xp.asarray(some_map((5, 3, 8, 8)))
    together, pixels = certainty_index(probabilities, 0.3)
    for index in range(5):
        alone, count = certainty_index(probabilities[index : index + 1, ...], 0.3)
        np.testing.assert_allclose(to_numpy(alone[0, ...]), to_numpy(together[index, ...]), 1e-12)
        assert to_numpy(count[0, ...]).tolist() == to_numpy(pixels[index, ...]).tolist()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.0000001, -1e-7, 2.5, -3.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_probability_is_refused_and_the_sample_named(
    xp: Any, value: float, dtype: str
) -> None:
    values = some_map((3, 1, 5, 5), dtype)
    values[1, 0, 2, 2] = value
    with pytest.raises(
        InputError, match=r"sample 1 of the batch hold NaN or values outside \[0, 1"
    ):
        certainty_index(xp.asarray(values))


def test_the_background_is_not_searched_for_what_is_no_probability() -> None:
    values = some_map((1, 2, 3, 3))
    values[0, 0] = np.nan
    assert np.isfinite(certainty_index(values, 0.1)[0]).all()


def test_negative_zero_is_a_probability(xp: Any) -> None:
    ci, pixels = certainty_index(xp.asarray(np.array([-0.0, 1, 0, 1]).reshape(1, 1, 2, 2)))
    assert (ci[0, 0], pixels[0, 0]) == (1, 2)


@pytest.mark.parametrize("function", [certainty_index, hard_labels])
@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (1, 1, 2, 2, 2, 2), (2, 0, 4, 4)])
def test_another_shape_is_refused(function: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"shape \(.*expected \(batch, channel, \*spatial\)"):
        function(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "complex64"])
def test_another_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(InputError, match=f"dtype {dtype}; expected floating point"):
        certainty_index(np.zeros((1, 1, 2, 2), dtype))


@pytest.mark.parametrize("function", [certainty_index, hard_labels])
@pytest.mark.parametrize("cutoff", [0, 1, -0.5, 1.5, math.nan, math.inf])
def test_a_cutoff_outside_the_open_interval_is_refused(function: Any, cutoff: float) -> None:
    with pytest.raises(InputError, match=f"cut-off is {cutoff}; it must lie between 0 and 1"):
        function(np.zeros((1, 1, 2, 2)), cutoff)


def test_each_class_needs_its_cutoff() -> None:
    with pytest.raises(InputError, match="2 cut-offs for 3 classes"):
        certainty_index(some_map(), (0.5, 0.5))


CI = [[0.9, 0.7, math.nan], [0.8, 0.6, 0.55], [math.nan] * 3]
PIXELS = [[100, 300, 0], [40, 60, 100], [0, 0, 0]]


@pytest.mark.parametrize(
    ("rule", "min_pixels", "expected"),
    [
        ("mean", 1, [0.8, 0.65, math.nan]),
        ("min", 1, [0.7, 0.55, math.nan]),
        ("pixels", 1, [0.75, 0.615, math.nan]),  # (90 + 210) / 400; (32 + 36 + 55) / 200
        ("mean", 50, [0.8, 0.575, math.nan]),
        ("min", 101, [0.7, math.nan, math.nan]),
        ("pixels", 60, [0.75, 0.56875, math.nan]),  # (36 + 55) / 160
        ("mean", 0, [0.8, 0.65, math.nan]),
    ],
)
def test_classes_combine_as_worked_by_hand(
    xp: Any, rule: Any, min_pixels: int, expected: list[float]
) -> None:
    score = combine_classes(xp.asarray(CI), xp.asarray(PIXELS), rule=rule, min_pixels=min_pixels)
    np.testing.assert_allclose(to_numpy(score), expected)


@pytest.mark.parametrize("rule", ["mean", "min", "pixels"])
def test_one_class_scores_its_own_index(xp: Any, rule: Any) -> None:
    ci, pixels = certainty_index(xp.asarray(some_map((4, 1, 5, 5), "float64")), 0.3)
    score = combine_classes(ci, pixels, rule=rule)
    np.testing.assert_allclose(to_numpy(score), to_numpy(ci)[:, 0], rtol=1e-15)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 10)), min_size=1, max_size=4),
    st.sampled_from(["mean", "min", "pixels"]),
    st.randoms(),
)
def test_a_combined_score_lies_among_its_classes_in_any_order(
    classes: list[tuple[float, int]], rule: Any, random: Any
) -> None:
    def score(rows: list[tuple[float, int]]) -> float:
        ci = np.array([[c if n else math.nan for c, n in rows]])
        return float(combine_classes(ci, np.array([[n for _, n in rows]]), rule=rule)[0])

    value = score(classes)
    shown = [c for c, n in classes if n]
    assert math.isnan(value) if not shown else min(shown) - 1e-12 <= value <= max(shown) + 1e-12
    random.shuffle(classes)
    assert score(classes) == pytest.approx(value, nan_ok=True)


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'median'; expected one of \('mean', 'min', 'pixels'\)"):
        combine_classes(np.array(CI), np.array(PIXELS), rule="median")  # type: ignore[arg-type]  # what is tested


def test_of_equally_likely_classes_the_first_is_labelled() -> None:
    probabilities = np.array([0.2, 0.4, 0.4]).reshape(1, 3, 1, 1)
    assert hard_labels(probabilities, 0.3).item() == 1


def test_a_likelier_class_below_its_cutoff_gives_way() -> None:
    probabilities = np.array([0.1, 0.4, 0.5]).reshape(1, 3, 1, 1)
    assert hard_labels(probabilities, (0.3, 0.6)).item() == 1
