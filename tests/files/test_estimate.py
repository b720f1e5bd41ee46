"""Estimating from the command line: statistics with masks, then an estimate of other folders."""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pladapt import SourceStatistics
from pladapt.cli.application import application

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from typer.testing import Result

    Write = Callable[[Path, NDArray[Any]], Path]

NETWORK = """
import torch
from torch import nn

def net():
    conv = nn.Conv2d(1, 1, 1)
    nn.init.constant_(conv.weight, 20)
    nn.init.constant_(conv.bias, -10)
    return conv
"""
MODEL = "tiny_estimated:net --weights net.safetensors --device cpu --group-by ^(p\\d+)"


def pladapt(line: str) -> Result:
    return CliRunner().invoke(application(), line.split())


def discs(folder: Path, write: Write, *, seed: int, brighter: float = 0.0) -> None:
    """Write images of bright discs to a folder, and their masks to another beside it."""
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    for index in range(10):
        (v, u), radius = draws.uniform(5, 11, 2), draws.uniform(2, 5)
        mask = ((y - v) ** 2 + (x - u) ** 2 < radius**2).astype(np.uint8)
        image = 0.25 + 0.5 * mask + draws.normal(0, 0.15, mask.shape) + brighter
        write(folder / f"p{index}.npy", image.astype(np.float32))
        write(folder.with_name(f"{folder.name}-masks") / f"p{index}.npy", mask)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, its statistics, and batches of images."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("lightning", reason="lightning is not installed")
    from pladapt.torch import save_module

    made = tmp_path_factory.mktemp("estimate")

    def write(path: Path, array: NDArray[Any]) -> Path:
        path.parent.mkdir(exist_ok=True)
        np.save(path, array)
        return path

    discs(made / "source", write, seed=0)
    discs(made / "monday", write, seed=1)
    discs(made / "tuesday", write, seed=2, brighter=0.3)
    (made / "tiny_estimated.py").write_text(NETWORK)
    names: dict[str, Any] = {}
    exec(NETWORK, names)  # noqa: S102 - the network above
    save_module(names["net"](), made / "net.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.syspath_prepend(made)
        line = f"source source --truth source-masks -o source.npz --model {MODEL}"
        measured = pladapt(line)
        assert measured.exit_code == 0, measured.output
        assert "Estimates of a DSC: off by" in measured.stdout
        yield made


def test_the_statistics_hold_what_an_estimate_needs(folder: Path) -> None:
    assert SourceStatistics.load(folder / "source.npz").estimation is not None


def test_a_batch_has_an_estimate_for_each_group_and_in_all(folder: Path) -> None:
    result = pladapt(f"estimate {MODEL.replace(':net', ':net monday', 1)} --source source.npz")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Estimated DSC 0.")
    assert "90 % interval" in result.stdout
    assert all(f"p{index}" in result.stdout for index in range(10))


def test_an_estimate_is_an_object_of_json_as_well(folder: Path) -> None:
    line = f"estimate {MODEL.replace(':net', ':net monday', 1)} --source source.npz --json"
    result = pladapt(line)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["low"] <= found["dsc"] <= found["high"]
    assert [row["group"] for row in found["groups"]] == [f"p{index}" for index in range(10)]
    assert "Estimated DSC 0." in result.stderr


def test_masks_beside_the_images_are_warned_of(folder: Path, tmp_path: Path) -> None:
    for name in ("images", "Masks"):
        shutil.copytree(folder / "monday", tmp_path / name)
    model = MODEL.replace(":net", f":net {tmp_path}", 1).replace("^(p", "^.*(p")
    line = f"estimate {model} --source source.npz"
    with pytest.warns(UserWarning, match=r"10 of 20 images are in folders .* such as Masks/p0"):
        assert pladapt(line).exit_code == 0


@pytest.mark.parametrize(
    ("batch", "least", "exit_status"),
    [("monday", "0.05", 0), ("monday", "0.999", 3), ("tuesday", "0.05", 4)],
)
def test_a_table_grows_and_the_exit_status_tells(
    folder: Path, tmp_path: Path, batch: str, least: str, exit_status: int
) -> None:
    status = "estimated" if batch == "monday" else "unknown"
    line = f"estimate {MODEL.replace(':net', f':net {batch}', 1)} --source source.npz"
    table = tmp_path / "monitoring.csv"
    for name in ("", " --name again"):
        result = pladapt(f"{line} --at-least {least} --append {table}{name}")
        assert result.exit_code == exit_status, result.output
        assert "Left out" not in result.output, result.output
    with table.open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["name"], second["name"]) == (batch, "again")
    assert (first["status"], first["images"], first["groups"]) == (status, "10", "10")
    assert bool(first["dsc"]) == (status == "estimated")
    assert bool(first["reason"]) == (status != "estimated")
    if first["dsc"]:
        assert float(first["low"]) <= float(first["dsc"]) <= float(first["high"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--source source.npz --append table.txt", "its name must end in .csv"),
        ("--source gone.npz", "There is no file gone.npz"),
        ("--source source.npz --append other.csv", "has the columns"),
    ],
)
def test_errors_say_what_to_do(folder: Path, line: str, said: str) -> None:
    (folder / "other.csv").write_text("a,b\n1,2\n")
    result = pladapt(f"estimate {MODEL.replace(':net', ':net monday', 1)} {line}")
    assert result.exit_code == 1
    assert said in str(result.exception)


def test_masks_are_no_images_and_need_a_model(folder: Path) -> None:
    nested = pladapt(f"source source --truth source/masks -o nested.npz --model {MODEL}")
    assert "keep the masks in a folder apart" in str(nested.exception)
    alone = pladapt("source source --truth source-masks -o alone.npz")
    assert "no --model that they are for" in str(alone.exception)
