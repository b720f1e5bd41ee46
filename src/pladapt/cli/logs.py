"""Log lines on standard error, for those who look for a fault."""

from __future__ import annotations

import logging
from typing import Final

LOG: Final = logging.getLogger("pladapt")
"""What the commands log to, as observers of a run do."""

_HANDLERS: Final[list[logging.Handler]] = []


class _Visible(logging.Formatter):
    """Formats records so that no file's name steers the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the traceback where there is one."""
        from pladapt.files.names import visible_lines  # noqa: PLC0415 - help must not wait

        return visible_lines(super().format(record))


def be_verbose(*, verbose: bool) -> None:
    """Show every log line of pladapt on standard error from now on, or none below a warning."""
    while _HANDLERS:
        LOG.removeHandler(_HANDLERS.pop())
    LOG.setLevel(logging.DEBUG if verbose else logging.NOTSET)
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(_Visible("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        LOG.addHandler(handler)
        _HANDLERS.append(handler)
