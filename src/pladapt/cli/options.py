"""Reading what options hold."""

from __future__ import annotations

import inspect
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from pladapt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

BatchSize = Annotated[int, typer.Option(help="Samples in a batch.", min=1)]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that several commands share: each field of a subclass is one, see `with_options`.

    Args:
        given: The names of those that were given on the command line.
    """

    given: frozenset[str] = frozenset()

    @classmethod
    def options(cls) -> Iterator[inspect.Parameter]:
        """Yield the options, as parameters that typer reads."""
        hints = get_type_hints(cls, include_extras=True)
        for each in fields(cls):
            if each.name != "given":
                yield inspect.Parameter(
                    each.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=each.default,
                    annotation=hints[each.name],
                )


def with_options(
    *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of each of its parameters that is an `Options`.

    Args:
        without: The options that it does not have.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        shared: dict[str, tuple[type[Options], list[str]]] = {}
        parameters = [
            inspect.Parameter(
                "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
            )
        ]
        for parameter in inspect.signature(command).parameters.values():
            kind = hints[parameter.name]
            if inspect.isclass(kind) and issubclass(kind, Options):
                found = [each for each in kind.options() if each.name not in without]
                shared[parameter.name] = kind, [each.name for each in found]
                parameters += found
            else:
                parameters.append(parameter.replace(annotation=kind))

        def called(context: typer.Context, **values: Any) -> None:
            for parameter, (kind, names) in shared.items():
                own = {name: values.pop(name) for name in names}
                given = frozenset(name for name in names if _is_given(context, name))
                values[parameter] = kind(**own, given=given)
            command(**values)

        called.__doc__, called.__name__ = command.__doc__, command.__name__
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        return called

    return decorate


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def writable(output: Path | None) -> Path | None:
    """Return a place to write to; one that is not there yet is looked at before the work.

    Raises:
        InputError: It would be below a file, or in a folder where nothing may be written.
    """
    if output is None or output.exists():
        return output
    above = next(place for place in output.absolute().parents if place.exists())
    if not above.is_dir():
        raise InputError(f"The output is {output}, and {above} is a file; give another place.")
    if not os.access(above, os.W_OK):
        raise InputError(
            f"The output is {output}, and nothing may be written in {above}; give another place."
        )
    return output


def named_values(items: Iterable[str], option: str) -> dict[str, Any]:
    """Return the values of a repeated option NAME=VALUE, by name.

    A value that is JSON is read as such; another is a string.

    Raises:
        InputError: An item has no equals sign.
    """
    found: dict[str, Any] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator:
            raise InputError(f"{option} {item!r} has no '='; give NAME=VALUE.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def errors_of(text: str) -> int | float:
    """Return what --max-errors says: a number as an integer, a percentage as a fraction.

    Raises:
        InputError: It is neither.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        if percent and not rest:
            return float(number) / 100
        return int(text)
    except ValueError as error:
        raise InputError(
            f"--max-errors is {text!r}; give a number from 0, or a percentage such as 5%."
        ) from error


def spacing_of(text: str | None, option: str) -> tuple[float, ...] | None:
    """Return a size of pixels: ``3,0.8,0.8`` as numbers.

    Raises:
        InputError: It is no list of numbers.
    """
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"{option} is {text!r}; expected numbers in mm such as 5,0.7,0.7."
        ) from None


def part_of(text: str) -> tuple[int, int]:
    """Return what --part says: ``2/8`` as ``(2, 8)``.

    Raises:
        InputError: It is no part.
    """
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise InputError(f"--part is {text!r}; give a number and how many parts there are, as 2/8.")


def amount(text: str, option: str) -> int | float:
    """Return a number from 1 as an integer, or a fraction in (0, 1] as a float.

    Raises:
        InputError: It is no number.
    """
    try:
        return int(text) if text.strip().isdecimal() else float(text)
    except ValueError as error:
        raise InputError(
            f"{option} is {text!r}; give a number from 1, or a fraction such as 0.5."
        ) from error
