from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from pladapt.cli.application import application
from pladapt.errors import InputError, MissingDataError, PluginError
from pladapt.plugins import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typer.testing import Result

    from pladapt.errors import PladaptError

PARTS = """
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

import pladapt
from pladapt.predictors import LogitShiftPredictor
from pladapt.testing.checks import Sigmoid


@dataclass(frozen=True, kw_only=True)
class Sound(pladapt.Rules):
    weight: float = 1.0

    def score(self, prediction):
        last = np.asarray(prediction.probabilities)[:, -1]
        axes = tuple(range(1, last.ndim))
        return {"score": last.mean(axis=axes), "pixels": (last > 0.5).sum(axis=axes)}

    def label(self, prediction):
        return pladapt.hard_labels(prediction.probabilities)


class NoPixels(Sound):
    def score(self, prediction):
        return {"score": super().score(prediction)["score"]}


class Relative(Sound):
    def score(self, prediction):
        found = dict(super().score(prediction))
        return found | {"score": found["score"] - found["score"].max()}


class Dividing(Sound):
    def score(self, prediction):
        return 1 / 0


class Idle:
    def retrain(self, predictor, labels):
        return predictor


class Learning:
    def retrain(self, predictor, labels):
        return replace(predictor, bias=0.3)


@dataclass
class Counting:
    calls: int = 0

    def retrain(self, predictor, labels):
        self.calls += 1
        return replace(predictor, bias=float(self.calls))


class Shapeless:
    def __init__(self, samples):
        self.samples = samples

    def evaluate(self, predictor):
        ids = [sample.id for sample in self.samples]
        samples = pa.table({"id": ids, "group": ids})
        return pladapt.Evaluation(samples, pa.table({"metric": ["error"], "mean": [0.5]}))


class Losing(LogitShiftPredictor):
    def with_predictor(self, predictor):
        return Losing(predictor, 0.0)


def losing():
    return Losing(Sigmoid(), 1.0)


def start():
    return Sigmoid()


def unready():
    raise OSError("No file.")


nothing = 3
instance = Sound(top_k=2)
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Result]]:
    (tmp_path / "some_parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    application_ = application(PluginManager())
    yield lambda line: CliRunner().invoke(application_, ["check", *line.split()])
    sys.modules.pop("some_parts", None)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("some_parts.py:Sound", "a selector"),
        ("some_parts:Sound --set top_k=2", "a selector"),
        ("some_parts.py:instance", "a selector"),
        ("some_parts.py:Learning --predictor some_parts.py:start", "a retrainer"),
        ("some_parts.py:start", "a predictor"),
        ("do-no-harm", "a gate"),
        ("overlap --kind evaluator", "an evaluator"),
    ],
)
def test_a_sound_part_passes(check: Callable[[str], Result], line: str, kind: str) -> None:
    result = check(line)
    assert result.exit_code == 0, result.output
    last = result.stdout.splitlines()[-1]
    assert last.startswith(f"{line.split(maxsplit=1)[0]} is {kind}: ")
    assert "FAILED" not in result.stdout


@pytest.mark.parametrize(
    ("line", "promise", "words"),
    [
        ("some_parts.py:NoPixels", "score returns pixels", "without 'pixels', how many are above"),
        ("some_parts.py:Relative", "the same alone and in company", "depends on the other samples"),
        ("some_parts.py:Dividing", "score returns columns", "ZeroDivisionError: division by zero"),
        ("some_parts.py:Shapeless", "a row per aggregation", "expected {'aggregation': 'string'"),
        (
            "some_parts.py:Idle --predictor some_parts.py:start",
            "predicts the same as before",
            "retrain returned the predictor that it was given",
        ),
        (
            "some_parts.py:Counting --predictor some_parts.py:start",
            "A run that goes on",
            "what an earlier call has left",
        ),
        ("some_parts.py:losing", "What wraps a predictor", "it predicts otherwise"),
    ],
)
def test_a_broken_part_fails_in_words(
    check: Callable[[str], Result], line: str, promise: str, words: str
) -> None:
    result = check(line)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    (number,) = [n for n, each in enumerate(lines) if each.startswith("FAILED") and promise in each]
    message = []
    for each in lines[number + 1 :]:
        if not each.startswith(" " * 8):
            break
        message.append(each)
    assert words in "\n".join(message)
    assert "is not yet" in lines[-1]


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("some_parts.py:nothing", InputError, "'some_parts.py:nothing' cannot be made with {}"),
        ("some_parts.py:Gone", PluginError, "AttributeError"),
        ("no_such_package:Gone", PluginError, "ModuleNotFoundError"),
        ("gone.py:Sound", MissingDataError, "no file"),
        ("some_parts.py:Sound --set colour=red", InputError, "unexpected keyword argument"),
        ("some_parts.py:unready", InputError, "with {}: OSError: No file. Give its parameters"),
        ("nobody", InputError, "No installed plugin offers 'nobody'"),
        ("overlap --kind colour", InputError, "no kind 'colour' to check"),
        ("overlap --kind selector", InputError, "No installed plugin offers 'overlap'"),
    ],
)
def test_what_cannot_be_checked_says_so(
    check: Callable[[str], Result], line: str, error: type[PladaptError], words: str
) -> None:
    result = check(line)
    assert isinstance(result.exception, error), result.output
    assert words in str(result.exception)
