"""Options that several commands share are made of one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from pladapt.cli.options import Options, with_options


@dataclass(frozen=True, kw_only=True)
class Shared(Options):
    size: Annotated[int, typer.Option(help="How large.", min=1)] = 4
    name: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None


def run(line: str, *, without: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a command that prints its options, and return its exit status and what it prints."""
    app = typer.Typer()

    @app.command()
    @with_options(without=without)
    def show(word: str, *, shared: Shared, last: int = 0) -> None:
        """Show what was given."""
        typer.echo(f"{word} {shared.size} {shared.name} {sorted(shared.given)} {last}")

    result = CliRunner().invoke(app, line.split())
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a", "a 4 None [] 0"),
        ("a --size 4", "a 4 None ['size'] 0"),
        ("a --name x --name y --last 2", "a 4 ['x', 'y'] ['name'] 2"),
    ],
)
def test_a_command_is_given_the_object_and_what_was_said(line: str, expected: str) -> None:
    assert run(line) == (0, f"{expected}\n")


def test_the_options_keep_their_help_and_limits() -> None:
    status, shown = run("--help")
    assert status == 0
    assert "How large." in shown
    assert "Show what was given." in shown
    assert "--given" not in shown
    assert run("a --size 0")[0] == 2
    assert run("a --size 3", without=("size",))[0] == 2
    assert run("a", without=("size",)) == (0, "a 4 None [] 0\n")
