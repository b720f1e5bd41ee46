"""A plugin that tells the log what happens in a run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pladapt.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt.types import Evaluation, Selection
    from pladapt.typing import Predictor

_log = logging.getLogger("pladapt")


@hookimpl
def pladapt_round_started(number: int) -> None:
    """Log that a round has begun."""
    _log.info("Round %d started.", number)


@hookimpl
def pladapt_selected(number: int, selection: Selection) -> None:
    """Log how many samples each rule dropped."""
    _log.info("Round %d: selection %s.", number, selection.counts)


@hookimpl
def pladapt_retrained(number: int, predictor: Predictor) -> None:
    """Log that there is a new predictor."""
    _log.info("Round %d: retrained a %s.", number, type(predictor).__name__)


@hookimpl
def pladapt_round_finished(number: int, evaluations: Mapping[str, Evaluation]) -> None:
    """Log that a round has ended."""
    _log.info("Round %d finished; evaluated by %s.", number, ", ".join(evaluations) or "nobody")
