"""An audit of scores as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pladapt.reports.document import Document, Figure, Section, Table, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt.evaluation.auditing import Audit

_READING = (
    "AURC is the area under the risk-coverage curve: the mean risk of the k surest samples, over "
    "all k. Lower is better; the excess is over the perfect ranking. Spearman is the rank "
    "correlation of score and quality. An interval of the difference that lies below zero speaks "
    "for the score."
)


def describe_audit(audit: Audit) -> Document:
    """Return an audit as a document: who ranks best, how sure that is, and the curves."""
    return Document(
        "Audit of scores",
        _verdict(audit),
        (
            Section("Ranking", (Text(_READING), ranking_table(audit), _notes(audit))),
            Section("Risk and coverage", (_figure(audit),)),
        ),
    )


def _verdict(audit: Audit) -> str:
    best = audit.table.slice(0, 1).to_pylist()[0]
    lead = f"{best['score']} ranks best, with an AURC of {best['aurc']:.3f}"
    if best["score"] == audit.reference:
        return f"{lead}; it is the reference."
    sure = "surely" if best["difference_high"] < 0 else "not surely"
    return f"{lead}, {sure} lower than that of {audit.reference}."


def ranking_table(audit: Audit) -> Table:
    """Return a row for each score, the best first."""
    return Table(
        f"The scores, the best first; differences are to {audit.reference}",
        (
            "score",
            "AURC",
            "95 % interval",
            "excess",
            "difference",
            "its interval",
            "Spearman",
            "undefined",
        ),
        tuple(_row(row) for row in audit.table.to_pylist()),
    )


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["score"],
        f"{row['aurc']:.3f}",
        f"{row['aurc_low']:.3f} to {row['aurc_high']:.3f}",
        f"{row['excess_aurc']:.3f}",
        f"{row['difference']:+.3f}",
        f"{row['difference_low']:+.3f} to {row['difference_high']:+.3f}",
        f"{row['spearman']:.3f}",
        str(row["undefined"]),
    )


def _notes(audit: Audit) -> Table:
    return Table("What the figures are of", ("what", "is"), tuple(audit.notes.items()))


def _figure(audit: Audit) -> Figure:
    from pladapt.reports.figures import risk_coverage_curves, subsample  # noqa: PLC0415 - needs the extra, which the tables do not

    names = audit.table["score"].to_pylist()
    of = np.array(audit.curves["score"].to_pylist())
    curves = {}
    for name in names:
        rows = np.flatnonzero(of == name)
        some = rows[subsample(len(rows))]
        coverage, risk = (audit.curves[column].to_numpy()[some] for column in ("coverage", "risk"))
        curves[name] = (coverage, risk)
    return Figure(
        risk_coverage_curves(curves, risk="mean risk"),
        f"Risk-coverage curves of {', '.join(names)}",
        "The mean risk of the surest samples; a lower curve is a better score.",
    )
