from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from pladapt.cli.application import application
from pladapt.cli.new import KINDS, project
from pladapt.errors import InputError
from pladapt.plugins import PluginManager

if TYPE_CHECKING:
    from typer.testing import Result

    from pladapt.cli.new import Kind


def new(line: str) -> Result:
    return CliRunner().invoke(application(PluginManager()), ["new", *line.split()])


def test_a_project_is_written_and_never_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = new("selector my_margin")
    assert result.exit_code == 0, result.output
    assert "pip install -e 'my_margin[test]'" in result.stdout
    written = {
        str(path.relative_to("my_margin")): path.read_text()
        for path in Path().joinpath("my_margin").rglob("*")
        if path.is_file()
    }
    assert written == project("selector", "my_margin")
    assert 'my-margin = "my_margin_plugin"' in written["pyproject.toml"]
    assert "class MyMargin(BaseSelector)" in written["my_margin.py"]
    again = new("gate my_margin")
    assert isinstance(again.exception, InputError)
    assert "is there already; give another name or --output" in str(again.exception)
    assert "elsewhere: a gate by the name" in new("gate my_margin -o elsewhere").stdout
    assert "other: an evaluator by the name" in new("evaluator my_area -o other").stdout


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_module_that_compiles(kind: Kind) -> None:
    files = project(kind, "my_part")
    modules = ["my_part.py", "my_part_plugin.py", "pyproject.toml", "tests/test_my_part.py"]
    assert sorted(files) == ["README.md", *modules]
    for path, text in files.items():
        assert "$" not in text
        if path.endswith(".py"):
            compile(text, path, "exec")
            assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("evaluator", "An evaluator of .*\npladapt check my-part\n"),
        ("network", "\npython -m my_part FOLDER\npladapt check my-part --set target=FOLDER\n"),
        ("predictor", "\necho .* > model.json\npladapt check my-part --set path=model.json\n"),
    ],
)
def test_the_readme_makes_what_it_checks(kind: Kind, lines: str) -> None:
    assert re.search(lines, project(kind, "my_part")["README.md"], re.DOTALL)


@pytest.mark.parametrize("name", ["My", "my-margin", "1st", "class", "a__b", "", "json", "pladapt"])
def test_a_name_that_is_none_of_a_new_module_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"give lower-case words|There is a module"):
        project("selector", name)
