"""``pladapt check``: whether a part keeps the contract of its kind, in words."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import textwrap
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer

from pladapt.cli.new import article
from pladapt.cli.options import named_values
from pladapt.cli.printing import AsJson, print_json, print_line
from pladapt.errors import InputError, PluginError
from pladapt.optional import needs
from pladapt.plugins.guard import in_words
from pladapt.plugins.manager import KINDS, Kind, default_manager, factory_of
from pladapt.plugins.modules import load_module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pladapt.testing.running import Check

_CONTRACTS: Final[Mapping[Kind, str]] = {
    kind: f"{kind.capitalize()}Contract" for kind in KINDS if kind != "command"
}
_METHODS: Final[Mapping[str, Kind]] = {
    "score": "selector",
    "retrain": "retrainer",
    "evaluate": "evaluator",
    "judge": "gate",
    "recalibrate": "recalibrator",
    "predict": "predictor",
    "state_dict": "network",
}
"""By which method a part is known; the first that it has counts."""


def check(
    part: Annotated[
        str,
        typer.Argument(
            help="What is checked: my_package:MySelector, my_file.py:MySelector, or the name of an "
            "installed part."
        ),
    ],
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            help=f"What it is: {', '.join(_CONTRACTS)}.  [default: by its methods]",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter of the part as NAME=VALUE; may be repeated."),
    ] = None,
    predictor: Annotated[
        str | None,
        typer.Option(
            help="What a retrainer retrains, or an evaluator measures: as for PART.  [default: a "
            "small torch network, or without torch a sigmoid of the image]",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a part does what the library relies on, and say in words what it does not.

    Exit status: 0 where it does, and 1 where something is wrong. What is made is checked with
    images that the checks make themselves, (B, 1, 32, 32) in [-3, 4].
    """
    if kind is not None and kind not in _CONTRACTS:
        raise InputError(f"There is no kind {kind!r} to check; give one of {[*_CONTRACTS]}.")
    with needs("testing", "pytest"):
        from pladapt import testing  # noqa: PLC0415 - needs the extra
        from pladapt.testing.running import run_contract  # noqa: PLC0415 - the same
    found, known = _found(part, kind)
    options = named_values(set_ or (), "--set")
    kind_ = known or _kind_of(found) or _kind_of(_made(found, part, options))
    if kind_ is None:
        raise InputError(
            f"{part!r} has none of the methods {[*_METHODS]} by which a part is known; give "
            f"--kind, one of {[*_CONTRACTS]}."
        )
    checks = run_contract(
        getattr(testing, _CONTRACTS[kind_]), _fixtures(kind_, found, part, options, predictor)
    )
    kept = _show(checks, part, kind_)
    if as_json:
        print_json(part=part, kind=kind_, kept=kept, checks=[asdict(each) for each in checks])
    if not kept:
        raise typer.Exit(1)


def _found(part: str, kind: str | None) -> tuple[Any, Kind | None]:
    """Return what a part's name or place says, and its kind where that is known."""
    given = next((each for each in get_args(Kind) if each == kind), None)
    place, colon, name = part.rpartition(":")
    if not colon:
        return _installed(part, given)
    try:
        if place.endswith(".py"):
            module = load_module(Path(place))
        else:
            sys.path.insert(0, os.getcwd())  # noqa: PTH109 - a text, as in python -m
            module = importlib.import_module(place)
        return getattr(module, name), given
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{part!r} cannot be imported: {in_words(error).rstrip('.')}.") from error


def _installed(name: str, kind: Kind | None) -> tuple[Any, Kind]:
    """Return the factory of an installed part, and its kind."""
    manager = default_manager()
    found = [
        (each, provider, registration)
        for each in _CONTRACTS
        if kind in (None, each)
        for provider, registration in manager.registrations(each)
        if registration.name == name
    ]
    if not found:
        raise InputError(
            f"No installed plugin offers {name!r}; `pladapt plugins` lists what they offer. Give "
            "what is not installed as my_package:Name or my_file.py:Name."
        )
    if len(found) > 1:
        offered = ", ".join(f"the {each} of {provider}" for each, provider, _ in found)
        raise InputError(f"{name!r} is offered as {offered}; give --kind, or uninstall one.")
    (each, provider, registration) = found[0]
    return factory_of(registration, provider), each


def _kind_of(part: Any) -> Kind | None:
    """Return the kind of a part, or of what a class makes, by its methods."""
    if type(part).__name__ == "Recipe":
        return "recipe"
    return next((kind for method, kind in _METHODS.items() if hasattr(part, method)), None)


def _made(found: Any, part: str, options: Mapping[str, Any]) -> Any:
    """Make the part anew, so that no check sees what another one did."""
    if not inspect.isclass(found) and _kind_of(found) is not None:
        return deepcopy(found)
    try:
        return found(**options)
    except Exception as error:
        raise InputError(
            f"{part!r} cannot be made with {dict(options)}: {in_words(error).rstrip('.')}. Give "
            "its parameters with --set NAME=VALUE."
        ) from error


def _fixtures(
    kind: Kind, found: Any, part: str, options: Mapping[str, Any], predictor: str | None
) -> dict[str, Callable[[], Any]]:
    """Return what makes each of the contract's fixtures."""
    from pladapt.testing.checks import Sigmoid, some_labelled, some_predictor  # noqa: PLC0415

    if kind == "recipe":
        return {"make": lambda: found, "options": lambda: options}
    made = partial(_made, found, part, options)
    if kind == "evaluator" and "samples" not in options and _takes_samples(found):
        made = partial(_made, found, part, {"samples": some_labelled(), **options})
    fixtures: dict[str, Callable[[], Any]] = {kind: made}
    if kind in ("retrainer", "evaluator"):
        fixtures["predictor"] = some_predictor if kind == "retrainer" else Sigmoid
    if predictor is not None:
        fixtures["predictor"] = partial(_made, _found(predictor, None)[0], predictor, {})
    made()  # what cannot be made at all is said once
    return fixtures


def _takes_samples(found: Any) -> bool:
    return callable(found) and "samples" in inspect.signature(found).parameters


def _show(checks: list[Check], part: str, kind: Kind) -> bool:
    """Print a line for each check, and return whether all are kept."""
    failed = [each for each in checks if each.outcome == "failed"]
    for each in checks:
        word = {"passed": "ok     ", "failed": "FAILED ", "skipped": "skipped"}[each.outcome]
        print_line(f"{word} {each.promise.replace('``', '')}")
        if each.message:
            print_line(textwrap.indent(each.message, " " * 8))
    what = f"{len(failed)} of {len(checks)} checks failed" if failed else f"{len(checks)} checks"
    print_line(f"{part} {'is not yet' if failed else 'is'} {article(kind)} {kind}: {what}.")
    return not failed
