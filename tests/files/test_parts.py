"""Parts by their names on the command line, in place of a recipe's own."""

from __future__ import annotations

from typing import Any

import pytest

from pladapt import InputError
from pladapt.cli.parts import Maker, PartOptions
from pladapt.errors import UnknownPluginError

BOTH: dict[str, Any] = {"selector": "soft-dice", "retrainer": "fine-tune"}


def maker(**given: object) -> Maker:
    return Maker(given, lambda where: f"at {'/'.join(where)}: ")


def test_a_part_is_made_with_what_is_said_and_what_is_given() -> None:
    found = maker(cutoff=0.3, batch_size=5).make("gate", "do-no-harm", {"batch_size": 2})
    assert (found.cutoff, found.batch_size) == (0.3, 2)
    within = {"selector": {"name": "soft-dice", "cutoff": 0.4}}
    found = maker(cutoff=0.3).make("selector", "certain-negatives", within)
    assert found.selector.cutoff == 0.4


def test_what_cannot_be_made_is_said_with_its_place() -> None:
    with pytest.raises(InputError, match=r"at gate/cutof: .* Did you mean 'cutoff'"):
        maker().make("gate", "do-no-harm", {"cutof": 0.3})
    with pytest.raises(UnknownPluginError, match="soft"):
        maker().make("selector", "soft-dise", {})


def test_each_part_is_told_its_own_options() -> None:
    items = ["selector.top_k=0.5", "retrainer.options.epochs=4", "retrainer.options.ema=0.9"]
    options = PartOptions(**BOTH, set_=items)
    assert options.said("selector") == {"top_k": 0.5}
    assert options.said("retrainer") == {"options": {"epochs": 4, "ema": 0.9}}
    assert options.said("gate") == {}
    assert PartOptions(set_=["a.b=1", "evaluator=2"]).said("recipe") == {"a.b": 1, "evaluator": 2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({**BOTH, "recipe": "paper", "given": frozenset({"recipe"})}, "takes no --selector"),
        ({"gate": "do-no-harm", "recipe": "robust", "given": frozenset({"recipe"})}, "no --gate"),
        ({"selector": "soft-dice"}, "no --retrainer; give it by name"),
        ({"retrainer": "fine-tune"}, "no --selector"),
        ({"gate": "do-no-harm"}, "no --selector"),
        ({**BOTH, "set_": ["top_k=3"]}, "say whose option it is: --set selector.top_k"),
        ({**BOTH, "set_": ["gate.cutoff=3"]}, "there is no --gate"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PartOptions(**options).said("selector")  # type: ignore[arg-type]  # some of each


def test_what_only_recipes_take_is_refused() -> None:
    parts = PartOptions(**BOTH)
    assert parts.chosen({"seed": 1}, truth=False) == {"seed": 1}
    with pytest.raises(InputError, match="take no --foreground-fraction"):
        parts.chosen({"foreground_fraction": (0.1, 0.2)}, truth=False)
    with pytest.raises(InputError, match="--set gives 'seed'"):
        PartOptions(set_=["seed=4"]).chosen({}, truth=False)
    assert PartOptions(set_=["axes=[-1]"]).chosen({"seed": 1}, truth=False) == {
        "seed": 1,
        "axes": (-1,),
    }
