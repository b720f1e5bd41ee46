"""How well a score ranks risks: risk-coverage curves, AURC and Spearman's correlation.

The risk-coverage curve is that of Y. Geifman and R. El-Yaniv, "Selective Classification for Deep
Neural Networks" (2017); the excess AURC that of Y. Geifman, G. Uziel and R. El-Yaniv, "Bias-Reduced
Uncertainty Estimation for Deep Neural Classifiers" (2019). Here a risk is 1 minus a sample's DSC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pladapt.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def risk_coverage(score: ArrayLike, risk: ArrayLike) -> NDArray[np.float64]:
    """Return the mean risk of the k samples with the highest scores, for k from 1 to N.

    Where scores are equal it is the mean over all orders of these samples, so that the order in
    which they come does not matter.

    Args:
        score: ``(N,)``, finite; higher is surer.
        risk: ``(N,)``, finite.

    Returns:
        ``(N,)``: the selective risk at the coverages 1/N, 2/N, ..., 1.

    Raises:
        InputError: No values, values that are not finite, or not as many scores as risks.
    """
    scores, risks = _checked(score, risk)
    order = np.argsort(-scores, kind="stable")
    _, first, count = np.unique(-scores[order], return_index=True, return_counts=True)
    tied = np.repeat(np.add.reduceat(risks[order], first) / count, count)
    curve: NDArray[np.float64] = np.cumsum(tied) / np.arange(1, len(tied) + 1)
    return curve


def aurc(score: ArrayLike, risk: ArrayLike) -> float:
    """Return the area under the risk-coverage curve: the mean of its N values.

    In the risk's units; 0 where nothing is at risk, and the mean risk where the score ranks like
    chance. Lower is better. Arguments and errors are those of `risk_coverage`.
    """
    return float(risk_coverage(score, risk).mean())


def excess_aurc(score: ArrayLike, risk: ArrayLike) -> float:
    """Return by how much the AURC is above that of the perfect ranking, which is 0 for itself.

    Arguments and errors are those of `risk_coverage`.
    """
    return aurc(score, risk) - aurc(-np.asarray(risk, np.float64), risk)


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Return Spearman's rank correlation, in [-1, 1]; ties have their mean rank.

    NaN where either has a single value. Errors are those of `risk_coverage`.
    """
    from scipy.stats import rankdata  # noqa: PLC0415 - slow to import

    ranks = [rankdata(values) for values in _checked(one, other)]
    first, second = (rank - rank.mean() for rank in ranks)
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else float("nan")


def _checked(one: ArrayLike, other: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise InputError(
            f"Got values of shapes {first.shape} and {second.shape}; expected two of one length, "
            "at least 1."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError("Scores and risks must be finite; leave out the samples that have none.")
    return first, second
