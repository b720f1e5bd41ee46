from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import pladapt
from pladapt.errors import MissingDependencyError
from pladapt.optional import needs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.torch


class Absent:
    """An import hook that makes modules missing."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("pladapt.torch")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("missing", ["torch", "lightning", "safetensors"])
def test_a_missing_part_of_the_extra_ends_in_the_command_to_run(
    missing: str, forget: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, missing, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent(missing), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match=missing) as caught:
        importlib.import_module("pladapt.torch")
    assert str(caught.value).endswith("pip install 'pladapt[torch]'")
    assert caught.value.name == missing
    assert isinstance(caught.value, ModuleNotFoundError)


def test_what_trains_nothing_does_not_wait_for_lightning() -> None:
    script = (
        "import sys, torch, pladapt.torch as pt\n"
        "predictor = pt.TorchPredictor(torch.nn.Conv2d(1, 1, 1), activation='sigmoid')\n"
        "predictor.predict(torch.zeros(1, 1, 4, 4).numpy())\n"
        "import pladapt\n"
        "pladapt.recipe('robust')\n"
        "print(sorted({'lightning', 'torchmetrics'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("name", ["paper", "robust"])
def test_a_recipe_that_needs_the_extra_ends_in_the_command_to_run(
    name: str, forget: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (f"pladapt.recipes.{name}", "lightning"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent("lightning"), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match=r"pip install 'pladapt\[torch\]'$"):
        pladapt.recipe(name)


def test_what_is_missing_inside_an_installed_module_is_not_translated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed_but_broken.py").write_text("import absent_part\n")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        pytest.raises(ModuleNotFoundError, match="absent_part") as caught,
        needs("torch", "installed_but_broken"),
    ):
        importlib.import_module("installed_but_broken")
    assert not isinstance(caught.value, MissingDependencyError)
