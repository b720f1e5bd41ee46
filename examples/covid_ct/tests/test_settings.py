"""Every choice has a name, is checked when it is made, and does what it says."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from pladapt import InputError, Rules
from pladapt.evaluation.calibration import DEFAULT_CUTOFFS
from pladapt.torch import fit
from pladapt_covid_ct.experiment import run_experiment
from pladapt_covid_ct.options import with_settings
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.retraining import (
    ContinuedAdam,
    save_optimizer,
    selector,
    training_options,
)
from pladapt_covid_ct.settings import Settings

TINY = Settings(
    size=32, encoder="tu-test_resnet", encoder_weights="none", epochs=1, min_pixels=0, device="cpu"
)


def silent(stage, done, total):
    assert 0 <= done <= total


# What is checked at once


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 100},
        {"epochs": 0},
        {"patience": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"fold": 5},
        {"flip": "up"},
        {"slices": "some"},
        {"lesions": "three"},
        {"effusion": "maybe"},
        {"lungs": "breath"},
        {"window": "600"},
        {"window": "600:-1024"},
        {"window": "low:high"},
        {"order": "any"},
        {"statistics": "image"},
        {"interpolation": "spline"},
        {"cutoffs": "0:1:0.1"},
        {"cutoffs": "0.1:0.9"},
        {"cutoffs": "0.1:0.9:0"},
        {"cutoffs": "0.9:0.1:0.1"},
        {"cutoffs": "0.5,0.4"},
        {"cutoffs": "half"},
        {"calibration": "slice"},
        {"min_pixels": -1},
        {"limit": 1.1},
        {"quantile": -0.1},
        {"quantile": 1.0},
        {"ema": 1.0},
        {"ema": -0.1},
        {"top_k": 0},
        {"top_k": 0.0},
        {"top_k": 1.5},
        {"source_ratio": -1.0},
        {"retrain_from": "scratch"},
        {"optimiser": "old"},
        {"retrain_from": "encoder", "optimiser": "continued"},
        {"validation": "target"},
    ],
    ids=str,
)
def test_a_value_that_means_nothing_is_refused_by_its_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Settings(**wrong)


def test_the_default_grid_is_the_librarys():
    assert Settings().cutoff_grid == DEFAULT_CUTOFFS


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("0.3", (0.3,)),
        ("0.2,0.5,0.7", (0.2, 0.5, 0.7)),
        ("0.1:0.3:0.1", (0.1, 0.2, 0.3)),
        ("0.1:0.35:0.1", (0.1, 0.2, 0.3)),
    ],
)
def test_a_grid_is_a_range_or_a_list(text, grid):
    assert Settings(cutoffs=text).cutoff_grid == grid


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, 10),
        ({"top_k": 0.5}, 20),
        ({"top_k": 1.0}, 40),
        ({"top_k": 1}, 1),
        ({"top_k": 7}, 7),
        ({"top_k": 0.001}, 1),
    ],
)
def test_a_number_or_a_fraction_of_the_slices_is_kept(given, kept):
    assert Settings(**given).most_kept(40) == kept


# Selection


def scores(ci, pixels):
    return pa.table(
        {
            "id": [f"{index:02}" for index in range(len(ci))],
            "group": ["a"] * len(ci),
            "score": np.array(ci, float),
            "pixels": np.array(pixels, np.int64),
        }
    )


def test_a_quantile_is_of_the_indices_that_pass_the_other_rules():
    table = scores([0.9, 0.8, 0.7, 0.6, 0.5, 0.99, np.nan], [9, 9, 9, 9, 9, 1, 0])
    settings = Settings(min_pixels=5, limit=0.55, quantile=0.5, top_k=1.0)
    selection = selector(settings, 0.5, len(table)).select(table)
    assert selection.kept == ("00", "01")  # of 0.9, 0.8, 0.7 and 0.6 the median is 0.75
    assert selection.dropped == {
        "02": "quantile",
        "03": "quantile",
        "04": "limit",
        "05": "min_pixels",
        "06": "min_pixels",
    }


def test_the_selector_has_the_settings_rules():
    found = selector(Settings(limit=0.8, top_k=0.03), (0.4, 0.6), 100)
    assert found.rules == Rules(min_pixels=50, limit=0.8, top_k=3)
    assert found.cutoff == (0.4, 0.6)


# Retraining


def test_training_and_retraining_average_the_weights_where_it_is_asked_for():
    assert training_options(Settings()).ema is None
    assert training_options(Settings(ema=0.9)).ema == 0.9


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder, 0, patients={"A": 4, "C": 2}, slices=4, size=48)
    return folder


def run(data, out, **choices):
    settings = replace(TINY, **choices)
    return run_experiment(data, "A", ["C"], settings=settings, out=out, progress=silent)


def weights(out):
    path = out / "A-to-C" / "round-1" / "predictor" / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def default(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("default")
    run(data, out)
    return weights(out)


@pytest.mark.parametrize(
    "choice",
    [
        {"retrain_from": "encoder"},
        {"optimiser": "continued"},
        {"source_ratio": 1.0},
        {"validation": "pseudo-labels", "top_k": 1.0},
        {"flip": "none"},
        {"zoom": 0.3},
        {"cutoffs": "0.3"},
        {"calibration": "group", "cutoffs": "0.2,0.3"},
        {"order": "normalise-then-mask"},
        {"window": "none"},
        {"slices": "infected"},
    ],
    ids=str,
)
def test_a_choice_is_in_the_manifest_changes_the_model_and_is_resumed(
    data, default, tmp_path, choice
):
    outcome = run(data, tmp_path, **choice)
    first = weights(tmp_path)
    assert first != default
    config = json.loads((tmp_path / "run.json").read_text())["config"]["settings"]
    assert choice.items() <= config.items()
    again = run(data, tmp_path, **choice)
    assert weights(tmp_path) == first
    one, two = (o.targets["C"].after["overlap"].summary for o in (outcome, again))
    assert one["mean"].to_pylist() == pytest.approx(two["mean"].to_pylist(), nan_ok=True)


def test_a_fixed_cutoff_is_taken_as_it_is(data, tmp_path):
    assert run(data, tmp_path, cutoffs="0.3").trained.calibration.cutoff == 0.3


def test_an_optimiser_goes_on_where_the_source_ended(tmp_path):
    torch.manual_seed(0)
    module = torch.nn.Conv2d(1, 1, 1)
    adam = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(3):
        module(torch.ones(1, 1, 2, 2)).sum().backward()
        adam.step()
    save_optimizer(adam.state_dict(), tmp_path / "optimizer.safetensors")
    make = ContinuedAdam(tmp_path / "optimizer.safetensors")
    continued = make(module.parameters())
    assert continued.param_groups[0]["lr"] == 0.01
    for parameter in module.parameters():
        assert continued.state[parameter]["step"] == 3
        for name in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(continued.state[parameter][name], adam.state[parameter][name])
    assert len(make.describe()["sha256"]) == 64


def test_the_fit_gives_the_state_that_its_optimiser_ended_with(data, tmp_path):
    outcome = run(data, tmp_path)
    trained = outcome.trained
    result = fit(
        trained.predictor.module, trained.train, trained.validation, training_options(TINY)
    )
    steps = {int(entry["step"]) for entry in result.optimizer["state"].values()}
    assert steps == {-(-len(trained.train) // TINY.batch_size)}


# The command line


def test_a_command_has_an_option_for_each_setting_and_gets_them_together():
    @with_settings(without=["fold"])
    def command(*, out: str, settings: Settings) -> None:
        seen.append((out, settings))

    seen = []
    names = [item.name for item in fields(Settings) if item.name != "fold"]
    assert list(inspect.signature(command).parameters) == ["out", *names]
    given = {name: getattr(TINY, name) for name in names}
    command(out="there", **given)
    assert seen == [("there", TINY)]


@pytest.mark.parametrize(("text", "top_k"), [("1", 1), ("1.0", 1.0), ("0.25", 0.25), ("40", 40)])
def test_a_command_tells_a_number_from_a_fraction(text, top_k):
    @with_settings()
    def command(*, settings: Settings) -> None:
        seen.append(settings.top_k)

    seen = []
    command(**{item.name: getattr(TINY, item.name) for item in fields(Settings)} | {"top_k": text})
    assert (seen, type(seen[0])) == ([top_k], type(top_k))
