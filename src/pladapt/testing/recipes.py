"""What every recipe that a plugin offers promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pladapt.recipes.bundle import Recipe
from pladapt.runs.manifest import describe
from pladapt.testing.checks import require
from pladapt.typing import Gate, Recalibrator, Retrainer, Selector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class RecipeContract:
    """What every function promises that makes a `pladapt.Recipe`.

    Fixtures to override: ``make``, the function; and ``options`` where it needs some.
    """

    @pytest.fixture
    def make(self) -> Callable[..., Recipe]:
        """Return the function under test."""
        raise NotImplementedError("Override the fixture 'make' with the function under test.")

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        """Return what the recipe cannot be made without."""
        return {}

    def test_it_makes_a_recipe(
        self, make: Callable[..., Recipe], options: Mapping[str, Any]
    ) -> None:
        """The function returns a `pladapt.Recipe` whose parts have their methods."""
        made = make(**options)
        require(isinstance(made, Recipe), f"It returned a {type(made).__name__}.")
        selectors = made.selector if isinstance(made.selector, Sequence) else [made.selector]
        for selector in selectors:
            require(isinstance(selector, Selector), f"{selector!r} is no selector.")
        require(isinstance(made.retrainer, Retrainer), f"{made.retrainer!r} is no retrainer.")
        for gate in made.gates:
            require(isinstance(gate, Gate), f"{gate!r} is no gate.")
        require(
            made.recalibrator is None or isinstance(made.recalibrator, Recalibrator),
            f"{made.recalibrator!r} is no recalibrator.",
        )
        least = 0 if made.recalibrator else 1
        require(made.rounds >= least, f"It has {made.rounds} rounds; expected {least} or more.")

    def test_it_takes_what_the_command_gives(
        self, make: Callable[..., Recipe], options: Mapping[str, Any], tmp_path: Path
    ) -> None:
        """`pladapt adapt` gives ``batch_size``, ``checkpoints`` and ``progress``."""
        given = {"batch_size": 3, "checkpoints": tmp_path, "progress": _silent}
        try:
            made = make(**{**given, **options})
        except TypeError as error:
            pytest.fail(
                f"It does not take batch_size, checkpoints and progress, which `pladapt adapt` "
                f"gives: {error}."
            )
        require(made.batch_size == given["batch_size"], "It does not use its batch_size.")

    def test_it_makes_the_same_again(
        self, make: Callable[..., Recipe], options: Mapping[str, Any]
    ) -> None:
        """A run can be continued with the recipe made anew."""
        one, other = (json.dumps(_told(make(**options))) for _ in range(2))
        require(one == other, f"Made twice it is {one} and {other}; no run could be continued.")


def _silent(_stage: str, _done: int, _total: int, /) -> None:
    """Show nothing."""


def _told(recipe: Recipe) -> list[Any]:
    parts = recipe.selector, recipe.retrainer, recipe.recalibrator, recipe.gates
    return [describe(part) for part in parts] + [recipe.rounds]
