"""A recipe as its parts, and recipes by their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pladapt.data.tolerance import MAX_ERRORS, Tolerance
from pladapt.plugins.manager import default_manager
from pladapt.runs.adaptation import adapt
from pladapt.runs.dividing import label_part
from pladapt.runs.given import check_folder
from pladapt.runs.job import prepared

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pladapt.data.tolerance import OnError
    from pladapt.plugins.manager import PluginManager
    from pladapt.runs.adaptation import AdaptationResult
    from pladapt.runs.restarting import Restart
    from pladapt.types import Progress, Sample, Samples
    from pladapt.typing import Evaluator, Gate, Predictor, Recalibrator, Retrainer, Selector


@dataclass(frozen=True, eq=False, kw_only=True)
class Recipe:
    """The parts of an adaptation, to be called with a predictor and a target; see `pladapt.adapt`.

    Args:
        selector: Scores, selects and labels; or one such for each round.
        retrainer: Makes the next predictor.
        recalibrator: Makes the predictor fit the target before the first round, or None.
        gates: Each judges what a round made.
        rounds: How many rounds.
        batch_size: How many samples are predicted at once.
        restart: What a round starts from that people's answers teach, as for `pladapt.adapt`.
    """

    selector: Selector | Sequence[Selector]
    retrainer: Retrainer
    recalibrator: Recalibrator | None = None
    gates: Sequence[Gate] = ()
    rounds: int = 1
    batch_size: int = 8
    restart: Restart | None = None

    def adapt(
        self,
        predictor: Predictor,
        target: Samples[Sample],
        *,
        evaluators: Mapping[str, Evaluator] | Sequence[Evaluator] = (),
        workdir: str | Path | None = None,
        on_error: OnError = "skip",
        max_errors: float = MAX_ERRORS,
        time_limit: float | None = None,
        plugins: PluginManager | Iterable[object] | None = None,
        progress: Progress | None = None,
    ) -> AdaptationResult:
        """Adapt a predictor to unlabelled target images with these parts.

        Args:
            predictor: The source's predictor; it is not changed.
            target: Unlabelled samples with unique ids.
            evaluators: Measure and report, as for `pladapt.adapt`.
            workdir: The run folder, in which an interrupted run continues.
            on_error: What becomes of a sample that cannot be used, as for `pladapt.adapt`.
            max_errors: How many samples may be left out, as for `pladapt.adapt`.
            time_limit: How many seconds a batch may take, as for `pladapt.adapt`.
            plugins: Whom the observer hooks tell what happened, as for `pladapt.adapt`.
            progress: Called as work advances.

        Raises:
            LabelledTargetError: A target sample has a mask.
            InputError: As for `pladapt.adapt`, and as the parts say.
            RunChangedError: ``workdir`` holds a run with other inputs or parameters.
        """
        return adapt(
            predictor,
            target,
            selector=self.selector,
            retrainer=self.retrainer,
            recalibrator=self.recalibrator,
            gates=self.gates,
            evaluators=evaluators,
            rounds=self.rounds,
            workdir=workdir,
            batch_size=self.batch_size,
            restart=self.restart,
            on_error=on_error,
            max_errors=max_errors,
            time_limit=time_limit,
            plugins=plugins,
            progress=progress,
        )

    def label_part(
        self,
        predictor: Predictor,
        target: Samples[Sample],
        part: tuple[int, int],
        *,
        workdir: str | Path,
        evaluators: Mapping[str, Evaluator] | Sequence[Evaluator] = (),
        on_error: OnError = "skip",
        max_errors: float = MAX_ERRORS,
        time_limit: float | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Score and label a part of a target, beside other processes that do the others.

        `adapt`, given the same otherwise, goes on from there once all parts are done, and ends as
        if there had been none. A part that was interrupted goes on where it was.

        Args:
            predictor: As for `adapt`.
            target: The whole of it.
            part: Which part, from 1, and of how many: ``(2, 8)``, say.
            workdir: The run folder, where all parts and the run can write.
            evaluators: Those that `adapt` is given; they are not asked.
            on_error: As for `adapt`.
            max_errors: The same: a fraction or number of the whole target.
            time_limit: As for `adapt`.
            progress: Called as work advances.

        Returns:
            How many samples the part has.

        Raises:
            InputError: The recipe looks at the whole target before it labels (``recalibrator``), or
                there is no such part; and as for `adapt`.
            RunChangedError: The part was made with other inputs or parameters.
            BusyError: Another process makes the same part.
        """
        check_folder(workdir)
        job, _ = prepared(
            predictor,
            target,
            Tolerance(on_error, max_errors, time_limit),
            selector=self.selector,
            retrainer=self.retrainer,
            evaluators=evaluators,
            recalibrator=self.recalibrator,
            gates=self.gates,
            rounds=self.rounds,
            restart=self.restart,
            batch_size=self.batch_size,
            plugins=(),
            progress=progress,
        )
        config = job.config(self.selector, self.rounds)
        return label_part(job, config, part, Path(workdir))


def recipe(name: str, /, **options: Any) -> Recipe:
    """Make the recipe of this name; errors as for `pladapt.selector`."""
    return cast("Recipe", default_manager().build("recipe", name, **options))
