"""What is given to `adapt` by mistake is said before any work."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pladapt
from pladapt.errors import DataError, InputError
from pladapt.functional.numbers import plain, real, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGE = np.full((1, 4, 4), 0.75, np.float32)
SAMPLES = [pladapt.Sample(f"s{i}", "g", IMAGE) for i in range(3)]


class Parts:
    """A predictor that is sure of every pixel, and a retrainer that changes nothing."""

    def predict(self, images: Any) -> Any:
        return images

    def retrain(self, predictor: Any, _: Any) -> Any:
        return predictor


def adapt(**given: Any) -> Any:
    """Adapt with parts that work, but for what is given."""
    selector = pladapt.selector("certainty-index", cutoff=0.5, min_pixels=0)
    whole_run = {"predictor": Parts(), "target": SAMPLES, "selector": selector}
    return pladapt.adapt(**whole_run | {"retrainer": Parts()} | given)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (iter(SAMPLES), "make a list"),
        ({s.id: s for s in SAMPLES}, "of a mapping one of its values"),
        (np.stack([IMAGE] * 3), "is a ndarray without 'id'"),
        ([("a", IMAGE)], "is a tuple without 'id'"),
        ([pladapt.Sample(1, 2, IMAGE)], "must be strings"),  # type: ignore[arg-type]  # by mistake
        ([], "empty"),
    ],
    ids=["generator", "mapping", "array", "tuples", "numbers", "empty"],
)
def test_a_target_of_anything_but_samples_is_refused(target: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        adapt(target=target)


def test_an_image_that_is_no_array_is_said() -> None:
    listed = [pladapt.Sample(s.id, s.group, IMAGE.tolist()) for s in SAMPLES]
    with pytest.raises(DataError, match="an image that is a list"):
        adapt(target=listed)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"predictor": object()}, "The predictor is a object, without 'predict'"),
        ({"predictor": Parts}, "the class Parts"),
        ({"retrainer": object()}, "The retrainer is a object"),
        ({"selector": object()}, "The selector is a object"),
        ({"gates": [object()]}, "The gate is a object"),
        ({"rounds": 1.5}, "rounds is 1.5; give a whole number"),
        ({"batch_size": "8"}, "batch_size is '8'"),
        ({"max_errors": "5%"}, "max_errors is '5%'"),
        ({"evaluators": object()}, "The evaluators are a object; give a list"),
    ],
)
def test_a_part_or_option_of_another_kind_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        adapt(**given)


def test_a_run_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(InputError, match="is a file"):
        adapt(workdir=tmp_path / "run")


@pytest.mark.parametrize("number", [np.int64(3), np.uint8(3), np.array(3), 3])
def test_whole_numbers_of_any_library_are_pythons(number: Any) -> None:
    assert type(whole("n", number, 1)) is int
    assert type(plain(number)) is int
    assert real("n", number) == 3


@pytest.mark.parametrize("call", [lambda: whole("n", 0, 1), lambda: real("n", "a")])
def test_other_numbers_are_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match="n is"):
        call()


def test_amounts_of_numpy_are_those_of_python() -> None:
    assert pladapt.selector("certainty-index", cutoff=0.5, top_k=np.int64(2)).rules.top_k == 2
    with pytest.raises(InputError, match="top_k is 'all'"):
        pladapt.Rules(top_k="all")  # type: ignore[arg-type]  # by mistake


@pytest.mark.parametrize("options", [{"cutoff": "0.5"}, {"cutoff": None}, {"ci_limit": "high"}])
def test_what_is_no_number_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="give a number"):
        pladapt.selector("certainty-index", **{"cutoff": 0.5} | options).score(
            pladapt.Prediction(("a",), IMAGE[None])
        )
