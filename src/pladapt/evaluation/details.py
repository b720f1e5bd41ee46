"""What a reviewer asks for beside the overlap: borders in mm, lesions and volumes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from pladapt.errors import InputError
from pladapt.functional.lesions import count_lesions
from pladapt.functional.surfaces import hd95, nsd, surface_distances
from pladapt.types import IGNORE, SUMMARY, Evaluation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pladapt.types import LabelledSample, Sample

Row: TypeAlias = dict[str, Any]
Spacing: TypeAlias = tuple[float, ...]
"""The size of a pixel in mm along Z, Y and X; along Y and X where the slices' distance is unknown.
"""

_COLUMNS: Final = {
    "id": pa.string(),
    "group": pa.string(),
    "class": pa.int64(),
    "empty": pa.string(),
    "distance_unit": pa.string(),
    "nsd": pa.float64(),
    "hd95": pa.float64(),
    "lesions": pa.int64(),
    "found": pa.int64(),
    "false": pa.int64(),
    "volume_unit": pa.string(),
    "volume": pa.float64(),
    "volume_predicted": pa.float64(),
}
_VOLUME: Final = 3
_MM3_PER_ML: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Details:
    """What is measured of each sample and class.

    Args:
        surface: The tolerance of `pladapt.functional.surfaces.nsd`, in mm (in pixels where their
            size is unknown); None to measure no borders.
        lesions: Whether lesions are counted.
        volumes: Whether volumes are compared.
        spacing: The size of a pixel in mm along Z, Y and X, or along Y and X, in place of what is
            known of each sample.

    Raises:
        InputError: The tolerance is negative, the spacing is none, or nothing is to be measured.
    """

    surface: float | None = None
    lesions: bool = False
    volumes: bool = False
    spacing: Spacing | None = None

    def __post_init__(self) -> None:
        if self.surface is not None and not 0 <= self.surface < np.inf:
            raise InputError(f"The tolerance is {self.surface} mm; expected 0 or more.")
        if self.spacing is not None:
            check_spacing(self.spacing)
        if self.surface is None and not self.lesions and not self.volumes:
            raise InputError("Nothing is to be measured; give surface, lesions or volumes.")

    def rows(
        self,
        samples: Sequence[Sample | LabelledSample],
        prediction: NDArray[np.integer],
        truth: NDArray[np.integer],
        classes: int,
        spacings: Sequence[Spacing | None],
    ) -> Iterator[Row]:
        """Yield a row for each class and sample, in the order of `pladapt.functional.overlap`.

        Args:
            samples: The ``B`` samples.
            prediction: ``(B, *S)``, integer class values.
            truth: The same; pixels of 255 are background on both sides.
            classes: How many foreground classes there are, from 1.
            spacings: The size of each sample's pixels; None where it is not known.
        """
        for class_ in range(1, classes + 1):
            for sample, predicted, true, spacing in zip(
                samples, prediction, truth, spacings, strict=True
            ):
                keys = {"id": sample.id, "group": sample.group, "class": class_}
                mask = (predicted == class_) & (true != IGNORE)
                yield keys | self._measured(mask, true == class_, self.spacing or spacing)

    def _measured(
        self, predicted: NDArray[np.bool_], true: NDArray[np.bool_], spacing: Spacing | None
    ) -> Row:
        row: Row = {}
        if self.surface is not None:
            row |= _surface(predicted, true, spacing, self.surface)
        if self.lesions:
            counts = count_lesions(predicted, true)
            row |= {"lesions": counts.lesions, "found": counts.found, "false": counts.false}
        if self.volumes:
            row |= _volumes(predicted, true, spacing)
        return row


def check_spacing(spacing: Spacing) -> None:
    """Refuse what is no size of a pixel.

    Raises:
        InputError: It has neither two nor three values, or one is not above 0.
    """
    if len(spacing) not in (2, _VOLUME) or not all(0 < step < np.inf for step in spacing):
        raise InputError(
            f"The spacing is {spacing}; expected the size of a pixel in mm along Z, Y and X, or "
            "along Y and X."
        )


def _surface(
    predicted: NDArray[np.bool_],
    true: NDArray[np.bool_],
    spacing: Spacing | None,
    tolerance: float,
) -> Row:
    # of a volume of one slice the step to the next may be unknown, and is not taken
    steps = None if spacing is None else (1.0, *spacing)[-true.ndim :]
    found = surface_distances(predicted, true, steps)
    unit = "pixels" if spacing is None else "mm"
    if found is not None:
        return {"empty": "none", "distance_unit": unit} | {
            "nsd": nsd(found, tolerance),
            "hd95": hd95(found),
        }
    one = predicted.any() or true.any()
    return {
        "empty": "one" if one else "both",
        "distance_unit": unit,
        "nsd": 0.0 if one else 1.0,
        "hd95": None,
    }


def _volumes(predicted: NDArray[np.bool_], true: NDArray[np.bool_], spacing: Spacing | None) -> Row:
    known = spacing is not None and len(spacing) == _VOLUME
    size = float(np.prod(spacing or 1.0)) / _MM3_PER_ML if known else 1.0
    return {
        "volume_unit": "ml" if known else "pixels",
        "volume": size * int(np.count_nonzero(true)),
        "volume_predicted": size * int(np.count_nonzero(predicted)),
    }


class _Metric(NamedTuple):
    """A figure of some rows.

    Args:
        name: Its name.
        part: The column that is summed up.
        minus: The column whose sum is subtracted, or "".
        over: The column whose sum divides it, or "" for the number of rows with a value.
        pooled: Whether all rows together have one.
    """

    name: str
    part: str
    minus: str = ""
    over: str = ""
    pooled: bool = True

    def of(self, rows: Sequence[Row]) -> float:
        """Return it; NaN where it is undefined."""
        values = [row[self.part] for row in rows if row[self.part] is not None]
        if self.minus:
            return float(sum(values) - sum(row[self.minus] for row in rows))
        whole = sum(row[self.over] for row in rows) if self.over else len(values)
        return float(sum(values) / whole) if whole else float("nan")


_METRICS: Final = (
    _Metric("nsd", "nsd", pooled=False),
    _Metric("hd95", "hd95", pooled=False),
    _Metric("lesion_sen", "found", over="lesions"),
    _Metric("false_lesions", "false"),
    _Metric("volume_bias", "volume_predicted", minus="volume"),
    _Metric("volume_ratio", "volume_predicted", over="volume"),
)
DETAILS: Final = tuple(metric.name for metric in _METRICS)
"""The names of the figures, as far as they are measured."""


def summarise_details(rows: Sequence[Row]) -> pa.Table:
    """Summarise rows of `Details` as the summary of a `pladapt.Evaluation`.

    ``sample`` is the mean over samples. For ``group`` each group has one figure, of its lesions and
    volumes together and of the mean of its samples' distances, and the mean is over groups.
    ``pooled`` is of the lesions and volumes of all; distances have none.

    Args:
        rows: At least one.

    Returns:
        ``aggregation``, ``class``, ``metric``, ``mean``, ``std`` and ``count``.

    Raises:
        InputError: Some distances or volumes are in mm and others in pixels.
    """
    _check_units(rows)
    found: list[Row] = []
    for class_ in sorted({row["class"] for row in rows}):
        of_class = [row for row in rows if row["class"] == class_]
        parts = {
            "sample": [[row] for row in of_class],
            "group": list(_grouped(of_class).values()),
            "pooled": [of_class],
        }
        for aggregation, each in parts.items():
            for metric in _measured_of(rows, pooled=aggregation == "pooled"):
                values = np.array([metric.of(part) for part in each])
                found.append(
                    {"aggregation": aggregation, "class": class_, "metric": metric.name}
                    | _figures(values, spread=aggregation != "pooled")
                )
    return pa.Table.from_pylist(found, schema=SUMMARY)


def group_figures(rows: Sequence[Row]) -> dict[tuple[str, int], dict[str, float]]:
    """Return the figures of each group and class; NaN where one is undefined."""
    metrics = _measured_of(rows)
    return {
        (group, class_): {metric.name: metric.of(own) for metric in metrics}
        for class_ in sorted({row["class"] for row in rows})
        for group, own in _grouped([row for row in rows if row["class"] == class_]).items()
    }


def _measured_of(rows: Sequence[Row], *, pooled: bool = False) -> list[_Metric]:
    return [each for each in _METRICS if each.part in rows[0] and (each.pooled or not pooled)]


def _grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return groups


def _figures(values: NDArray[np.float64], *, spread: bool) -> Row:
    defined = values[~np.isnan(values)]
    return {
        "mean": float(defined.mean()) if defined.size else float("nan"),
        "std": float(defined.std()) if spread and defined.size else None,
        "count": int(defined.size),
    }


def _check_units(rows: Sequence[Row]) -> None:
    for name in ("distance_unit", "volume_unit"):
        units = {row[name]: row["id"] for row in reversed(rows) if name in row}
        if len(units) > 1:
            said = ", ".join(f"{id_!r} in {unit}" for unit, id_ in sorted(units.items()))
            raise InputError(
                f"Some files say how large their pixels are, and others do not: {said}. Give the "
                "spacing of all, or evaluate them apart."
            )


def details_table(rows: Sequence[Row]) -> pa.Table:
    """Return the rows of `Details` as a table."""
    schema = pa.schema([(name, type_) for name, type_ in _COLUMNS.items() if name in rows[0]])
    return pa.Table.from_pylist(list(rows), schema=schema)


def with_details(evaluation: Evaluation, rows: Sequence[Row], details: Details) -> Evaluation:
    """Return an evaluation with columns, figures and notes of details.

    Args:
        evaluation: Of the overlap.
        rows: Of the same samples and classes, in the same order.
        details: What was measured.

    Raises:
        InputError: Some distances or volumes are in mm and others in pixels.
    """
    samples, table = evaluation.samples, details_table(rows)
    for name in table.column_names[len(("id", "group", "class")) :]:
        samples = samples.append_column(name, table[name])
    return Evaluation(
        samples,
        pa.concat_tables([evaluation.summary, summarise_details(rows)]),
        {**evaluation.notes, **detail_notes(rows, details)},
    )


def detail_notes(rows: Sequence[Row], details: Details) -> dict[str, str]:
    """Return the units, the tolerance, and what became of empty masks."""
    notes: dict[str, str] = {}
    if details.surface is not None:
        unit = rows[0]["distance_unit"]
        counts = Counter(row["empty"] for row in rows)
        notes |= {
            "nsd_tolerance": f"{details.surface:g} {unit}",
            "hd95_unit": unit,
            "both_empty": f"{counts['both']} of {len(rows)}: NSD 1, without HD95",
            "one_empty": f"{counts['one']} of {len(rows)}: NSD 0, without HD95",
        }
    return notes | ({"volume_unit": rows[0]["volume_unit"]} if details.volumes else {})
