"""What a training must leave as it was: random generators, cuDNN's flags, signals, the log."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.utilities.seed import isolate_rng

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def isolated() -> Iterator[None]:
    """Leave the process as it was, keep Lightning quiet, and let an interruption through."""
    with ExitStack() as stack:
        for context in (isolate_rng(), _quiet(), _deterministic(), _interruptible()):
            stack.enter_context(context)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # advice on the number of workers and the like
            warnings.simplefilter("ignore", PossibleUserWarning)
            # where all parameters are used, which is not known before
            warnings.filterwarnings("ignore", ".*find_unused_parameters=True was specified")
            # of Lightning's own use of torch
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _deterministic() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = flags


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn Lightning's exit after an interruption back into the interruption.

    Lightning answers KeyboardInterrupt by ignoring further ones and exiting the process.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
