"""What a few labelled images chose, as a stage of the run folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pladapt.evaluation.few_labels import Choice
from pladapt.runs.usable import LEFT_OUT, read_left_out, write_left_out
from pladapt.storage import (
    check_stored,
    is_stored,
    read_json,
    read_stored_table,
    stored_file,
    to_json,
    write_stored_table,
)
from pladapt.types import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from pladapt.types import Evaluation

CHOICE: Final = "choice"
"""The folder of the stage."""

_FILE: Final = "choice.json"
_EVIDENCE: Final = "evidence.parquet"
_NAMES: Final = ("name", "cutoff", "shift", "reason")


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What came of choosing among candidates by a few labelled images.

    Args:
        choice: Which candidate, and by what.
        chose: The ids of the images whose labels chose.
        taught: The ids of the images whose labels trained candidates as well; as a rule none.
        dropped: Why a recipe gave no candidate, by its name.
        evaluations: What each evaluator measured of what was chosen, by its name.
        left_out: The samples that could not be used by a candidate, as in `pladapt.runs.Round`.
        rounds: How many rounds the candidate has that people's answers teach.
    """

    choice: Choice
    chose: tuple[str, ...]
    taught: tuple[str, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    left_out: pa.Table = field(default_factory=LEFT_OUT.empty_table)
    rounds: int = 0

    @property
    def verdict(self) -> Verdict:
        """Whether the model was replaced, and why, or why not."""
        reason = self.choice.reason
        if self.taught and self.choice.changes:
            reason += "; these labels taught as well as chose, so that their DSC is too high"
        return Verdict("adapted" if self.choice.changes else "unchanged", reason)


def write_chosen(chosen: Chosen, folder: Path) -> None:
    """Write all but the evaluations, the file that says so last."""
    write_left_out(chosen.left_out, folder)
    write_stored_table(chosen.choice.evidence, folder / _EVIDENCE)
    told: dict[str, Any] = {name: getattr(chosen.choice, name) for name in _NAMES}
    told |= {
        "rounds": chosen.rounds,
        "chose": chosen.chose,
        "taught": chosen.taught,
        "dropped": dict(chosen.dropped),
    }
    with stored_file(folder / _FILE) as temporary:
        temporary.write_text(to_json(told), encoding="utf-8")


def renew_chosen(chosen: Chosen, folder: Path) -> None:
    """Write what was chosen, unless it is there.

    Another choice that is there was made before people's answers taught a candidate: it goes, and
    what was measured of it.
    """
    if is_stored(folder / _FILE):
        if read_chosen(folder).rounds == chosen.rounds:
            return
        shutil.rmtree(folder)
    write_chosen(chosen, folder)


def read_chosen(folder: Path) -> Chosen:
    """Read what `write_chosen` wrote.

    Raises:
        MissingDataError: It is not there.
        DataError: It is damaged.
    """
    check_stored(folder / _FILE)
    told = read_json(folder / _FILE)
    evidence = read_stored_table(folder / _EVIDENCE)
    choice = Choice(**{name: told[name] for name in _NAMES}, evidence=evidence)
    return Chosen(
        choice,
        tuple(told["chose"]),
        tuple(told["taught"]),
        told["dropped"],
        left_out=read_left_out(folder),
        rounds=told["rounds"],
    )
