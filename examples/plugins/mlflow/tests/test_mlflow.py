from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow import MlflowClient

import pladapt

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@dataclass(frozen=True)
class Shifted:
    """Predicts an image, shifted."""

    shift: float = 0.0

    def predict(self, images: Any, /) -> Any:
        """Return the shifted values."""
        return np.clip(images + self.shift, 0, 1)


class Brighter:
    """Shifts a little further."""

    def retrain(self, predictor: Any, _labels: Any, /) -> Any:
        """Return a predictor that is brighter by a tenth."""
        return replace(predictor, shift=predictor.shift + 0.1)


def test_a_run_is_tracked_by_its_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tmp_path.as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    rng = np.random.default_rng(0)
    target = [
        pladapt.LabelledSample(f"s{i}", f"p{i}", image, (image[0] > 0.4).astype(np.uint8))
        for i, image in enumerate(rng.random((6, 1, 8, 8)))
    ]
    result = pladapt.adapt(
        Shifted(),
        pladapt.unlabelled(target),
        selector=pladapt.selector("soft-dice", min_pixels=1, top_k=2),
        retrainer=Brighter(),
        evaluators={"truth": pladapt.OverlapEvaluator(samples=target)},
        rounds=2,
    )
    client = MlflowClient(tmp_path.as_uri())
    experiment = client.get_experiment_by_name("pladapt")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["predictor"] == "Shifted"
    assert run.data.metrics["selection.kept"] == 2
    figures = client.get_metric_history(run.info.run_id, "truth.pooled.1.dsc")
    expected = [each.evaluations["truth"].value("dsc") for each in result.rounds]
    assert [each.value for each in figures] == expected
