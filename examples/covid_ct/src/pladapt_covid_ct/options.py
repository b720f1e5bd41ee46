"""The command line's options of an experiment, made from its settings."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_origin, get_type_hints

import typer

from pladapt.cli.options import amount
from pladapt.selection.rules import Amount
from pladapt_covid_ct.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_SETTINGS: Final = "settings"


def with_settings(
    *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each of the `Settings`, so that none is written down twice.

    The command takes them as its keyword argument ``settings``.

    Args:
        without: The settings that get no option.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        names = {item.name for item in fields(Settings)} - set(without)

        def called(**given: Any) -> None:
            chosen = {name: _read(name, given.pop(name)) for name in names}
            command(**given, settings=Settings(**chosen))

        called.__doc__, called.__name__ = command.__doc__, command.__name__
        parameters = [*_own(command), *_options(names)]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        return called

    return decorate


def _own(command: Callable[..., None]) -> list[inspect.Parameter]:
    hints = get_type_hints(command, localns={"Settings": Settings}, include_extras=True)
    parameters = inspect.signature(command).parameters.values()
    return [p.replace(annotation=hints[p.name]) for p in parameters if p.name != _SETTINGS]


def _options(names: Collection[str]) -> list[inspect.Parameter]:
    hints = get_type_hints(Settings)
    return [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=str(item.default) if hints[item.name] == Amount else item.default,
            # the words of a Literal are checked by the settings, which list them
            annotation=Annotated[
                str if _is_text(hints[item.name]) else hints[item.name],
                typer.Option(help=item.metadata["help"]),
            ],
        )
        for item in fields(Settings)
        if item.name in names
    ]


def _is_text(hint: Any) -> bool:
    return get_origin(hint) is Literal or hint == Amount


def _read(name: str, value: Any) -> Any:
    """Return a setting's value; an amount is an integer or a fraction by how it is written."""
    text = isinstance(value, str) and get_type_hints(Settings)[name] == Amount
    return amount(value, f"--{name.replace('_', '-')}") if text else value
