"""An observer: prints what each round kept, and how much was measured after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pladapt

if TYPE_CHECKING:
    from collections.abc import Mapping


@pladapt.hookimpl
def pladapt_selected(number: int, selection: pladapt.Selection) -> None:
    """Print how many samples were kept, and how many each rule dropped."""
    print(f"round {number}: {selection.counts}")


@pladapt.hookimpl
def pladapt_round_finished(number: int, evaluations: Mapping[str, pladapt.Evaluation]) -> None:
    """Print how many figures there are after the round."""
    for name, evaluation in evaluations.items():
        print(f"round {number}, {name}: {evaluation.summary.num_rows} figures")
