"""The study of adaptation: ``python benchmarks/adaptation/study.py --data DIR --out DIR``.

Every model, prepared domain and finished row is kept in the folder, and found there again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes use two cores better than threads do
sys.path.insert(0, str(HERE))

import work  # noqa: E402 - beside this file
from arguments import installed_weights, names, numbers  # noqa: E402 - the same
from audits import audit_sources, audits_in  # noqa: E402 - the same
from domains import domain  # noqa: E402 - the same
from families import Config  # noqa: E402 - the same
from labels import labelled_in  # noqa: E402 - the same
from page import write_page  # noqa: E402 - the same
from pairs import NO_SHIFT, PAIRS, SHIFTS  # noqa: E402 - the same
from results import collect  # noqa: E402 - the same
from rows import ESSENTIAL, ORDER, USUAL  # noqa: E402 - the same

from pladapt.runs.manifest import open_run  # noqa: E402 - after torch's threads are set
from pladapt.storage import atomic_write  # noqa: E402 - after torch's threads are set

_PAGE: Final = HERE.parents[1] / "docs" / "project" / "adaptation-study.md"
_SIMULATED: Final = ("phantoms", "ultrasound")
_RESULTS: Final = HERE / "results.json"


def main() -> None:
    """Do what is not done yet of what was asked for, and write the page."""
    arguments = _arguments()
    if arguments.out is not None:
        config = Config(
            out=arguments.out,
            data=arguments.data,
            encoder_weights=arguments.encoder_weights or installed_weights(),
            quick=arguments.quick,
            device=arguments.device,
            size=arguments.size,
            max_images=arguments.max_images,
        )
        kept = ("size", "max_images", "device", "quick")
        settings = {name: getattr(config, name) for name in kept}
        open_run(config.out, settings)
        if not arguments.page_only:
            _run(config, arguments)
        with atomic_write(arguments.results) as temporary:
            found = collect(config.out) | {
                "audits": audits_in(config.out),
                "labelled": labelled_in(config.out),
            }
            temporary.write_text(json.dumps({"settings": settings, **found}))
    write_page(json.loads(arguments.results.read_text(encoding="utf-8")), arguments.page)
    print(f"{arguments.results}\n{arguments.page}")


def _run(config: Config, arguments: argparse.Namespace) -> None:
    for name in arguments.pairs:
        pair = PAIRS[name]
        for letter in (pair.source, pair.target):
            domain(config, pair.family, letter)
    for turn in work.tasks(arguments.pairs, arguments.seeds, arguments.rows):
        work.run(config, turn, arguments.jobs)
    audit_sources(config, arguments.pairs, arguments.seeds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where all is kept")
    parser.add_argument("--data", type=Path, help="the real images: covid_ct, nuclei and crack")
    parser.add_argument(
        "--pairs",
        type=names(PAIRS),
        help=f"of {','.join(PAIRS)}; else all, or without --data the simulated",
    )
    parser.add_argument(
        "--rows", type=names(ORDER), help=f"of {','.join(ORDER)}; else {','.join(USUAL)}"
    )
    parser.add_argument("--seeds", type=numbers, default=[0, 1], help="0,1 unless given")
    parser.add_argument("--encoder-weights", type=Path, help="EfficientNet-Lite0's, from ImageNet")
    parser.add_argument("--size", type=int, default=96, help="of the real images, in pixels")
    parser.add_argument("--max-images", type=int, default=120, help="of a target, at most")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--jobs", type=int, default=1, help="tasks at once, each in a process")
    parser.add_argument("--quick", action="store_true", help="tiny phantoms, to see that it works")
    parser.add_argument(
        "--page-only",
        action="store_true",
        help="run nothing: the page of what is done in --out, or without it of --results",
    )
    parser.add_argument("--results", type=Path, help="JSON of what was found")
    parser.add_argument("--page", type=Path, help="the page")
    arguments = parser.parse_args()
    if arguments.out is None and not arguments.page_only:
        parser.error("give --out DIR, in which an interrupted study continues")
    if arguments.quick and arguments.out is None:
        parser.error("a quick run says nothing of adaptation: give --out for its own results")
    temporary = arguments.out if arguments.quick else None
    arguments.results = arguments.results or (temporary / "results.json" if temporary else _RESULTS)
    arguments.page = arguments.page or (temporary / "page.md" if temporary else _PAGE)
    pairs = [*SHIFTS, *NO_SHIFT]
    if arguments.data is None or arguments.quick:
        pairs = [name for name in pairs if PAIRS[name].family in _SIMULATED]
    arguments.pairs = arguments.pairs or pairs
    arguments.rows = arguments.rows or (ESSENTIAL if arguments.quick else USUAL)
    return arguments


if __name__ == "__main__":
    main()
