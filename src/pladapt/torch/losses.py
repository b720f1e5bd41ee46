"""The sum of Dice and cross-entropy, from logits, with soft labels and pixels to ignore."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

from pladapt.types import IGNORE


class DiceBCELoss(nn.Module):
    """The sum of the Dice loss and the (binary) cross-entropy, both over the whole batch.

    With one channel the cross-entropy is binary and Dice is the foreground's. With two or more
    they are of the softmax, and Dice is the mean over the foreground's classes.

    Dice is counted over the batch's pixels together, not image by image, so an image without a
    positive pixel does not distort it. A class without a positive pixel in the whole batch adds
    zero to the Dice loss: there, only the cross-entropy teaches that nothing is to be found.
    Pixels of 255 count in neither, and the cross-entropy is the mean over the others. A batch of
    nothing but such pixels has a loss of zero.

    With soft labels and pixel weights the cross-entropy is that of the probabilities, as a weighted
    mean, and the Dice loss is the semimetric of Wang et al. (2023): twice the overlap is
    ``|p| + |q| - |p - q|``, which is the product's for hard labels and, unlike it, largest where
    the prediction is the soft label.

    Args:
        dice: The weight of the Dice loss.
        cross_entropy: The weight of the cross-entropy.
    """

    def __init__(self, *, dice: float = 1.0, cross_entropy: float = 1.0) -> None:
        super().__init__()
        self.dice = dice
        self.cross_entropy = cross_entropy

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar.

        Args:
            logits: ``(B, K, *S)``, floating point.
            target: ``(B, *S)``, integer classes, 255 for pixels to ignore; or ``(B, K + 1, *S)``,
                floating point: the probability of each channel, then the pixels' weights.
        """
        logits = logits.float()
        truth, weight = _truth_and_weight(target, logits.dtype)
        count = weight.sum()
        entropy = (_cross_entropy(logits, truth) * weight).sum() / (count + (count == 0))
        return self.dice * _dice_loss(logits, truth, weight) + self.cross_entropy * entropy

    def extra_repr(self) -> str:
        """Show the weights."""
        return f"dice={self.dice}, cross_entropy={self.cross_entropy}"


def _truth_and_weight(
    target: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return classes ``(B, *S)`` or probabilities ``(B, K, *S)``, and weights ``(B, *S)``."""
    if target.is_floating_point():
        return target[:, :-1].to(dtype), target[:, -1].to(dtype)
    return target.masked_fill(target == IGNORE, 0).long(), (target != IGNORE).to(dtype)


def _cross_entropy(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, truth, reduction="none")
    logits = logits.squeeze(1)
    truth = truth.to(logits.dtype).reshape(logits.shape)
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def _dice_loss(logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    probabilities, truth = _foreground(logits, truth)
    axes = [axis for axis in range(logits.ndim) if axis != 1]
    weight = weight.unsqueeze(1)
    probabilities, truth = probabilities * weight, truth * weight
    positives = truth.sum(axes)
    # the minimum; where the two are equal its gradient is that of the product, for hard labels
    shared = torch.where(probabilities > truth, truth, probabilities)
    overlap = 2 * shared.sum(axes)
    dice = overlap / (probabilities.sum(axes) + positives).clamp_min(torch.finfo(logits.dtype).tiny)
    return ((1 - dice) * (positives > 0)).mean()


def _foreground(logits: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    channels = logits.shape[1]
    if channels == 1:
        return logits.sigmoid(), truth.reshape(logits.shape).to(logits.dtype)
    if not truth.is_floating_point():
        truth = F.one_hot(truth, channels).movedim(-1, 1)
    return logits.softmax(1)[:, 1:], truth[:, 1:].to(logits.dtype)
