"""A simulated reviewer: ``python benchmarks/review/simulate.py --out DIR [--data DIR]``.

``--out`` may be the folder of the adaptation study, whose models and domains are then used. Every
finished cell is kept there, and found again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

HERE: Final = Path(__file__).parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(HERE), str(HERE.parent / "adaptation")]

from arguments import installed_weights, names, numbers  # noqa: E402 - beside the study
from domains import domain  # noqa: E402 - the same
from families import Config  # noqa: E402 - the same
from figures import summary  # noqa: E402 - beside this file
from orders import Asked, path_of, simulate  # noqa: E402 - the same
from pairs import PAIRS, SHIFTS  # noqa: E402 - beside the study
from review_page import write_page  # noqa: E402 - beside this file

from pladapt.storage import atomic_write  # noqa: E402 - after torch's threads are set

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAGE: Final = HERE.parents[1] / "docs" / "project" / "review-study.md"
_RESULTS: Final = HERE / "results.json"


def main() -> None:
    """Do what is not done yet of what was asked for, and write the page."""
    arguments = _arguments()
    if not arguments.page_only:
        config = Config(
            out=arguments.out,
            data=arguments.data,
            encoder_weights=installed_weights(),
            quick=arguments.quick,
            device=arguments.device,
        )
        asked = Asked(tuple(arguments.counts), arguments.draws)
        _run(config, arguments.pairs, arguments.seeds, asked)
        found = [summary(json.loads(path.read_text())) for path in _kept(arguments.out)]
        with atomic_write(arguments.results) as temporary:
            temporary.write_text(json.dumps({"quick": arguments.quick, "cells": found}, indent=0))
    write_page(json.loads(arguments.results.read_text(encoding="utf-8")), arguments.page)
    print(f"{arguments.results}\n{arguments.page}")


def _run(config: Config, pairs: Sequence[str], chosen: Sequence[int], asked: Asked) -> None:
    for seed in chosen:
        for name in pairs:
            if path_of(config.out, name, seed).exists():
                continue
            for letter in (PAIRS[name].source, PAIRS[name].target):
                domain(config, PAIRS[name].family, letter)
            simulate(config, name, seed, asked)
            print(f"{name}, seed {seed}: done", flush=True)


def _kept(out: Path) -> list[Path]:
    found = [path_of(out, name, seed) for name in SHIFTS for seed in range(10)]
    return [path for path in found if path.exists()]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where all is kept")
    parser.add_argument("--data", type=Path, help="the real images: covid_ct, nuclei and crack")
    parser.add_argument("--pairs", type=names(SHIFTS), default=[*SHIFTS], help="else all")
    parser.add_argument("--seeds", type=numbers, default=[0], help="0 unless given")
    parser.add_argument("--counts", type=numbers, default=[5, 10], help="5,10 unless given")
    parser.add_argument("--draws", type=int, default=1, help="random orders of a cell")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--quick", action="store_true", help="tiny images, to see that it works")
    parser.add_argument(
        "--page-only", action="store_true", help="run nothing: the page of --results"
    )
    parser.add_argument("--results", type=Path, help="JSON of what was found")
    parser.add_argument("--page", type=Path, help="the page")
    arguments = parser.parse_args()
    if arguments.out is None and not arguments.page_only:
        parser.error("give --out DIR, in which an interrupted simulation continues")
    apart = arguments.out if arguments.quick else None
    arguments.results = arguments.results or (apart / "results.json" if apart else _RESULTS)
    arguments.page = arguments.page or (apart / "page.md" if apart else _PAGE)
    return arguments


if __name__ == "__main__":
    main()
