"""Calling what others wrote, so that neither its errors nor its loops stop anything else."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pladapt.errors import PluginError, TimeLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class CallFailedError(Exception):
    """What was called raised something, or took too long; the message says which."""


class _TimeIsUp(BaseException):
    """Not an `Exception`, so that a loop that catches those ends as well."""


def call(function: Callable[..., T], seconds: float | None, /, **arguments: Any) -> T:
    """Call a function for at most so many seconds; None for any number of them.

    The time is limited in the main thread, where the system has signals; code that does not return
    to Python is not interrupted.

    Raises:
        CallFailedError: It raised anything, `SystemExit` included, or took too long.
        KeyboardInterrupt: The user ended the program: nothing else can be told from that.
    """
    try:
        with _within(seconds):
            return function(**arguments)
    except KeyboardInterrupt:
        raise
    except _TimeIsUp as error:
        raise CallFailedError(
            f"it was stopped after {seconds:g} seconds; PLADAPT_PLUGIN_SECONDS gives it more"
        ) from error
    except BaseException as error:
        raise CallFailedError(in_words(error)) from error


@contextmanager
def guarded(seconds: float | None = None) -> Iterator[None]:
    """Have a part inside that exits or takes too long raise an error as any other failure does.

    Args:
        seconds: How long it may take, as for `call`; None for as long as it likes.

    Raises:
        PluginError: It raised `SystemExit`, which would end the program as if all were well.
        TimeLimitError: It took too long.
    """
    try:
        with _within(seconds):
            yield
    except SystemExit as error:
        raise PluginError(
            f"A part called exit ({error.code!r}), which would end the program unfinished; have "
            "it raise an error."
        ) from error
    except _TimeIsUp as error:
        raise TimeLimitError(
            f"It took longer than {seconds:g} seconds, and was stopped; a higher time limit gives "
            "it more (--time-limit)."
        ) from error


def in_words(error: BaseException) -> str:
    """Return an error's class and message; the class alone where it cannot say what it is."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an error of a stranger's own class
        return type(error).__name__


@contextmanager
def _within(seconds: float | None) -> Iterator[None]:
    """Raise in what runs inside once the time is up, and leave any other timer as it was."""
    in_main = threading.current_thread() is threading.main_thread()
    if seconds is None or not in_main or not hasattr(signal, "SIGALRM"):
        yield
        return
    handler = signal.signal(signal.SIGALRM, _end)
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    began = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if outer:
            left = outer - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-6))


def _end(_number: int, _frame: object) -> None:
    raise _TimeIsUp
