"""What the rounds of a run work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pladapt.runs.manifest import describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pladapt.plugins.manager import PluginManager
    from pladapt.runs.answers import Answer
    from pladapt.runs.restarting import Restart
    from pladapt.runs.usable import Usable
    from pladapt.types import Progress
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

    def config(self) -> dict[str, Any]:
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
        }
