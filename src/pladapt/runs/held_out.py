"""Whether what people's masks teach holds for images that taught nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from pladapt.data.batches import batches
from pladapt.data.leakage import names_of
from pladapt.data.views import Subset
from pladapt.evidence.comparison import Finding
from pladapt.functional.overlap import pool, truth_rows
from pladapt.predictors.prediction import predict
from pladapt.storage import is_stored, read_stored_table, write_stored_table
from pladapt.types import EVIDENCE, Judgement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from pladapt.functional.certainty import Cutoff
    from pladapt.types import LabelledSample, Samples
    from pladapt.typing import Predictor

    Train = Callable[[Collection[str]], Predictor]

FOLDS: Final = 2
"""Into how many parts the masks are divided: there is one training for each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Trains without a half of people's masks, and measures what comes out on that half.

    A model fits the masks that taught it, and may be worse elsewhere: where it is already about as
    good as labels would make it, a few of them make it worse. So before a round is taught, each
    half of the masks is predicted by a training on all else, and over both halves the DSC of all
    pixels together (the mean of the classes) must not be lower than before. That is pessimistic,
    since each of these trainings has but half of the masks. Groups stay together where there are
    several.

    Args:
        before: What the run has so far.
        samples: At least two samples of the target with people's masks, which have taught nothing.
        cutoff: The probability above which a pixel is foreground, in (0, 1).
        batch_size: How many samples are predicted at once.
    """

    before: Predictor
    samples: Samples[LabelledSample]
    cutoff: Cutoff = 0.5
    batch_size: int = 8

    def judge(self, train: Train, folder: Path) -> Judgement:
        """Train and measure, unless that is stored, and say whether the round may be taught.

        Args:
            train: Given ids, trains on everything but these samples.
            folder: The round's; what was counted is kept there for each half.

        Raises:
            InputError: A mask has a value that is no class.
        """
        tables = [
            self._counted(train, places, folder / f"held-out-{number}.parquet")
            for number, places in enumerate(self._halves(), 1)
        ]
        counts = pool(pa.concat_tables(tables), ["when", "class"])
        before, after = (
            float(counts.filter(pc.equal(counts["when"], when))["dsc"].to_numpy().mean())
            for when in ("before", "after")
        )
        refusal = None
        if after < before:
            refusal = (
                f"on people's masks that taught nothing, the DSC falls from {before:.3f} to "
                f"{after:.3f}"
            )
        limit = "not lower than before"
        found = Finding("DSC on held-out masks", None, before, after, limit, refusal)
        evidence = pa.Table.from_pylist([found.row()], schema=EVIDENCE)
        reasons = () if refusal is None else (refusal,)
        return Judgement(accepted=not reasons, reasons=reasons, evidence=evidence)

    def _halves(self) -> list[list[int]]:
        names = names_of(self.samples)
        several = len({group for _, group in names}) > 1
        keys = [group if several else id_ for id_, group in names]
        order = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        return [
            [place for place, key in enumerate(keys) if order[key] % FOLDS == fold]
            for fold in range(FOLDS)
        ]

    def _counted(self, train: Train, places: list[int], path: Path) -> pa.Table:
        """Count before and after on some of the samples, which do not teach."""
        if not is_stored(path):
            half = Subset(self.samples, places)
            trained = train({id_ for id_, _ in names_of(half)})
            rows = [
                {"when": when, **row}
                for when, each in (("before", self.before), ("after", trained))
                for row in self._rows(each, half)
            ]
            write_stored_table(pa.Table.from_pylist(rows), path)
        return read_stored_table(path)

    def _rows(
        self, predictor: Predictor, samples: Samples[LabelledSample]
    ) -> Iterator[dict[str, object]]:
        each = (samples[index] for index in range(len(samples)))
        for batch, images in batches(each, batch_size=self.batch_size):
            yield from truth_rows(batch, predict(predictor, batch, images), self.cutoff)
