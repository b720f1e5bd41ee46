"""Parts by their names, and a recipe: from the options of ``adapt`` and from run descriptions."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer

from pladapt.cli.options import Options, named_values
from pladapt.errors import InputError
from pladapt.plugins.manager import KINDS, Kind, default_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pladapt.recipes.bundle import Recipe
    from pladapt.typing import Evaluator

_GIVEN: Final[Mapping[str, tuple[str, ...]]] = {
    "recipe": ("cutoff", "batch_size", "source", "checkpoints", "progress"),
    "selector": ("cutoff",),
    "retrainer": ("checkpoints", "progress", "seed", "device"),
    "recalibrator": ("cutoff", "batch_size", "source", "progress"),
    "gate": ("cutoff", "batch_size"),
    "evaluator": ("samples", "cutoff", "batch_size", "spacing"),
}
"""What is given to the parts of a kind that take it, unless their own parameters say otherwise."""

_PARTS: Final = ("selector", "retrainer", "gate")
_OF_RECIPES: Final = ("labelled", "train_on_labelled", "foreground_fraction")


@dataclass(frozen=True)
class Maker:
    """Makes parts by their names.

    Args:
        given: What is given to all parts that take it; None where it is not known.
        place: Says where a parameter is told, as the beginning of a message.
    """

    given: Mapping[str, Any]
    place: Callable[[tuple[str, ...]], str]

    def make(
        self,
        kind: Kind,
        name: str,
        said: Mapping[str, Any],
        where: tuple[str, ...] = (),
        **own: Any,
    ) -> Any:
        """Make a part.

        Args:
            kind: Its kind.
            name: Its name.
            said: Its parameters. A table with a name is a part in it, and another table the
                parameters of what a dataclass holds there.
            where: Where they are told.
            own: What is given to this part alone, if it takes it.

        Raises:
            UnknownPluginError: There is no such part.
            InputError: It does not take one of the parameters.
        """
        where = where or (kind,)
        factory = default_manager().factory(kind, name)
        taken = inspect.signature(factory).parameters
        open_ended = any(each.kind is each.VAR_KEYWORD for each in taken.values())
        for key in said.keys() - taken.keys() if not open_ended else ():
            self._refuse(key, list(taken), where)
        known = {k: v for k, v in {**self.given, **own}.items() if v is not None}
        known = {k: v for k, v in known.items() if k in _GIVEN.get(kind, ())}
        given = {k: v for k, v in known.items() if k in taken or open_ended}
        inner = {k: v for k, v in known.items() if k not in given}
        held = {key: {} for key in _held(factory) if inner} | dict(said)
        parameters = {key: self._value(factory, key, v, where, inner) for key, v in held.items()}
        try:
            return factory(**(given | parameters))
        except TypeError as error:
            raise InputError(
                f"{self.place(where)}the {kind} {name!r} cannot be made with {dict(said)}: {error}."
            ) from error

    def _value(
        self,
        factory: Any,
        key: str,
        value: Any,
        where: tuple[str, ...],
        inner: Mapping[str, Any],
    ) -> Any:
        """Return a parameter: a part that a table names, or what a dataclass holds there."""
        if not isinstance(value, dict):
            return value
        if key in KINDS and isinstance(value.get("name"), str):
            rest = {name: each for name, each in value.items() if name != "name"}
            return self.make(key, value["name"], rest, (*where, key))
        if (made := _held(factory).get(key)) is None:
            return value
        known = inspect.signature(made).parameters
        for name in value.keys() - known.keys():
            self._refuse(name, list(known), (*where, key))
        return made(**({k: v for k, v in inner.items() if k in known} | value))

    def _refuse(self, key: str, known: list[str], where: tuple[str, ...]) -> None:
        from pladapt.cli.description import no_such_key  # noqa: PLC0415 - needs the extra

        raise InputError(f"{self.place((*where, key))}{no_such_key(key, known, '.'.join(where))}")


def _held(factory: Any) -> dict[str, Any]:
    """Return the classes of the options that a dataclass holds, by the names of its fields."""
    if not dataclasses.is_dataclass(factory):
        return {}
    made = {each.name: each.default_factory for each in dataclasses.fields(factory)}
    return {name: each for name, each in made.items() if dataclasses.is_dataclass(each)}


@dataclass(frozen=True, kw_only=True)
class PartOptions(Options):
    """How to adapt: with a recipe, or with parts."""

    recipe: Annotated[
        str, typer.Option(help="How to adapt, by name; or with --selector and --retrainer.")
    ] = "robust"
    selector: Annotated[
        str | None, typer.Option(help="What scores, selects and labels, by name.")
    ] = None
    retrainer: Annotated[str | None, typer.Option(help="What retrains, by name.")] = None
    gate: Annotated[
        str | None, typer.Option(help="What judges the outcome, by name; with --selector.")
    ] = None
    evaluator: Annotated[
        str | None, typer.Option(help="What measures beside overlap, by name; with --truth.")
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="An option of the recipe as NAME=VALUE, or of a part as KIND.NAME=VALUE, such as "
            "selector.top_k=9; may be repeated.",
        ),
    ] = None

    def __post_init__(self) -> None:
        chosen = [kind for kind in _PARTS if getattr(self, kind) is not None]
        if chosen and "recipe" in self.given:
            raise InputError(
                f"The recipe {self.recipe!r} has parts of its own and takes no --{chosen[0]}; "
                "leave out --recipe to adapt with --selector and --retrainer."
            )
        if chosen and not {"selector", "retrainer"} <= {*chosen}:
            missing = "retrainer" if "selector" in chosen else "selector"
            raise InputError(
                f"There is a --{chosen[0]} and no --{missing}; give it by name, as `pladapt "
                f"plugins {missing}` lists them. A recipe has both."
            )

    def said(self, kind: Kind) -> dict[str, Any]:
        """Return what --set says of a part, or of the recipe.

        Raises:
            InputError: It says something of a part that was not given.
        """
        found: dict[Kind, dict[str, Any]] = {}
        for name, value in named_values(self.set_ or (), "--set").items():
            head, dot, rest = name.partition(".")
            owner = next((each for each in get_args(Kind) if dot and each == head), None)
            if owner is None and self.selector is not None:
                raise InputError(
                    f"--set {name}: say whose option it is: --set selector.{name}=..., say."
                )
            if owner is not None and getattr(self, owner, None) is None:
                raise InputError(f"--set {name}: there is no --{owner}.")
            table = found.setdefault(owner or "recipe", {})
            *path, last = rest.split(".") if owner else [name]
            for key in path:
                table = table.setdefault(key, {})
            table[last] = value
        return found.get(kind, {})

    def chosen(self, config: Mapping[str, Any], *, truth: bool) -> dict[str, Any]:
        """Return the options of the recipe, or of adapting with parts.

        Args:
            config: What other options say of it.
            truth: Whether there are true masks.

        Raises:
            InputError: An option is told twice, is for recipes alone, or lacks another.
        """
        if self.evaluator is not None and not truth:
            raise InputError(f"The evaluator {self.evaluator!r} measures with masks; give --truth.")
        if self.selector is not None:
            for name in (each for each in _OF_RECIPES if each in config):
                raise InputError(
                    f"Parts by name take no --{name.replace('_', '-')}, which is for recipes; "
                    "leave it out, or give a --recipe in place of --selector."
                )
            return dict(config)
        found = self.said("recipe")
        if twice := sorted(found.keys() & {*config, "source", "cutoff", "seed", "device"}):
            raise InputError(f"--set gives {twice[0]!r}; give it as --{twice[0]}.")
        return {**config, **{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}}

    def build(self, chosen: Mapping[str, Any], cutoff: float, **own: Any) -> Recipe:
        """Make the recipe, or the parts that stand in its place.

        Args:
            chosen: What `chosen` returned.
            cutoff: What the parts are given.
            own: What else is given to those that take it.
        """
        from pladapt.recipes.bundle import Recipe, recipe  # noqa: PLC0415 - for help

        if self.selector is None or self.retrainer is None:
            try:
                return recipe(self.recipe, **own, **chosen)
            except TypeError as error:
                raise InputError(
                    f"The recipe {self.recipe!r} cannot be made with the options {sorted(chosen)}: "
                    f"{str(error).removesuffix('.')}."
                ) from error
        make = _maker({**own, **chosen, "cutoff": cutoff}).make
        gates = [] if self.gate is None else [make("gate", self.gate, self.said("gate"))]
        return Recipe(
            selector=make("selector", self.selector, self.said("selector")),
            retrainer=make("retrainer", self.retrainer, self.said("retrainer")),
            gates=gates,
            batch_size=own["batch_size"],
        )

    def evaluators(self, **given: Any) -> dict[str, Evaluator]:
        """Make the evaluator that was named, if one was."""
        if self.evaluator is None:
            return {}
        made = _maker(given).make("evaluator", self.evaluator, self.said("evaluator"))
        return {self.evaluator: made}


def _maker(given: Mapping[str, Any]) -> Maker:
    return Maker(given, lambda where: f"--set {'.'.join(where)}: ")
