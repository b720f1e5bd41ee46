"""Estimating a DSC without labels, from what was simulated on the source's labelled samples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pladapt
from pladapt import InputError, LabelledSample, SourceStatistics, unlabelled
from pladapt.errors import LabelledTargetError
from pladapt.functional.overlap import dsc
from pladapt.source.estimation import calibrate_estimate
from pladapt.source.simulation import CHANGES, Change

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SIZE = 24
DARK, BRIGHT = np.zeros(1), np.ones(1)


class Bright:
    """Marks what is bright: right where the images are as bright as the source's."""

    def predict(self, images: Any, /) -> Any:
        return 1 / (1 + np.exp(-20 * (images - 0.5)))


def discs(count: int, *, seed: int = 0, noise: float = 0.15) -> list[LabelledSample]:
    """Make bright discs of several sizes before a dark ground, two to a group."""
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    made = []
    for index in range(count):
        (v, u), radius = draws.uniform(8, 16, 2), draws.uniform(3, 7)
        mask = ((y - v) ** 2 + (x - u) ** 2 < radius**2).astype(np.uint8)
        image = (0.25 + 0.5 * mask + draws.normal(0, noise, mask.shape))[None]
        made.append(
            LabelledSample(f"s{index:02}", f"g{index // 2}", image.astype(np.float32), mask)
        )
    return made


@pytest.fixture(scope="module")
def source() -> SourceStatistics:
    samples = discs(12)
    measured = SourceStatistics.measure(unlabelled(samples), Bright(), levels=65)
    return calibrate_estimate(measured, samples, Bright())


def true_dsc(samples: Sequence[LabelledSample]) -> float:
    marked, truth = (
        np.stack(each) > 0.5 for each in ([s.image[0] for s in samples], [s.mask for s in samples])
    )
    counts = ((marked & truth).sum(), (marked & ~truth).sum(), (~marked & truth).sum())
    return float(dsc(*counts))


def test_more_of_the_sources_images_are_estimated_well(source: SourceStatistics) -> None:
    more = discs(12, seed=1)
    found = pladapt.estimate(Bright(), unlabelled(more), source=source)
    assert found.status == "estimated"
    assert found.interval is not None
    assert found.interval.dsc == pytest.approx(true_dsc(more), abs=0.1)
    assert found.interval.low <= true_dsc(more) <= found.interval.high
    assert str(found).startswith("estimated DSC 0.")


def test_noisier_images_are_estimated_lower(source: SourceStatistics) -> None:
    clean, noisy = (
        pladapt.estimate(Bright(), unlabelled(discs(12, seed=1, noise=noise)), source=source)
        for noise in (0.12, 0.22)
    )
    assert clean.interval is not None
    assert noisy.interval is not None
    assert noisy.interval.dsc < clean.interval.dsc


def test_each_group_has_its_own_estimate(source: SourceStatistics) -> None:
    found = pladapt.estimate(Bright(), unlabelled(discs(6, seed=2)), source=source)
    rows = found.groups.to_pylist()
    assert [(row["group"], row["samples"]) for row in rows] == [("g0", 2), ("g1", 2), ("g2", 2)]
    assert all(0 <= row["low"] <= row["dsc"] <= row["high"] <= 1 for row in rows)


def changed(samples: Sequence[LabelledSample], **how: float) -> list[LabelledSample]:
    return [Change(name="test", **how).of(sample, DARK, BRIGHT) for sample in samples]


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ({"brightness": -2.0}, "unfit", "standard deviations from the source's"),
        ({"contrast": -1.0}, "unfit", "bright and dark are the other way round"),
        ({"brightness": 0.27}, "unknown", "times the fraction of pixels"),
        ({"contrast": 0.1, "brightness": -0.1}, "unknown", "no foreground"),
    ],
)
def test_where_nothing_alike_was_simulated_there_is_no_number(
    source: SourceStatistics, how: dict[str, float], status: str, reason: str
) -> None:
    target = unlabelled(changed(discs(8, seed=3, noise=0.05), **how))
    found = pladapt.estimate(Bright(), target, source=source)
    assert found.status == status
    assert reason in found.reason
    assert found.interval is None
    assert found.groups["dsc"].null_count == len(found.groups)


def test_without_labels_of_the_source_nothing_is_known() -> None:
    samples = unlabelled(discs(8))
    alone = SourceStatistics.measure(samples, Bright())
    found = pladapt.estimate(Bright(), samples, source=alone)
    assert found.status == "unknown"
    assert "--truth" in found.reason


def test_the_target_has_no_masks(source: SourceStatistics) -> None:
    with pytest.raises(LabelledTargetError):
        pladapt.estimate(Bright(), discs(4), source=source)  # type: ignore[arg-type]


def test_it_travels_with_the_statistics(source: SourceStatistics, tmp_path: Path) -> None:
    source.save(tmp_path / "source.npz")
    read = SourceStatistics.load(tmp_path / "source.npz")
    assert read.estimation is not None
    assert read.estimation == source.estimation
    assert (tmp_path / "source.npz").stat().st_size < 20_000


def test_neither_order_nor_batches_matter(source: SourceStatistics) -> None:
    samples = discs(12)
    again = calibrate_estimate(
        replace(source, estimation=None), samples[::-1], Bright(), batch_size=5
    )
    assert again.estimation == source.estimation


def test_it_refuses_what_says_nothing() -> None:
    samples = discs(8)
    with pytest.raises(InputError, match="without a predictor"):
        calibrate_estimate(SourceStatistics.measure(unlabelled(samples)), samples, Bright())
    measured = SourceStatistics.measure(unlabelled(samples), Bright())
    with pytest.raises(InputError, match="3 groups; give at least 4"):
        calibrate_estimate(measured, samples[:6], Bright())
    blind = [replace(s, group=s.id, mask=np.zeros_like(s.mask)) for s in samples]
    with pytest.raises(InputError, match="some with foreground"):
        calibrate_estimate(measured, blind, Bright())


@given(st.sampled_from(CHANGES), st.integers(0, 9))
def test_a_change_is_the_same_each_time_and_keeps_what_it_is_given(
    change: Change, seed: int
) -> None:
    (sample,) = discs(1, seed=seed)
    before = sample.image.copy(), sample.mask.copy()
    one, other = (change.of(sample, DARK, BRIGHT) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(sample.image, before[0])
    assert one.image.dtype == sample.image.dtype
    assert one.image.shape == sample.image.shape
    assert set(np.unique(one.mask)) <= set(np.unique(sample.mask))
    if change.name == "none":
        np.testing.assert_allclose(one.image, sample.image, atol=1e-6)


def shown(image: NDArray[Any], **how: float) -> NDArray[Any]:
    sample = LabelledSample("s", "g", image[None], np.zeros(image.shape, np.uint8))
    return np.asarray(Change(name="test", **how).of(sample, DARK, BRIGHT).image[0])


def test_changes_by_hand() -> None:
    grey = np.linspace(0, 1, 16).reshape(4, 4)
    np.testing.assert_allclose(shown(grey, gamma=2.0), grey**2)
    np.testing.assert_allclose(shown(grey, contrast=0.5), grey / 2 + 0.25)
    np.testing.assert_allclose(shown(grey, brightness=0.1), grey + 0.1)
    assert shown(grey, blur=2.0).std() < grey.std() < shown(grey, sharpen=2.0).std()
    noise = shown(np.linspace(0, 1, 4096).reshape(64, 64), noise=0.1) - np.linspace(
        0, 1, 4096
    ).reshape(64, 64)
    assert noise.std() == pytest.approx(0.1, rel=0.1)


def test_an_image_and_its_mask_are_magnified_together() -> None:
    (sample,) = discs(1, noise=0.0)
    for scale in (0.6, 1.5):
        (scaled,) = changed([sample], scale=scale)
        assert ((scaled.image[0] > 0.5) == scaled.mask).mean() > 0.97
        if scale > 1:
            assert scaled.mask.sum() == pytest.approx(sample.mask.sum() * scale**2, rel=0.15)


def test_a_constant_background_stays() -> None:
    image = np.full((8, 8), -3.0)
    image[2:6, 2:6] = np.linspace(0, 1, 16).reshape(4, 4)
    noisy = shown(image, noise=0.1, brightness=0.2)
    assert (noisy[:2] == -3).all()
    assert (noisy[2:6, 2:6] != image[2:6, 2:6]).all()
