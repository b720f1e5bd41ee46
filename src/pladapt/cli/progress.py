"""Progress bars for long work, and what an interruption looks like."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID


class ProgressBars:
    """Draws a bar for each stage that reports its advance; a `pladapt.typing.Progress`.

    Args:
        progress: The display that holds the bars.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Move the bar of ``stage``; a stage that has ended starts anew when it reports again."""
        name, _, detail = stage.partition(": ")
        task = self._tasks.get(name)
        if task is None or (self._progress.tasks[task].finished and done < total):
            task = self._tasks[name] = self._progress.add_task(name, total=total, detail="")
        self._progress.update(task, completed=done, total=total, detail=detail)


@contextmanager
def progress_bars() -> Iterator[ProgressBars]:
    """Show progress on standard error while the block runs.

    An interruption from the keyboard ends the command with a word on how to go on, and with the
    exit status 130.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    console = Console(stderr=True)
    try:
        with Progress(*columns, console=console) as progress:
            yield ProgressBars(progress)
    except KeyboardInterrupt:
        console.print("Interrupted. Finished stages are kept: the same command continues the run.")
        raise typer.Exit(130) from None
