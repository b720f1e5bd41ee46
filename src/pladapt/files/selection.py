"""Selecting from a parquet file of scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pladapt.errors import MissingDataError
from pladapt.selection.base import BaseSelector, by_rules_alone
from pladapt.selection.composition import compose
from pladapt.selection.recorded import recorded_selector
from pladapt.selection.rules import Rules
from pladapt.storage import parquet_errors, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pladapt.selection.rules import Amount, Stratum
    from pladapt.types import Selection
    from pladapt.typing import Selector


@dataclass(frozen=True, slots=True, eq=False)
class FileSelection:
    """What was selected from a file of scores, and how.

    Args:
        selection: What was selected.
        selector: The name of the selector whose scores these are; None where the file does not say.
        rules: The rules that were used; None where the selector has a way of its own.
    """

    selection: Selection
    selector: str | None
    rules: Rules | None


def select_file(
    scores: Path,
    output: Path,
    *,
    selector: Selector | None = None,
    min_pixels: int | None = None,
    limit: float | None = None,
    quantile: float | None = None,
    top_k: Amount | None = None,
    spread: Sequence[Stratum] | None = None,
) -> FileSelection:
    """Write a selection from a file of scores, by the selector that it records and its rules.

    A rule that is given takes the place of the selector's own of the same name. Where the file
    records no selector, the rules that are given apply to its column ``score``.

    Args:
        scores: A parquet file with ``id``, ``score`` and what the rules need; see `pladapt.Rules`.
        output: The parquet file to write: the table of a `pladapt.Selection`.
        selector: Selects in place of the one that the file records.
        min_pixels: The fewest pixels above the cut-off; 0 for no such rule.
        limit: The lowest score that is kept.
        quantile: In [0, 1), of the scores that pass the rules before.
        top_k: How many samples are kept at the most, or as a float which fraction.
        spread: Over what the places are spread.

    Raises:
        MissingDataError: There is no file of scores.
        DataError: It is not a whole parquet file, or what it records of its selector is damaged.
        UnknownPluginError: No installed plugin offers the selector that it records.
        InputError: A parameter is out of its range, a column is missing, or an id is there twice.
    """
    if not scores.is_file():
        raise MissingDataError(f"There is no file of scores {scores}; `pladapt score` writes one.")
    with parquet_errors(scores):
        schema = pq.read_schema(scores)
        names = schema.names  # decoded here
    recorded = None if selector else recorded_selector(schema.empty_table())
    name, found = recorded or (None, selector)
    options = {
        "min_pixels": min_pixels,
        "limit": limit,
        "quantile": quantile,
        "top_k": top_k,
        "spread": spread,
    }
    given = {option: value for option, value in options.items() if value is not None}
    selects, rules = _selects(found, given)
    columns = selects.columns(names) if by_rules_alone(selects) else names
    selection = selects.select(_read(scores, columns))
    write_table(selection.table, output)
    return FileSelection(selection, name, rules)


def _selects(
    selector: Selector | None, given: Mapping[str, Any]
) -> tuple[Selector | Rules, Rules | None]:
    """Return what selects, by a selector with some rules in the place of its own, and the rules."""
    if selector is None:
        alone = Rules(**given)
        return alone, alone
    own = selector.rules if isinstance(selector, BaseSelector) else None
    rules = replace(own or Rules(), **given) if given else own
    if rules is not None and by_rules_alone(selector):
        return rules, rules
    return (compose(selector, rules=rules) if given else selector), rules


def _read(scores: Path, columns: Sequence[str]) -> pa.Table:
    """Read some columns, a row group at a time, so that no more is decoded at once."""
    with (
        parquet_errors(scores),
        pq.ParquetFile(scores, page_checksum_verification=True) as file,
    ):
        groups = range(file.num_row_groups)
        read = [file.read_row_group(each, columns, use_threads=False) for each in groups]
        return pa.concat_tables([file.schema_arrow.empty_table().select(columns), *read])


def describe_rules(rules: Rules) -> str:
    """Return the rules that are set, as their names and values."""
    unset = asdict(Rules())
    found = {n: v for n, v in asdict(rules).items() if v != unset[n] and v not in (0, [], ())}
    return ", ".join(f"{name} {_words(value)}" for name, value in found.items()) or "none"


def _words(value: Any) -> str:
    return " and ".join(value) if isinstance(value, list | tuple) else f"{value:g}"
