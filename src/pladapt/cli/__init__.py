"""The command line: parse, call, print."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from typing import NoReturn

from rich.console import Console

from pladapt.cli.application import application
from pladapt.cli.logs import LOG
from pladapt.errors import PladaptError


def main() -> None:
    """Run ``pladapt``; an error of pladapt's own is a message, not a traceback.

    What a scheduler sends to end a job, SIGTERM, ends it as Ctrl-C does: what is finished is kept.
    Of several processes that torchrun started, the first does it, and all of them its trainings.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        _main()
        return
    from pladapt.torch import run_distributed  # noqa: PLC0415 - help must not wait for it

    run_distributed(_main)


def _main() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            application()()
    except PladaptError as error:
        _end(error, "\n".join([str(error), *getattr(error, "__notes__", ())]))
    except OSError as error:  # of a path that was given, such as a folder below a file
        if error.filename is None:
            raise
        where = f"{error.filename}: {error.strerror}."
        _end(error, f"{where} See that the path is right, and that you may read and write there.")


def _end(error: Exception, message: str) -> NoReturn:
    LOG.debug("The error arose here:", exc_info=True)
    _console().print(f"[bold red]Error:[/] {type(error).__name__}:", end=" ")
    _console().print(_shown(message), markup=False, highlight=False)
    sys.exit(1)


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    _console().print("[yellow]Warning:[/]", end=" ")
    _console().print(_shown(str(message)), markup=False, highlight=False)


def _shown(text: str) -> str:
    """Return text in which no file's name steers the terminal."""
    from pladapt.files.names import visible_lines  # noqa: PLC0415 - help must not wait

    return visible_lines(text)


def _console() -> Console:
    return Console(stderr=True, soft_wrap=True)
