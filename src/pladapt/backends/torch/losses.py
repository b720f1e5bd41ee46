"""The sum of Dice and cross-entropy, from logits, with pixels to ignore."""

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
            target: ``(B, *S)``, integer classes, 255 for pixels to ignore.
        """
        logits = logits.float()
        weight = (target != IGNORE).to(logits.dtype)
        classes = target.masked_fill(target == IGNORE, 0).long()
        count = weight.sum().clamp_min(1)
        entropy = (_cross_entropy(logits, classes) * weight).sum() / count
        return self.dice * _dice_loss(logits, classes, weight) + self.cross_entropy * entropy

    def extra_repr(self) -> str:
        """Show the weights."""
        return f"dice={self.dice}, cross_entropy={self.cross_entropy}"


def _cross_entropy(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, classes, reduction="none")
    truth = classes.to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits.squeeze(1), truth, reduction="none")


def _dice_loss(logits: torch.Tensor, classes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    probabilities, truth = _foreground(logits, classes)
    axes = [axis for axis in range(logits.ndim) if axis != 1]
    weight = weight.unsqueeze(1)
    probabilities, truth = probabilities * weight, truth * weight
    positives = truth.sum(axes)
    overlap = 2 * (probabilities * truth).sum(axes)
    dice = overlap / (probabilities.sum(axes) + positives).clamp_min(torch.finfo(logits.dtype).tiny)
    return ((1 - dice) * (positives > 0)).mean()


def _foreground(logits: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    channels = logits.shape[1]
    if channels == 1:
        return logits.sigmoid(), classes.unsqueeze(1).to(logits.dtype)
    truth = F.one_hot(classes, channels).movedim(-1, 1)[:, 1:]
    return logits.softmax(1)[:, 1:], truth.to(logits.dtype)
