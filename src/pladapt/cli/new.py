"""``pladapt new``: a small project to begin a plugin with."""

from __future__ import annotations

import importlib.resources
import importlib.util
import keyword
import re
from pathlib import Path
from string import Template
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import typer

from pladapt.cli.options import writable
from pladapt.errors import InputError
from pladapt.storage import atomic_write

Kind: TypeAlias = Literal[
    "selector", "retrainer", "evaluator", "gate", "predictor", "network", "recipe"
]
_NEEDS: Final = dict.fromkeys(("retrainer", "network", "recipe"), "pladapt[torch]")
_CHECKED: Final = {
    "predictor": " --set path=model.json",
    "network": " --set target=FOLDER",
}
"""What a check has to be given."""
_FIRST: Final = {
    "predictor": 'echo \'{"scale": 4, "bias": -2}\' > model.json\n',
    "network": "python -m $module FOLDER\n",
}
"""What makes that."""


def new(
    kind: Annotated[Kind, typer.Argument(help="What the plugin offers.")],
    name: Annotated[str, typer.Argument(help="The module's name, such as my_margin.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            callback=writable,
            help="The folder to write.  [default: NAME]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a small, complete plugin: a project that installs and passes its tests as it is.

    It holds pyproject.toml with the entry point, the module, a test, and a README.
    """
    folder = output or Path(name)
    for path, text in project(kind, name).items():
        if (folder / path).exists():
            raise InputError(f"{folder / path} is there already; give another name or --output.")
        _write(folder / path, text)
    typer.echo(f"{folder}: {article(kind)} {kind} by the name {name.replace('_', '-')!r}. Next:")
    typer.echo(f"  pip install -e '{folder}[test]'\n  pytest {folder}")


def project(kind: Kind, name: str) -> dict[str, str]:
    """Return the files of a new plugin, by their place in its folder.

    Raises:
        InputError: The name is none of a module, or there is a module of that name.
    """
    _check_name(name)
    words = {
        "kind": kind,
        "article": article(kind).capitalize(),
        "module": name,
        "name": name.replace("_", "-"),
        "distribution": f"pladapt-{name.replace('_', '-')}",
        "part": "".join(word.capitalize() for word in name.split("_")),
        "needs": _NEEDS.get(kind, "pladapt"),
        "checked": _CHECKED.get(kind, ""),
        "first": Template(_FIRST.get(kind, "")).substitute(module=name),
    }
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{name}.py": f"{kind}/module.py",
        f"{name}_plugin.py": f"{kind}/plugin.py",
        f"tests/test_{name}.py": f"{kind}/test.py",
    }
    return {path: _filled(template, words) for path, template in files.items()}


def article(kind: str) -> str:
    """Return the article that stands before a kind."""
    return "an" if kind[0] in "aeiou" else "a"


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise InputError(
            f"The name is {name!r}; give lower-case words joined by underscores, as my_margin."
        )
    if importlib.util.find_spec(name) is not None and not Path(name).is_dir():
        raise InputError(f"There is a module {name!r} already; give another name.")


def _filled(template: str, words: dict[str, Any]) -> str:
    found = importlib.resources.files("pladapt.cli").joinpath("templates", f"{template}.txt")
    return Template(found.read_text(encoding="utf-8")).substitute(words)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""What can be begun with."""
