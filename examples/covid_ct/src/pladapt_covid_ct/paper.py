"""The paper's own figures: Tables II and III, as printed.

N. Enshaei, M. J. Rafiee and F. Naderkhani, "A Generalization Enhancement Approach for Deep Learning
Segmentation Models: Application in COVID-19 Lesion Segmentation from Chest CT Slices". Table I is
in the data sets' `DatasetInfo.paper`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Stage: TypeAlias = Literal["in domain", "before", "after"]
"""What is tested: the source's own test patients, or an unseen set before or after enhancement."""

STAGES: Final[tuple[Stage, ...]] = ("in domain", "before", "after")

LETTERS: Final = ("A", "B", "C")
"""The paper's data sets; each is the source of one round, and the two others its unseen sets."""


class Printed(NamedTuple):
    """A figure as the paper prints it: mean ± standard deviation."""

    mean: float
    std: float


def _row(
    dsc: tuple[float, float], spc: tuple[float, float], sen: tuple[float, float]
) -> Mapping[str, Printed]:
    return {"dsc": Printed(*dsc), "spc": Printed(*spc), "sen": Printed(*sen)}


TABLE_2: Final[Mapping[tuple[str, ...], Mapping[str, Printed]]] = {
    ("A", "A", "in domain"): _row((0.814, 0.05), (0.997, 0.002), (0.843, 0.05)),
    ("A", "B", "before"): _row((0.705, 0.06), (0.996, 0.001), (0.679, 0.09)),
    ("A", "B", "after"): _row((0.73, 0.02), (0.995, 0.001), (0.769, 0.03)),
    ("A", "C", "before"): _row((0.788, 0.01), (0.993, 0.0009), (0.882, 0.01)),
    ("A", "C", "after"): _row((0.794, 0.006), (0.993, 0.0005), (0.886, 0.01)),
    ("B", "B", "in domain"): _row((0.832, 0.03), (0.997, 0.001), (0.861, 0.03)),
    ("B", "A", "before"): _row((0.684, 0.04), (0.996, 0.002), (0.679, 0.1)),
    ("B", "A", "after"): _row((0.701, 0.03), (0.996, 0.002), (0.708, 0.09)),
    ("B", "C", "before"): _row((0.776, 0.02), (0.993, 0.002), (0.879, 0.07)),
    ("B", "C", "after"): _row((0.778, 0.02), (0.993, 0.002), (0.887, 0.05)),
    ("C", "C", "in domain"): _row((0.879, 0.02), (0.997, 0.003), (0.886, 0.02)),
    ("C", "A", "before"): _row((0.769, 0.012), (0.997, 0.002), (0.759, 0.11)),
    ("C", "A", "after"): _row((0.778, 0.005), (0.997, 0.002), (0.79, 0.11)),
    ("C", "B", "before"): _row((0.794, 0.008), (0.996, 0.002), (0.816, 0.006)),
    ("C", "B", "after"): _row((0.807, 0.005), (0.996, 0.001), (0.839, 0.002)),
}
"""Table II, by source, test set and stage."""

TABLE_3: Final[Mapping[Stage, Mapping[str, Printed]]] = {
    "in domain": _row((0.842, 0.03), (0.997, 0.002), (0.886, 0.02)),
    "before": _row((0.753, 0.025), (0.995, 0.0017), (0.782, 0.064)),
    "after": _row((0.765, 0.014), (0.995, 0.0013), (0.813, 0.049)),
}
"""Table III, by stage. Its means and deviations are the means of Table II's, but see the note."""

TABLE_3_NOTE: Final = (
    "The paper's in-domain SEN in Table III, 0.886 ± 0.02, is not the mean of its Table II's "
    "(0.843, 0.861 and 0.886, whose mean is 0.863): it is what Table II gives for data set C alone."
)
