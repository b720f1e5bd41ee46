"""The options of ``pladapt evaluate`` that measure borders, lesions and volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pladapt.cli.options import Options, spacing_of
from pladapt.cli.printing import console, figure, print_line
from pladapt.errors import InputError
from pladapt.functional.overlap import METRICS, pool

if TYPE_CHECKING:
    from pladapt.evaluation.details import Details
    from pladapt.types import Evaluation

_NOTES = ("nsd_tolerance", "both_empty", "one_empty", "hd95_unit", "volume_unit")


@dataclass(frozen=True, kw_only=True)
class MoreFigures(Options):
    """What is measured beside the overlap; the options of the same names."""

    surface: Annotated[
        float | None,
        typer.Option(
            metavar="MM", help="Measure borders: NSD at this tolerance in mm, and HD95.", min=0
        ),
    ] = None
    lesions: Annotated[
        bool, typer.Option("--lesions", help="Count lesions that are found, and false ones.")
    ] = False
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Compare volumes: their difference and ratio.")
    ] = False
    spacing: Annotated[
        str | None,
        typer.Option(
            metavar="MM,...",
            help="The size of a pixel along Z, Y and X, or Y and X, such as 5,0.7,0.7.  [default: "
            "that in the files]",
        ),
    ] = None
    by_group: Annotated[
        bool, typer.Option("--by-group", help="Print each group's figures as well.")
    ] = False

    def details(self) -> Details | None:
        """Return what is asked for, or None.

        Raises:
            InputError: The spacing is no list of numbers, or of no use.
        """
        from pladapt.evaluation.details import Details  # noqa: PLC0415 - help must not wait for it

        if self.surface is None and not self.lesions and not self.volumes:
            if self.spacing is not None:
                raise InputError(
                    "--spacing is for --surface and --volumes; give one of these as well."
                )
            return None
        return Details(
            surface=self.surface,
            lesions=self.lesions,
            volumes=self.volumes,
            spacing=spacing_of(self.spacing, "--spacing"),
        )

    def show(self, evaluation: Evaluation) -> None:
        """Print what was asked for."""
        if self.details() is not None:
            _show_details(evaluation)
        if self.by_group:
            _show_groups(evaluation)


def _show_details(evaluation: Evaluation) -> None:
    from pladapt.evaluation.details import DETAILS  # noqa: PLC0415 - help must not wait for it

    table = Table("aggregation", "class", "metric", "mean", "of")
    for row in evaluation.summary.to_pylist():
        if row["metric"] in DETAILS:
            keys = (row["aggregation"], str(row["class"]), row["metric"])
            table.add_row(*keys, figure(row), str(row["count"]))
    console().print(table)
    for name in _NOTES:
        if name in evaluation.notes:
            print_line(f"{name.replace('_', ' ')}: {evaluation.notes[name]}")


def _show_groups(evaluation: Evaluation) -> None:
    from pladapt.evaluation.details import group_figures  # noqa: PLC0415 - help must not wait

    more = group_figures(evaluation.samples.to_pylist())
    empty = float(evaluation.notes["empty_dsc"])
    names = [*METRICS, *next(iter(more.values()))]
    table = Table("group", "class", *(name.upper() if name in METRICS else name for name in names))
    pooled = pool(evaluation.samples, ["group", "class"], empty=empty).sort_by("group")
    for row in pooled.to_pylist():
        figures = row | more[row["group"], row["class"]]
        table.add_row(row["group"], str(row["class"]), *(f"{figures[name]:.3f}" for name in names))
    console().print(table)
