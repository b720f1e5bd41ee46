"""The library knows of no modality, organ or disease: those belong to the examples.

The command line's help may name one to explain an option.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pladapt

WORDS = re.compile(
    r"hounsfield|\bhu\b|\bct\b|tomograph|\bmri?\b|ultraso|x-?ray|radiolog|"
    r"covid|pneumonia|infect|lung|chest|thora|brain|liver",
    re.IGNORECASE,
)
PACKAGE = Path(pladapt.__file__).parent
MODULES = sorted(set(PACKAGE.rglob("*.py")) - set((PACKAGE / "cli").rglob("*.py")))


def without_what_cites_the_paper(source: str) -> str:
    """Return the source without the docstrings that name the paper."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    for docstring in (ast.get_docstring(node, clean=False) for node in nodes):
        if docstring and "paper" in docstring:
            source = source.replace(docstring, "")
    return source


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_speaks_of_a_modality(path: Path) -> None:
    assert WORDS.findall(without_what_cites_the_paper(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('lung = 1\n"""Where the chest is, as in the paper."""', ["lung", "chest"]),
        ('def f():\n    """Of the paper, on lungs."""\n    return "HU"', ["HU"]),
        ("structure = ct_like = 1", []),
    ],
)
def test_it_would_be_found(source: str, found: list[str]) -> None:
    assert WORDS.findall(without_what_cites_the_paper(source)) == found
