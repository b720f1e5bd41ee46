"""Progress bars for long work, and what an interruption looks like."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

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

    from pladapt.types import Progress as Advance

_SECONDS: Final = 30.0
_SHOWN: Final = {"quiet": False, "lines": False}


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


class ProgressLines:
    """Writes a line as work advances, for logs: where a stage begins and ends, and in between.

    Args:
        console: Where the lines go.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._written: dict[str, float] = {}
        self._ended: dict[str, bool] = {}

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Write how far ``stage`` is, unless that was written less than half a minute ago."""
        name, _, detail = stage.partition(": ")
        now, last = time.monotonic(), self._written.get(name)
        if last is not None and now - last < _SECONDS and not self._ends(name, done, total):
            return
        self._written[name] = now
        line = f"{time.strftime('%H:%M:%S')} {name} {done}/{total} {detail}".rstrip()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _ends(self, name: str, done: int, total: int) -> bool:
        """Return whether a stage ends now; one that reports its end twice ended before."""
        ended, self._ended[name] = self._ended.get(name, False), done >= total
        return done >= total and not ended


def _nothing(_stage: str, _done: int, _total: int, /) -> None:
    """Show no progress."""


def show_progress(*, quiet: bool, lines: bool) -> None:
    """Say how progress is shown from now on.

    Args:
        quiet: Not at all.
        lines: As lines on a terminal, too.
    """
    _SHOWN.update(quiet=quiet, lines=lines)


@contextmanager
def progress_bars() -> Iterator[Advance]:
    """Show progress on standard error while the block runs: bars, or lines where it is no terminal.

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
        if _SHOWN["quiet"]:
            yield _nothing
        elif _SHOWN["lines"] or not console.is_terminal:
            yield ProgressLines(console)
        else:
            with Progress(*columns, console=console) as progress:
                yield ProgressBars(progress)
    except KeyboardInterrupt:
        console.print("Interrupted. Finished stages are kept: the same command continues the run.")
        raise typer.Exit(130) from None
