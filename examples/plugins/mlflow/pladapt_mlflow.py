"""A tracker: writes what happens in a run to MLflow, where MLFLOW_TRACKING_URI says so.

Without that it does nothing. MLflow's file store, ``file:///path``, needs nothing but a folder and
MLFLOW_ALLOW_FILE_STORE=true.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Final

import pladapt

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from pladapt.typing import Predictor

_EXPERIMENT: Final = "pladapt"
_current: dict[str, Any] = {}


@pladapt.hookimpl
def pladapt_round_started(number: int) -> None:
    """Begin a run with the first round, and go on with it in the next ones."""
    where = os.environ.get("MLFLOW_TRACKING_URI")
    if not where:
        _current.clear()
    elif number == 1 or not _current:
        from mlflow import MlflowClient  # noqa: PLC0415 - pladapt reads this module at each start

        client = MlflowClient(where)
        known = client.get_experiment_by_name(_EXPERIMENT)
        experiment = known.experiment_id if known else client.create_experiment(_EXPERIMENT)
        run = client.create_run(experiment, tags={"pladapt": pladapt.__version__})
        _current.update(client=client, run=run.info.run_id)
    else:
        _current["client"].update_run(_current["run"], status="RUNNING")


@pladapt.hookimpl
def pladapt_scored(number: int, scores: pa.Table) -> None:
    """Log how many samples were scored."""
    _log("scored", len(scores), number)


@pladapt.hookimpl
def pladapt_selected(number: int, selection: pladapt.Selection) -> None:
    """Log how many samples were kept, and how many each rule dropped."""
    for rule, count in selection.counts.items():
        _log(f"selection.{rule}", count, number)


@pladapt.hookimpl
def pladapt_retrained(predictor: Predictor) -> None:
    """Note what was trained."""
    if _current:
        _current["client"].set_tag(_current["run"], "predictor", type(predictor).__name__)


@pladapt.hookimpl
def pladapt_round_finished(number: int, evaluations: Mapping[str, pladapt.Evaluation]) -> None:
    """Log every figure, and end the run; the next round, if there is one, opens it again."""
    for name, evaluation in evaluations.items():
        for row in evaluation.summary.to_pylist():
            key = f"{name}.{row['aggregation']}.{row['class']}.{row['metric']}"
            _log(key, row["mean"], number)
    if _current:
        _current["client"].set_terminated(_current["run"])


def _log(key: str, value: float, step: int) -> None:
    if _current and not math.isnan(value):
        _current["client"].log_metric(_current["run"], key, float(value), step=step)
