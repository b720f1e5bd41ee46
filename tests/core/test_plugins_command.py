from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

import pladapt
from pladapt import Registration, hookimpl
from pladapt.cli.application import application
from pladapt.errors import InputError
from pladapt.plugins import PluginManager, PluginWarning
from pladapt.selection.soft_dice import SoftDiceSelector

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result


def announced(name: str, loads: Callable[[], object]) -> Any:
    dist = SimpleNamespace(name=f"my-{name}", version="1.2")
    return SimpleNamespace(name=name, value=name, dist=dist, load=loads)


class Margin:
    @hookimpl
    def pladapt_selectors(self) -> list[Registration[Any]]:
        long = "Keeps the predictions that are furthest from the cut-off, which is " + "long " * 30
        return [
            Registration("margin", SoftDiceSelector, long),
            Registration("gone", "no_such_package:Part", "Gone."),
        ]


def broken() -> object:
    raise SystemExit(0)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    with pytest.warns(PluginWarning, match="'broken'"):
        plugins = PluginManager([announced("own", Margin), announced("broken", broken)])
    monkeypatch.setattr("pladapt.cli.plugins.default_manager", lambda: plugins)
    return lambda line: CliRunner().invoke(application(plugins), ["plugins", *line.split()])


def test_a_part_is_listed_with_its_distribution_and_parameters(
    listed: Callable[[str], Result],
) -> None:
    text = listed("selector").stdout
    assert "  margin - my-own 1.2\n    Keeps the predictions" in text
    assert f"  soft-dice - pladapt {pladapt.__version__}\n" in text
    assert "min_pixels=50, limit=None," in text
    assert "  gone - my-own 1.2\n    Gone.\n    PluginError: The plugin 'own' names" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "retrainers:" not in text


def test_a_name_that_two_plugins_offer_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = PluginManager([announced("one", Margin), announced("other", Margin)])
    monkeypatch.setattr("pladapt.cli.plugins.default_manager", lambda: plugins)
    text = CliRunner().invoke(application(plugins), ["plugins", "selector"]).stdout
    assert "  margin (a name given twice) - my-one 1.2\n" in text
    assert "  margin (a name given twice) - my-other 1.2\n" in text


def test_what_is_broken_is_listed_with_its_error(listed: Callable[[str], Result]) -> None:
    text = listed("selector").stdout
    after = text.partition("broken, and left out:\n")[2]
    assert after.startswith("  broken - my-broken 1.2\n")
    assert "SystemExit: 0" in after


def test_the_list_is_json_for_programs(listed: Callable[[str], Result]) -> None:
    found = json.loads(listed("evaluator --json").stdout)
    part = next(part for part in found["parts"] if part["name"] == "overlap")
    parameters = part.pop("parameters")
    assert part == {
        "kind": "evaluator",
        "name": "overlap",
        "plugin": "pladapt.plugins.builtins",
        "distribution": f"pladapt {pladapt.__version__}",
        "summary": "Measures DSC, SEN and SPC per sample, per group and pooled.",
        "problem": "",
    }
    assert parameters["samples"] is None
    assert (parameters["cutoff"], parameters["batch_size"]) == ("0.5", "8")
    (problem,) = found["broken"]
    assert problem["plugin"] == "broken"
    assert problem["distribution"] == "my-broken 1.2"
    assert "SystemExit: 0" in problem["message"]


def test_a_kind_that_does_not_exist_is_an_error(listed: Callable[[str], Result]) -> None:
    result = listed("selectors")
    assert isinstance(result.exception, InputError)
    assert "no kind 'selectors'; give one of selector, retrainer," in str(result.exception)


def command(factory: Any) -> PluginManager:
    class Plugin:
        @hookimpl
        def pladapt_commands(self) -> list[Registration[Any]]:
            return [Registration("own", factory, "Own.")]

    return PluginManager([announced("own", Plugin)])


@pytest.mark.parametrize(
    ("factory", "reason"),
    [(broken, "SystemExit: 0"), (lambda: None, r"None is no typer\.Typer")],
)
def test_a_command_that_cannot_be_made_is_left_out(factory: Any, reason: str) -> None:
    plugins = command(factory)
    with pytest.warns(PluginWarning, match=f"'own' of the plugin 'own' was left out: {reason}"):
        app = application(plugins)
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0
    assert [problem.plugin for problem in plugins.problems] == ["own"]


def test_a_command_is_offered() -> None:
    def make() -> typer.Typer:
        app = typer.Typer()
        app.callback(invoke_without_command=True)(lambda: typer.echo("said"))
        return app

    assert CliRunner().invoke(application(command(make)), ["own"]).stdout == "said\n"
