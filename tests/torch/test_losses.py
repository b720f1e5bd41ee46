from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pladapt.backends.torch import DiceBCELoss
from pladapt.types import IGNORE

pytestmark = pytest.mark.torch


def batch(classes: int, *, spatial: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    shape = (4, 6, 5)[:spatial]
    logits = torch.from_numpy(rng.normal(size=(3, classes, *shape))).float()
    target = torch.from_numpy(rng.integers(0, max(2, classes), (3, *shape)))
    return logits, target


@pytest.mark.parametrize("spatial", [2, 3])
@pytest.mark.parametrize("with_ignored", [False, True])
def test_binary_dice_agrees_with_smp(spatial: int, with_ignored: bool) -> None:  # noqa: FBT001 - parametrised
    losses = pytest.importorskip("segmentation_models_pytorch").losses
    logits, target = batch(1, spatial=spatial)
    if with_ignored:
        target[:, 0] = IGNORE
    theirs = losses.DiceLoss("binary", ignore_index=IGNORE)(logits, target[:, None])
    ours = DiceBCELoss(cross_entropy=0)(logits, target)
    torch.testing.assert_close(ours, theirs)


def test_the_binary_sum_agrees_with_smp() -> None:
    losses = pytest.importorskip("segmentation_models_pytorch").losses
    logits, target = batch(1)
    theirs = losses.DiceLoss("binary")(logits, target[:, None])
    theirs = theirs + losses.SoftBCEWithLogitsLoss()(logits, target[:, None].float())
    torch.testing.assert_close(DiceBCELoss()(logits, target.to(torch.uint8)), theirs)


def test_multiclass_dice_agrees_with_smp_over_the_foreground() -> None:
    losses = pytest.importorskip("segmentation_models_pytorch").losses
    logits, target = batch(4)
    target[0, 0] = IGNORE
    theirs = losses.DiceLoss("multiclass", classes=[1, 2, 3], ignore_index=IGNORE)(logits, target)
    torch.testing.assert_close(DiceBCELoss(cross_entropy=0)(logits, target), theirs)


def test_cross_entropy_is_the_mean_over_the_pixels_that_count() -> None:
    logits, target = batch(3)
    target[1] = IGNORE
    expected = torch.nn.functional.cross_entropy(logits, target, ignore_index=IGNORE)
    torch.testing.assert_close(DiceBCELoss(dice=0)(logits, target), expected)


def test_a_value_worked_by_hand() -> None:
    # p = 1/2 everywhere, one of four pixels positive: Dice = 2 * 0.5 / (2 + 1), BCE = ln 2
    loss = DiceBCELoss()(torch.zeros(1, 1, 2, 2), torch.tensor([[[1, 0], [0, 0]]]))
    assert float(loss) == pytest.approx(1 - 1 / 3 + np.log(2))


@given(seed=st.integers(0, 2**16), classes=st.sampled_from([1, 2, 3]), change=st.floats(-9, 9))
def test_pixels_to_ignore_neither_count_nor_teach(seed: int, classes: int, change: float) -> None:
    logits, target = batch(classes, seed=seed)
    ignored = torch.from_numpy(np.random.default_rng(seed).random(target.shape) < 0.4)
    target[ignored] = IGNORE
    logits.requires_grad_()
    loss = DiceBCELoss()(logits, target)
    loss.backward()
    assert torch.all(logits.grad[ignored.unsqueeze(1).expand_as(logits)] == 0)
    changed = logits.detach() + change * ignored.unsqueeze(1)
    torch.testing.assert_close(DiceBCELoss()(changed, target), loss.detach())


@pytest.mark.parametrize("classes", [1, 3])
def test_without_a_positive_pixel_the_cross_entropy_alone_teaches(classes: int) -> None:
    logits, target = batch(classes)
    target[:] = 0
    assert float(DiceBCELoss(cross_entropy=0)(logits, target)) == 0
    logits.requires_grad_()
    DiceBCELoss()(logits, target).backward()
    assert torch.all(logits.grad[:, -1] > 0), "the foreground's logits must fall"


@pytest.mark.parametrize("classes", [1, 3])
def test_a_batch_of_ignored_pixels_has_a_loss_of_zero(classes: int) -> None:
    logits, target = batch(classes)
    logits.requires_grad_()
    loss = DiceBCELoss()(logits, torch.full_like(target, IGNORE))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.all(logits.grad == 0)
