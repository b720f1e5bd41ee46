from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import convolve

from pladapt.errors import InputError
from pladapt.torch import Augmentations, RandomAffine, RandomIntensity, RandomTexture

pytestmark = pytest.mark.torch

STILL: dict[str, Any] = {"zoom": 0.0, "shift": 0.0, "shear": 0.0, "rotation": 0.0, "flip": ()}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(*shape: int, count: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and their masks, where a pixel is positive if the image is above a half."""
    values = np.random.default_rng(0).random((count, 1, *shape)).astype(np.float32)
    images = torch.from_numpy(values)
    return images, (images[:, 0] > 0.5).to(torch.uint8)


@pytest.mark.parametrize("shape", [(8, 6), (4, 6, 8)])
def test_without_any_change_nothing_changes(shape: tuple[int, ...]) -> None:
    images, masks = batch(*shape)
    changed, labels = RandomAffine(**STILL)(images, masks, generator())
    torch.testing.assert_close(changed, images, rtol=0, atol=1e-5)
    assert torch.equal(labels, masks)
    assert labels.dtype == torch.uint8


@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_half_of_the_samples_are_flipped_image_and_mask_alike(axis: int) -> None:
    images, masks = batch(4, 6, 8, count=64)
    changed, labels = RandomAffine(**{**STILL, "flip": (axis,)})(images, masks, generator())
    flipped = 0
    for image, mask, new, label in zip(images, masks, changed, labels, strict=True):
        if torch.equal(label, mask.flip(axis)):
            flipped += 1
            image = image.flip(axis)  # noqa: PLW2901 - what is expected
        else:
            assert torch.equal(label, mask)
        torch.testing.assert_close(new, image, rtol=0, atol=1e-5)
    assert 20 < flipped < 44


@given(
    seed=st.integers(0, 2**16),
    zoom=st.floats(0, 0.5),
    shift=st.floats(0, 0.5),
    shear=st.floats(0, 0.5),
    rotation=st.floats(0, 180),
)
def test_image_and_mask_move_together(seed: int, **amounts: float) -> None:
    blocks = torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (2, 1, 4, 3)))
    masks = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed, labels = RandomAffine(**amounts)(
        masks.float(), masks[:, 0].to(torch.uint8), generator(seed)
    )
    sure = (changed[:, 0] < 0.01) | (changed[:, 0] > 0.99)  # between blocks, nearest may differ
    assert torch.equal(labels[sure], (changed[:, 0] > 0.5)[sure].to(torch.uint8))
    assert sure.float().mean() > 0.3


@given(seed=st.integers(0, 2**16), shape=st.sampled_from([(20, 34), (8, 12, 10)]))
def test_only_values_that_were_there_come_out(seed: int, shape: tuple[int, ...]) -> None:
    images, masks = batch(*shape, count=2)
    masks[:, :3] = 255
    changed, labels = RandomAffine(rotation=20)(images, masks, generator(seed))
    assert set(labels.unique().tolist()) <= {0, 1, 255}
    assert images.min() - 1e-5 <= changed.min()
    assert changed.max() <= images.max() + 1e-5
    assert (changed.shape, labels.shape) == (images.shape, masks.shape)


def test_a_rotation_keeps_lengths_where_the_image_is_not_square() -> None:
    rows, columns = np.mgrid[:40, :80]
    disc = torch.from_numpy(((rows - 19.5) ** 2 + (columns - 39.5) ** 2) < 15**2)
    images = disc[None, None].float().repeat(8, 1, 1, 1)
    affine = RandomAffine(**{**STILL, "rotation": 180.0})
    changed, _ = affine(images, images[:, 0].to(torch.uint8), generator())
    assert (changed - images).abs().mean() < 0.01, "a disc is a disc from every side"


def test_zoom_above_one_enlarges() -> None:
    disc = torch.zeros(200, 1, 21, 21)
    disc[:, :, 7:14, 7:14] = 1
    affine = RandomAffine(**{**STILL, "zoom": 0.5})
    _, labels = affine(disc, disc[:, 0].to(torch.uint8), generator())
    sides = labels.sum((1, 2)).float().sqrt() / 7
    assert 0.4 < sides.min() < 0.7
    assert 1.3 < sides.max() < 1.6


def test_a_shift_moves_by_its_share_of_the_size_at_most() -> None:
    point = torch.zeros(200, 1, 21, 41)
    point[:, :, 10, 20] = 1
    affine = RandomAffine(**{**STILL, "shift": 0.2})
    changed, _ = affine(point, point[:, 0].to(torch.uint8), generator())
    for axis, size in ((1, 21), (2, 41)):
        spread = changed[:, 0].sum(3 - axis)
        centre = (spread * torch.arange(size)).sum(1) / spread.sum(1) - size // 2
        assert centre.abs().max() <= 0.2 * size + 1e-3
        assert centre.abs().max() > 0.15 * size


def test_a_shear_moves_rows_by_its_tangent() -> None:
    line = torch.zeros(100, 1, 31, 61)
    line[:, :, :, 30] = 1
    affine = RandomAffine(**{**STILL, "shear": 0.3})
    changed, _ = affine(line, line[:, 0].to(torch.uint8), generator())
    place = (changed[:, 0] * torch.arange(61)).sum(2) / changed[:, 0].sum(2)
    slope = (place[:, 25] - place[:, 5]) / 20
    assert 0.2 < slope.abs().max() < math.tan(math.atan(0.3)) + 0.02


@pytest.mark.parametrize(("outside", "expected"), [("border", 5.0), ("zeros", 0.0)])
def test_what_comes_in_from_outside(outside: Any, expected: float) -> None:
    images, masks = torch.full((50, 1, 9, 9), 5.0), torch.ones(50, 9, 9, dtype=torch.uint8)
    affine = RandomAffine(**{**STILL, "shift": 0.9}, outside=outside)
    changed, labels = affine(images, masks, generator())
    assert float(changed.min()) == pytest.approx(expected)
    assert int(labels.min()) == (1 if outside == "border" else 0)


def test_the_generator_alone_decides() -> None:
    images, masks = batch(8, 8)
    before = torch.get_rng_state()
    first, second, other = (RandomAffine()(images, masks, generator(s)) for s in (3, 3, 4))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("option", "value"),
    [("zoom", 1.0), ("shift", -0.1), ("shear", 1.5), ("rotation", 181), ("flip", (0,))],
)
def test_an_impossible_amount_is_refused(option: str, value: Any) -> None:
    with pytest.raises(InputError, match=option):
        RandomAffine(**{option: value})


def test_an_axis_that_the_image_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="flip"):
        RandomAffine(flip=(-3,))(*batch(8, 8), generator())


@given(seed=st.integers(0, 2**16), outside=st.sampled_from(["border", "zeros"]))
def test_a_soft_mask_moves_as_a_hard_one(seed: int, outside: Any) -> None:
    images, masks = batch(8, 6, count=3)
    affine = RandomAffine(zoom=0.3, shift=0.3, rotation=40, outside=outside)
    hard = affine(images, masks, generator(seed))
    soft = torch.stack([masks.float() * 0.7, torch.ones(masks.shape)], 1)
    changed = affine(images, soft, generator(seed))
    assert torch.equal(changed[0], hard[0])
    assert changed[1].shape == soft.shape
    assert torch.equal(changed[1][:, 0] > 0.5, hard[1] == 1)
    if outside == "border":
        assert torch.all(changed[1][:, 1] == 1)


# Intensity


UNTOUCHED: dict[str, float] = {"gamma": 0.0, "contrast": 0.0, "brightness": 0.0}


@pytest.mark.parametrize("shape", [(8, 6), (4, 6, 8)])
def test_without_any_change_of_intensity_nothing_changes(shape: tuple[int, ...]) -> None:
    images, masks = batch(*shape)
    changed, labels = RandomIntensity(**UNTOUCHED)(7 * images - 3, masks, generator())
    torch.testing.assert_close(changed, 7 * images - 3, rtol=0, atol=1e-5)
    assert labels is masks


@given(seed=st.integers(0, 2**16), gamma=st.floats(0, 1), contrast=st.floats(0, 0.9))
def test_an_image_s_pixels_keep_their_order_and_its_mask_stays(
    seed: int, gamma: float, contrast: float
) -> None:
    images, masks = batch(5, 4, count=3)
    before = masks.clone()
    changed, labels = RandomIntensity(gamma, contrast, 0.5)(images, masks, generator(seed))
    assert changed.dtype == torch.float32
    assert torch.equal(labels, before)
    for image, new in zip(images, changed, strict=True):
        assert (new.flatten()[image.flatten().argsort()].diff() >= -1e-6).all()


def test_contrast_multiplies_brightness_adds_and_gamma_bends_between_the_ends() -> None:
    images, masks = batch(8, 6)
    flat = images.flatten(1)

    def changed(**amounts: float) -> torch.Tensor:
        return RandomIntensity(**UNTOUCHED | amounts)(images, masks, generator())[0].flatten(1)

    factor = changed(contrast=0.3) / flat
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-4, atol=0)
    assert 0.7 <= factor.min() < 0.9
    assert 1.1 < factor.max() <= 1.3
    added = (changed(brightness=0.5) - flat) / flat.std(1, keepdim=True)
    torch.testing.assert_close(added, added[:, :1].expand_as(added), rtol=0, atol=1e-4)
    assert -0.5 <= added.min() < -0.2 < 0.2 < added.max() <= 0.5
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    bent = changed(gamma=0.4)
    torch.testing.assert_close(bent.amin(1, keepdim=True), low)
    torch.testing.assert_close(bent.amax(1, keepdim=True), high)
    inner = ((flat - low) / (high - low) > 0.1) & ((flat - low) / (high - low) < 0.9)
    exponent = ((bent - low) / (high - low)).log() / ((flat - low) / (high - low)).log()
    for row, counts in zip(exponent, inner, strict=True):
        torch.testing.assert_close(row[counts], row[counts][:1].expand(int(counts.sum())))
    assert math.exp(-0.4) <= exponent[inner].min() < exponent[inner].max() <= math.exp(0.4) + 1e-3


def test_an_image_of_one_value_stays_finite() -> None:
    images = torch.full((2, 1, 4, 4), 3.0)
    changed, _ = RandomIntensity()(images, torch.zeros(2, 4, 4), generator())
    assert torch.isfinite(changed).all()


def test_the_draws_come_from_the_generator_alone_one_image_by_one() -> None:
    images, masks = batch(8, 6)
    one, again, other = (RandomIntensity()(images, masks, generator(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    alike = RandomIntensity()(images[:1].expand(4, 1, 8, 6), masks[:4], generator())[0]
    assert len({float(image.sum()) for image in alike}) == 4, "all images are changed alike"


@pytest.mark.parametrize(
    "wrong", [{"gamma": -0.1}, {"contrast": -0.1}, {"contrast": 1.0}, {"brightness": -1.0}]
)
def test_a_magnitude_of_intensity_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="none may be negative, and contrast must be below 1"):
        RandomIntensity(**wrong)


@pytest.mark.parametrize("shape", [(9,), (8, 6), (4, 6, 8)])
def test_blurring_is_the_mean_of_the_pixels_near_that_the_image_has(shape: tuple[int, ...]) -> None:
    images, masks = batch(*shape)
    changed, labels = RandomTexture(blur=1.0, noise=0.0)(images, masks, generator())
    axes = tuple(range(2, images.ndim))
    kernel = np.ones((1, 1, *(3 for _ in axes)))
    ones = np.ones(images.shape)
    expected = convolve(images.numpy(), kernel, mode="constant")
    counted = convolve(ones, kernel, mode="constant")
    np.testing.assert_allclose(changed.numpy(), expected / counted, atol=1e-5)
    assert labels is masks
    same, _ = RandomTexture(blur=0.0, noise=0.0)(images, masks, generator())
    assert torch.equal(same, images)


def test_some_images_are_blurred_and_the_noise_differs_from_image_to_image() -> None:
    images, masks = batch(16, 16, count=200)
    blurred, _ = RandomTexture(blur=0.25, noise=0.0)(images, masks, generator())
    changed = (blurred != images).flatten(1).any(1)
    assert 30 < changed.sum() < 70
    noisy, _ = RandomTexture(blur=0.0, noise=0.4)(7 * images, masks, generator())
    added = (noisy - 7 * images).flatten(1).std(1) / (7 * images).flatten(1).std(1)
    assert added.min() < 0.05
    assert 0.35 < added.max() < 0.45
    assert added.mean() == pytest.approx(0.2, abs=0.03)


def test_texture_is_drawn_from_the_generator_alone() -> None:
    images, masks = batch(8, 6)
    one, again, other = (RandomTexture()(images, masks, generator(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    flat, _ = RandomTexture()(torch.full((2, 1, 4, 4), 3.0), masks[:2], generator())
    assert torch.equal(flat, torch.full((2, 1, 4, 4), 3.0)), "an image of one value has no noise"


@pytest.mark.parametrize("wrong", [{"blur": -0.1}, {"blur": 1.1}, {"noise": -0.1}])
def test_a_magnitude_of_texture_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="neither may be negative"):
        RandomTexture(**wrong)


def test_augmentations_follow_each_other_in_order() -> None:
    images, masks = batch(8, 6)
    parts = (RandomAffine(), RandomIntensity())
    together, labels = Augmentations(parts)(images, masks, generator(5))
    drawn = generator(5)
    expected, moved = RandomIntensity()(*RandomAffine()(images, masks, drawn), drawn)
    assert torch.equal(together, expected)
    assert torch.equal(labels, moved)
    assert not torch.equal(Augmentations(parts[::-1])(images, masks, generator(5))[0], together)
    unchanged, same = Augmentations(())(images, masks, generator())
    assert unchanged is images
    assert same is masks
