"""What the rounds of a run work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pladapt.functional.numbers import whole
from pladapt.plugins.manager import manager_of
from pladapt.runs.given import check_first, check_part, check_target, per_round
from pladapt.runs.manifest import describe
from pladapt.runs.stages import named_evaluators
from pladapt.runs.usable import Usable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pladapt.data.tolerance import Tolerance
    from pladapt.plugins.manager import PluginManager
    from pladapt.runs.answers import Answer
    from pladapt.runs.restarting import Restart
    from pladapt.types import Progress, Sample, Samples
    from pladapt.typing import Evaluator, Gate, Predictor, Recalibrator, Retrainer, Selector


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What a round works with; all but the selector stays the same over the rounds.

    ``given`` is the predictor that went in: gates compare with it, and where nothing stands it is
    what comes out.
    """

    target: Usable
    selector: Selector
    retrainer: Retrainer
    evaluators: Mapping[str, Evaluator]
    recalibrator: Recalibrator | None
    gates: Sequence[Gate]
    batch_size: int
    plugins: PluginManager
    progress: Progress
    given: Predictor
    checked: list[bool] = field(default_factory=list)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    restart: Restart | None = None

    def config(self, selector: Selector | Sequence[Selector], rounds: int) -> dict[str, Any]:
        """Return what the run depends on, for its manifest."""
        optional = {
            "gates": self.gates,
            "recalibrator": self.recalibrator,
            "restart": self.restart,
        }
        return {name: describe(part) for name, part in optional.items() if part} | {
            "predictor": describe(self.given),
            "target": {"samples": len(self.target.target)},
            "retrainer": describe(self.retrainer),
            "evaluators": describe(self.evaluators),
            "batch_size": self.batch_size,
            "selector": describe(selector),
            "rounds": int(rounds),
        }


def prepared(
    predictor: Predictor,
    target: Samples[Sample],
    tolerance: Tolerance,
    *,
    selector: Selector | Sequence[Selector],
    retrainer: Retrainer,
    evaluators: Mapping[str, Evaluator] | Sequence[Evaluator],
    recalibrator: Recalibrator | None,
    gates: Sequence[Gate],
    rounds: int,
    restart: Restart | None,
    batch_size: int,
    plugins: PluginManager | Iterable[object] | None,
    progress: Progress | None,
) -> tuple[Job, Sequence[Selector]]:
    """Look at what a run is given, before any work; the arguments are those of `pladapt.adapt`.

    Returns:
        What the rounds work with, and the selector of each round.
    """
    least = 0 if recalibrator is not None else 1
    rounds, batch_size = whole("rounds", rounds, least), whole("batch_size", batch_size, 1)
    selectors = per_round(selector, rounds)
    _check_parts(predictor, selectors, retrainer, gates)
    check_target(target)
    usable = Usable(target, tolerance)
    check_first(usable)
    job = Job(
        usable,
        selectors[0],
        retrainer,
        named_evaluators(evaluators),
        recalibrator,
        gates,
        batch_size,
        manager_of(plugins),
        progress or _silent,
        predictor,
        restart=restart,
    )
    return job, selectors[:rounds]


def _check_parts(
    predictor: Predictor, selectors: Sequence[Selector], retrainer: Retrainer, gates: Sequence[Gate]
) -> None:
    check_part("predictor", predictor, "predict")
    check_part("retrainer", retrainer, "retrain")
    for selector in selectors:
        check_part("selector", selector, "score", "select", "label")
    for gate in gates:
        check_part("gate", gate, "judge")


def _silent(_stage: str, _done: int, _total: int, /) -> None:
    """Show nothing."""
