"""The hooks a plugin may implement.

A plugin is a module or object whose functions carry `pladapt.hookimpl`; a distribution announces it
with an entry point in the group ``pladapt``. Registration hooks return named parts; observer hooks
tell what happened in this process and change nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pluggy

from pladapt.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pyarrow as pa

    from pladapt.types import Evaluation, Selection
    from pladapt.typing import Evaluator, Gate, Predictor, Recalibrator, Retrainer, Selector

hookspec = pluggy.HookspecMarker("pladapt")
hookimpl = pluggy.HookimplMarker("pladapt")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Registration(Generic[T]):
    """A named part that a plugin offers.

    Args:
        name: What users ask for; lower case, words joined by hyphens.
        factory: Makes the part from keyword arguments: a class, a function, or where to find one
            as ``"package.module:attribute"``, which is imported when the part is first made.
        summary: One line for lists of parts.

    Raises:
        PluginError: The name is none that users could ask for, or the factory makes nothing.
    """

    name: str
    factory: str | Callable[..., T]
    summary: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise PluginError(
                f"A part is named {self.name!r}; expected lower-case words joined by hyphens."
            )
        if not isinstance(self.factory, str) and not callable(self.factory):
            raise PluginError(
                f"The factory of {self.name!r} is {self.factory!r}; expected a class, a function, "
                'or "package.module:attribute".'
            )


@hookspec
def pladapt_selectors() -> Iterable[Registration[Selector]]:
    """Offer selectors, for `pladapt.selector`."""


@hookspec
def pladapt_retrainers() -> Iterable[Registration[Retrainer]]:
    """Offer retrainers, for `pladapt.retrainer`."""


@hookspec
def pladapt_evaluators() -> Iterable[Registration[Evaluator]]:
    """Offer evaluators, for `pladapt.evaluator`."""


@hookspec
def pladapt_gates() -> Iterable[Registration[Gate]]:
    """Offer gates, for `pladapt.plugins.gate`."""


@hookspec
def pladapt_recalibrators() -> Iterable[Registration[Recalibrator]]:
    """Offer recalibrators, for `pladapt.plugins.recalibrator`."""


@hookspec
def pladapt_predictors() -> Iterable[Registration[Predictor]]:
    """Offer predictors, for `pladapt.predictor`."""


@hookspec
def pladapt_networks() -> Iterable[Registration[Any]]:
    """Offer networks, for `pladapt.torch.load_network`.

    The name is what stands before the colon, as in ``smp:FOLDER``. The factory is called, by name,
    with ``target`` (what stands after it), ``weights`` (a path, or None) and the user's arguments.
    It returns a torch module or a `pladapt.torch.Network`.
    """


@hookspec
def pladapt_recipes() -> Iterable[Registration[Any]]:
    """Offer recipes: the factory returns a `pladapt.Recipe`, for `pladapt.recipe`."""


@hookspec
def pladapt_commands() -> Iterable[Registration[Any]]:
    """Offer commands: ``pladapt NAME ...`` runs the `typer.Typer` that the factory returns."""


@hookspec
def pladapt_round_started(number: int) -> None:
    """A round has begun.

    Args:
        number: The round's number, from 1.
    """


@hookspec
def pladapt_scored(number: int, scores: pa.Table) -> None:
    """The target has been scored.

    Args:
        number: The round's number, from 1.
        scores: A row per target sample: ``id``, ``group``, ``sha256`` and the selector's columns.
    """


@hookspec
def pladapt_selected(number: int, selection: Selection) -> None:
    """Samples have been selected.

    Args:
        number: The round's number, from 1.
        selection: The kept samples, and the rule that dropped each other one.
    """


@hookspec
def pladapt_retrained(number: int, predictor: Predictor) -> None:
    """The predictor has been retrained.

    Args:
        number: The round's number, from 1.
        predictor: The new predictor.
    """


@hookspec
def pladapt_round_finished(number: int, evaluations: Mapping[str, Evaluation]) -> None:
    """A round has ended.

    Args:
        number: The round's number, from 1.
        evaluations: What each evaluator measured after it, by the evaluator's name; empty where
            nothing was selected.
    """
