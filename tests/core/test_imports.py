from __future__ import annotations

import subprocess
import sys

import pytest

import pladapt

FRAMEWORKS = ("torch", "lightning", "onnxruntime", "jax", "cupy", "ray", "safetensors")
OTHERS = ("typer", "rich", "click", "matplotlib", "scipy", "pandas", "pytest", "hypothesis")


def modules_after(code: str) -> set[str]:
    """Return the packages that a fresh interpreter has loaded after the code."""
    program = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_importing_the_core_loads_no_framework_and_nothing_of_the_command_line() -> None:
    assert modules_after("import pladapt") & {*FRAMEWORKS, *OTHERS} == set()


def test_scoring_and_selecting_load_no_framework() -> None:
    code = """
import numpy, pladapt
selector = pladapt.plugins.PluginManager().build("selector", "certainty-index", min_pixels=1)
prediction = pladapt.Prediction(("a",), numpy.full((1, 1, 4, 4), 0.75))
assert selector.score(prediction)["score"] == 0.75
assert selector.label(prediction).all()
"""
    assert modules_after(code) & {*FRAMEWORKS, *OTHERS} == set()


@pytest.mark.parametrize("name", ["fine-tune", "torch", "paper", "robust"])
def test_the_parts_that_need_a_framework_are_listed_without_it(name: str) -> None:
    code = f"""
import pladapt
plugins = pladapt.plugins.PluginManager()
kinds = ("retrainer", "predictor", "recipe")
assert {name!r} in [item.name for kind in kinds for _, item in plugins.registrations(kind)]
"""
    assert modules_after(code) & set(FRAMEWORKS) == set()


def test_at_most_forty_names_are_at_the_top() -> None:
    assert len(pladapt.__all__) <= 40
