"""``pladapt audit``: how well scores rank what an evaluation found."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pladapt.cli.printing import AsJson, console, print_json, print_line
from pladapt.errors import InputError, MissingDataError
from pladapt.evaluation.auditing import audit_tables
from pladapt.reports.audits import describe_audit, ranking_table
from pladapt.selection.recorded import final_scores, recorded_model
from pladapt.storage import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from pladapt.evaluation.auditing import Audit


def audit(
    scores: Annotated[
        list[str],
        typer.Argument(help="Parquet files of scores, as NAME=PATH or PATH; the reference first."),
    ],
    *,
    evaluation: Annotated[
        Path, typer.Option(help="An evaluation's samples.parquet, or the folder that has it.")
    ],
    metric: Annotated[str, typer.Option(help="The column that is the quality.")] = "dsc",
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    report: Annotated[
        Path | None, typer.Option(help="A page with the curves to write, .html or .md.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rank scores by how well they rank the quality of labelled samples, the best first.

    AURC is the mean risk of the k surest samples over all k, the risk being 1 minus the quality.
    """
    tables = _named(scores)
    _warn_of_models(tables)
    folder_or_file = evaluation / "samples.parquet" if evaluation.is_dir() else evaluation
    finals = {name: final_scores(table) for name, table in tables.items()}
    found = audit_tables(finals, _read(folder_or_file), metric=metric, seed=seed)
    if report is not None:
        _write(found, report)
    shown = ranking_table(found)
    table = Table(*shown.header, title=shown.caption)
    for row in shown.rows:
        table.add_row(*row)
    console(soft_wrap=True).print(table)
    for what, said in found.notes.items():
        print_line(f"{what}: {said}")
    if as_json:
        scores_ = found.table.to_pylist()
        print_json(scores=scores_, reference=found.reference, notes=found.notes, report=report)


def _named(given: Sequence[str]) -> dict[str, pa.Table]:
    """Read the scores by name; a file without one is called after itself."""
    found: dict[str, pa.Table] = {}
    for item in given:
        name, separator, path = item.partition("=")
        file = Path(path if separator else item)
        name = name if separator else file.stem
        if name in found:
            raise InputError(f"Two files of scores are called {name!r}; give them as NAME=PATH.")
        found[name] = _read(file)
    return found


def _warn_of_models(tables: Mapping[str, pa.Table]) -> None:
    """Warn where scores are of different models: an evaluation is of the masks of one."""
    models = {name: model for name, table in tables.items() if (model := recorded_model(table))}
    first, known = next(iter(models.items()), ("", None))
    for name, model in models.items():
        if model != known:
            warnings.warn(
                f"The scores {name!r} are of another model than {first!r}, and the evaluation is "
                "of the masks of one: how well the other's scores rank them says little. Give "
                "scores and evaluation of the same model.",
                stacklevel=2,
            )


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise MissingDataError(
            f"{path} is not there; `pladapt score` and `pladapt evaluate` write such files."
        )
    return read_table(path)


def _write(found: Audit, path: Path) -> None:
    from pladapt.reports.html import write_html  # noqa: PLC0415 - needs the extra
    from pladapt.reports.markdown import write_markdown  # noqa: PLC0415 - the same

    writers = {".html": write_html, ".md": write_markdown}
    if path.suffix not in writers:
        raise InputError(f"--report is {path}; its name must end in one of {list(writers)}.")
    writers[path.suffix](describe_audit(found), path)
    print_line(f"Report: {path}")
