"""Scoring a batch into a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pladapt.types import Prediction, Sample
    from pladapt.typing import Selector


def score(selector: Selector, batch: Sequence[Sample], prediction: Prediction) -> pa.Table:
    """Score a batch's prediction: ``id``, ``group`` and the selector's columns.

    Raises:
        InputError: The probabilities are none, or the selector returned other columns than
            `pladapt.typing.Selector` asks for.
    """
    try:
        scored = selector.score(prediction)
    except InputError as error:
        error.add_note(f"The batch holds {', '.join(prediction.ids)}.")
        raise
    columns = {name: to_numpy(column) for name, column in scored.items()}
    _check_columns(selector, columns, len(batch))
    keys: dict[str, Any] = {
        "id": pa.array([sample.id for sample in batch], pa.string()),
        "group": pa.array([sample.group for sample in batch], pa.string()),
    }
    return pa.table(keys | columns)


def _check_columns(selector: Selector, columns: Mapping[str, NDArray[Any]], size: int) -> None:
    returned = f"{type(selector).__name__}.score returned"
    for name, column in columns.items():
        if column.shape != (size,):
            raise InputError(
                f"{returned} {name!r} of shape {column.shape} for {size} samples; expected "
                f"({size},)."
            )
    if "score" not in columns or columns.keys() & {"id", "group", "sha256"}:
        raise InputError(
            f"{returned} {list(columns)}; expected 'score', and not 'id', 'group' or 'sha256'."
        )
