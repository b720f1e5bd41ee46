"""What people reviewed, how long it took them, and what came of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pladapt.evaluation.few_labels import AS_IT_IS
from pladapt.reports.document import Section, Table, Text
from pladapt.reports.tables import overlap_evaluators
from pladapt.runs.answers import DECISIONS
from pladapt.runs.restarting import SO_FAR

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from pladapt.runs.records import Round, RunRecord

_READING: Final = (
    "People looked at masks of the run. What they accepted or corrected was taught as it is, what "
    "they rejected was left out. Each further round knows all answers until then."
)


def review_sections(record: RunRecord) -> Iterator[Section]:
    """Yield a section on the rounds that people's answers taught, where there are any."""
    rounds = [each for each in record.rounds if each.reviewed is not None]
    if not rounds:
        return
    people = tuple(row for each in rounds for row in _people(each))
    header = ("round", "who", *DECISIONS, "minutes")
    tables = [Table("Who reviewed what", header, people)]
    names = overlap_evaluators(record)
    tables += [_gain(record, rounds, name) for name in names]
    chose = [Text(words) for each in rounds if (words := _start(each))]
    yield Section("Review by people", (Text(_READING), *chose, *tables))


def _start(current: Round) -> str:
    """Tell what the masks chose that the round starts from, if they did."""
    if current.start is None:
        return ""
    choice = current.start.choice
    whose = {AS_IT_IS: "the model as it was", SO_FAR: "what the run had made"}
    name = whose.get(choice.name, choice.name)
    return (
        f"Round {current.number} starts from {name}, chosen by {len(current.start.chose)} of these "
        f"masks before they taught: {choice.reason}."
    )


def _people(current: Round) -> Iterator[tuple[str, ...]]:
    rows = _rows(current.reviewed)
    for who in sorted({str(row["who"]) for row in rows}):
        own = [row for row in rows if row["who"] == who]
        counts = (str(sum(row["decision"] == each for row in own)) for each in DECISIONS)
        yield (str(current.number), who, *counts, _minutes(own))


def _gain(record: RunRecord, rounds: list[Round], name: str) -> Table:
    """Return the pooled DSC of the first class against the minutes of review."""
    start = replace(record, rounds=record.rounds[: rounds[0].number - 1]).after
    first = "failed" if start[name].failure else f"{start[name].value('dsc'):.3f}"
    rows = [("0.0", "0", first)]
    for current in rounds:
        answers = _rows(current.reviewed)
        found = current.evaluations.get(name)
        if found is None:
            dsc = "refused"
        else:
            dsc = "failed" if found.failure else f"{found.value('dsc'):.3f}"
        rows.append((_minutes(answers), str(len(answers)), dsc))
    return Table(
        f"{name}: DSC (pooled) against minutes of review",
        ("minutes", "reviewed", "DSC"),
        tuple(rows),
    )


def _rows(reviewed: pa.Table | None) -> list[dict[str, str | float]]:
    return [] if reviewed is None else reviewed.to_pylist()


def _minutes(rows: list[dict[str, str | float]]) -> str:
    return f"{sum(float(row['seconds']) for row in rows) / 60:.1f}"
