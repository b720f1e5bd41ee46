from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from hypothesis import given
from hypothesis import strategies as st

from pladapt.torch import DiceBCELoss
from pladapt.torch.data import softened
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


def by_product(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the loss of hard labels as the textbook has it, written out once more."""
    weight = (target != IGNORE).float()
    classes = target.masked_fill(target == IGNORE, 0).long()
    if logits.shape[1] == 1:
        p, q = logits.sigmoid(), classes.unsqueeze(1).float()
        entropy = F.binary_cross_entropy_with_logits(
            logits.squeeze(1), classes.float(), reduction="none"
        )
    else:
        p = logits.softmax(1)[:, 1:]
        q = F.one_hot(classes, logits.shape[1]).movedim(-1, 1)[:, 1:].float()
        entropy = F.cross_entropy(logits, classes, reduction="none")
    axes = [axis for axis in range(logits.ndim) if axis != 1]
    p, q = p * weight.unsqueeze(1), q * weight.unsqueeze(1)
    sums = (p.sum(axes) + q.sum(axes)).clamp_min(torch.finfo(torch.float32).tiny)
    dice = ((1 - 2 * (p * q).sum(axes) / sums) * (q.sum(axes) > 0)).mean()
    return dice + (entropy * weight).sum() / weight.sum().clamp_min(1)


@given(
    seed=st.integers(0, 2**16),
    classes=st.sampled_from([1, 2, 4]),
    scale=st.sampled_from([1, 30, 1000]),
    ignored=st.floats(0, 1),
)
def test_hard_labels_have_the_same_loss_and_gradient_as_ever_to_the_bit(
    seed: int, classes: int, scale: int, ignored: float
) -> None:
    logits, target = batch(classes, seed=seed)
    target[torch.from_numpy(np.random.default_rng(seed).random(target.shape) < ignored)] = IGNORE
    found = []
    for loss in (DiceBCELoss(), by_product):
        leaf = (scale * logits).requires_grad_()
        value = loss(leaf, target)
        value.backward()
        found.append((value.detach(), leaf.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def soft_batch(classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits, and a soft mask with random weights."""
    logits, _ = batch(classes, seed=seed)
    rng = np.random.default_rng(seed + 1)
    wanted = torch.from_numpy(rng.normal(0, 2, logits.shape)).float()
    weight = torch.from_numpy(rng.random((len(logits), 1, *logits.shape[2:]))).float()
    return logits, torch.cat([probabilities(wanted), weight], 1)


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_a_soft_mask_of_a_hard_one_has_its_loss(classes: int) -> None:
    logits, target = batch(classes)
    target[:, 0] = IGNORE
    soft = torch.stack([softened(mask.to(torch.uint8), classes) for mask in target])
    assert soft.shape == (3, classes + 1, *target.shape[1:])
    torch.testing.assert_close(DiceBCELoss()(logits, soft), DiceBCELoss()(logits, target))


@given(
    seed=st.integers(0, 2**16), classes=st.sampled_from([1, 3]), step=st.floats(-3, 3).filter(bool)
)
def test_the_loss_is_least_where_the_prediction_is_the_soft_label(
    seed: int, classes: int, step: float
) -> None:
    logits, soft = soft_batch(classes, seed)
    best = soft[:, :-1].logit() if classes == 1 else soft[:, :-1].log()
    elsewhere = best + step * logits
    for loss in (DiceBCELoss(), DiceBCELoss(dice=0), DiceBCELoss(cross_entropy=0)):
        assert float(loss(best, soft)) <= float(loss(elsewhere, soft)) + 1e-6
    assert float(DiceBCELoss(cross_entropy=0)(best, soft)) == pytest.approx(0, abs=1e-6)


def test_soft_dice_agrees_with_smp() -> None:
    losses = pytest.importorskip("segmentation_models_pytorch").losses
    logits, soft = soft_batch(1)
    soft[:, -1] = 1
    torch.testing.assert_close(
        DiceBCELoss(cross_entropy=0)(logits, soft), losses.DiceLoss("binary")(logits, soft[:, :1])
    )


@pytest.mark.parametrize("classes", [1, 3])
def test_the_cross_entropy_is_a_weighted_mean(classes: int) -> None:
    logits, soft = soft_batch(classes)
    p, q, weight = probabilities(logits), soft[:, :-1], soft[:, -1]
    terms = -(q * p.log()).sum(1)
    if classes == 1:
        terms = terms - ((1 - q) * (1 - p).log()).sum(1)
    expected = (terms * weight).sum() / weight.sum()
    torch.testing.assert_close(DiceBCELoss(dice=0)(logits, soft), expected)


@pytest.mark.parametrize("classes", [1, 3])
def test_weights_count_by_their_ratio_and_a_weight_of_zero_teaches_nothing(classes: int) -> None:
    logits, soft = soft_batch(classes)
    soft[0, -1] = 0
    halved = soft.clone()
    halved[:, -1] /= 2
    logits.requires_grad_()
    loss = DiceBCELoss()(logits, soft)
    loss.backward()
    torch.testing.assert_close(DiceBCELoss()(logits, halved), loss)
    assert torch.all(logits.grad[0] == 0)
    assert torch.all(logits.grad[1:] != 0)
    soft[:, -1] = 0
    assert float(DiceBCELoss()(logits.detach(), soft)) == 0
