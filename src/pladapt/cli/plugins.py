"""``pladapt plugins``: the parts that are installed, and what is wrong with others."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

import pladapt
from pladapt.cli.printing import AsJson, print_json
from pladapt.errors import InputError
from pladapt.plugins.guard import CallFailedError, call
from pladapt.plugins.manager import BUILTINS, KINDS, default_manager, factory_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pladapt.plugins import PluginManager, PluginProblem, Registration
    from pladapt.plugins.manager import Kind

_WIDTH: Final = 80
_GIVEN: Final = {"network": ("target", "weights")}
"""What the library itself gives to the factories of a kind."""

_STARS: Final[Mapping[Any, str]] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


@dataclass(frozen=True)
class Part:
    """A part as it is listed.

    Args:
        kind: Its kind.
        name: Its name.
        plugin: The plugin that offers it.
        distribution: What that came with, as ``name version``; empty where that is not known.
        summary: What the part does, in a line.
        parameters: What it is made with: each one's default, None where it has none.
        problem: Why its parameters are not known; empty where they are.
    """

    kind: Kind
    name: str
    plugin: str
    distribution: str
    summary: str
    parameters: dict[str, str | None] = field(default_factory=dict)
    problem: str = ""


def list_plugins(
    kind: Annotated[
        str | None, typer.Argument(help=f"One kind alone: {', '.join(KINDS)}.", show_default=False)
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the parts that are installed by kind, with what each is made with.

    What is broken is listed at the end, with its error. Parts that share a name are marked.
    """
    from pladapt.files.names import visible_lines  # noqa: PLC0415 - help must not wait

    if kind is not None and kind not in KINDS:
        raise InputError(f"There is no kind {kind!r}; give one of {', '.join(KINDS)}.")
    manager = default_manager()
    parts = [part for each in KINDS if kind in (None, each) for part in parts_of(manager, each)]
    if as_json:
        broken = [asdict(problem) for problem in manager.problems]
        print_json(parts=[asdict(part) for part in parts], broken=broken)
        return
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    for line in _lines(parts, manager.problems, width):
        typer.echo(visible_lines(line))


def parts_of(manager: PluginManager, kind: Kind) -> Iterator[Part]:
    """Yield the parts of a kind, each with its parameters."""
    for plugin, registration in manager.registrations(kind):
        own = f"pladapt {pladapt.__version__}"
        came_with = own if plugin in BUILTINS else manager.distribution(plugin)
        parameters, problem = _parameters(plugin, registration, kind)
        yield Part(
            kind,
            registration.name,
            plugin,
            came_with,
            str(registration.summary),
            parameters,
            problem,
        )


def _parameters(
    plugin: str, registration: Registration[Any], kind: Kind
) -> tuple[dict[str, str | None], str]:
    """Return what a part is made with; a command is made with nothing."""
    if kind == "command":
        return {}, ""
    try:  # in any time: to import a framework takes long, and half of one is of no use
        factory = call(lambda: factory_of(registration, plugin), None)
        found = call(lambda: inspect.signature(factory).parameters, None)
    except CallFailedError as error:
        return {}, str(error)
    given = _GIVEN.get(kind, ())
    return {
        f"{_STARS.get(each.kind, '')}{name}": _default(each)
        for name, each in found.items()
        if name not in given
    }, ""


def _default(parameter: inspect.Parameter) -> str | None:
    return None if parameter.default is parameter.empty else repr(parameter.default)


def _lines(parts: Sequence[Part], problems: Sequence[PluginProblem], width: int) -> Iterator[str]:
    """Yield the lines of the list: a paragraph for each part, under its kind."""
    names = [(part.kind, part.name) for part in parts]
    for kind in dict.fromkeys(part.kind for part in parts):
        yield f"{kind}s:"
        for part in (each for each in parts if each.kind == kind):
            twice = " (a name given twice)" if names.count((kind, part.name)) > 1 else ""
            yield f"  {part.name}{twice} - {part.distribution or part.plugin}"
            for text in (part.summary, _made_with(part), part.problem):
                yield from _wrapped(text, width)
        yield ""
    if problems:
        yield "broken, and left out:"
    for problem in problems:
        yield f"  {problem.plugin} - {problem.distribution or 'of no known distribution'}"
        yield from _wrapped(problem.message, width)


def _made_with(part: Part) -> str:
    return ", ".join(
        name if default is None else f"{name}={default}"
        for name, default in part.parameters.items()
    )


def _wrapped(text: str, width: int) -> list[str]:
    indent = " " * 4
    return [
        line
        for paragraph in text.splitlines()
        for line in textwrap.wrap(
            paragraph,
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
    ]
