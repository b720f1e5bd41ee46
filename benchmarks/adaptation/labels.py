"""What a few labelled images of the target would choose: ``labels.py --out DIR``.

Images are drawn from the rows that the study has finished (``--out`` is its folder); what they
choose among, by the rule of `pladapt.evaluation.FewLabels`, is measured on the other images.
`study.py --page-only` puts the tables on the page.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from pairs import NO_SHIFT, PAIRS
from results import BATCH_NORM, MARGIN, ROBUST, SOURCE
from work import Task

from pladapt.evaluation.few_labels import FewLabels, clearly_better
from pladapt.functional.overlap import COUNTS, EMPTY_DSC, dsc
from pladapt.recipes.robust import RobustOptions
from pladapt.storage import atomic_write, read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

LABELLED: Final = "labelled.json"
NUMBERS: Final = (3, 5)
_CANDIDATES: Final = (ROBUST, SOURCE, BATCH_NORM, "paper")
_DRAWS: Final = 500


def counts_of(out: Path, pair: str, seed: int) -> dict[str, NDArray[np.float64]]:
    """Return each finished candidate's pixel counts ``(images, 4)``, in one order of images."""
    found = {}
    for row in _CANDIDATES:
        path = Task(pair, seed, row).path(out)
        if path.exists():
            table = read_table(path).sort_by("id")
            found[row] = np.stack([table[name].to_numpy() for name in COUNTS], axis=-1).astype(
                float
            )
    return found


def drawn(counts: Mapping[str, NDArray[np.float64]], number: int) -> Iterator[dict[str, float]]:
    """Yield for each draw the pooled DSC of the other images: of each candidate, and of the choice.

    Args:
        counts: By candidate; `robust` stays unless another is clearly better.
        number: How many images are labelled, at least one of them with foreground.
    """
    margin, errors = RobustOptions().labelled_margin, FewLabels.errors
    each = {
        name: dsc(rows[:, 0], rows[:, 1], rows[:, 2], empty=EMPTY_DSC)
        for name, rows in counts.items()
    }
    truth = counts[ROBUST][:, 0] + counts[ROBUST][:, 2]
    generator = np.random.default_rng(0)
    for _ in range(_DRAWS):
        chosen = generator.choice(len(truth), number, replace=False)
        if not truth[chosen].any():
            continue
        start = each[ROBUST][chosen]
        able = [
            n for n, dscs in each.items() if clearly_better(dscs[chosen], start, margin, errors)
        ]
        taken = max(able, key=lambda name: each[name][chosen].mean(), default=ROBUST)
        others = np.delete(np.arange(len(truth)), chosen)
        scores = {name: _pooled(rows[others]) for name, rows in counts.items()}
        yield scores | {"chosen": scores[taken]}


def _pooled(counts: NDArray[np.float64]) -> float:
    tp, fp, fn, _ = counts.sum(axis=0)
    return float(dsc(tp, fp, fn, empty=EMPTY_DSC))


def measure(out: Path) -> Iterator[dict[str, Any]]:
    """Yield for each cell and number of images what was drawn, in the mean and at the worst."""
    for path in sorted((out / "rows").glob("*/seed-*")):
        pair, seed = path.parent.name, int(path.name.removeprefix("seed-"))
        counts = counts_of(out, pair, seed)
        if pair not in PAIRS or not {ROBUST, SOURCE} <= counts.keys():
            continue
        for number in NUMBERS:
            draws = [*drawn(counts, number)] if number < len(counts[ROBUST]) else []
            if not draws:  # no image of the target has foreground
                continue
            chosen, robust, source = (
                np.array([draw[name] for draw in draws]) for name in ("chosen", ROBUST, SOURCE)
            )
            yield {
                "pair": pair,
                "seed": seed,
                "shifted": pair not in NO_SHIFT,
                "images": number,
                "source": float(source.mean()),
                "robust": float(robust.mean()),
                "chosen": float(chosen.mean()),
                "lowest": float((chosen - source).min()),
                "gained": float((chosen - robust > MARGIN).mean()),
                "lost": float((chosen - robust < -MARGIN).mean()),
                "below": float((chosen - source < -MARGIN).mean()),
            }


def labelled_in(out: Path) -> list[dict[str, Any]]:
    """Return what was measured, nothing where nothing was."""
    path = out / LABELLED
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def labelled_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the page's section."""
    if not rows:
        return
    yield "## With a few labelled images\n"
    yield (
        f"{_DRAWS} draws of so many images of each cell's target, one or more with foreground, and "
        "what they choose by the rule of `pladapt.evaluation.FewLabels` (what `--labelled` does), "
        "measured on the other images. They choose among `robust`, the model as it is, "
        "`batch-norm` and, where it was run, `paper`, at the source's cut-off. The candidates were "
        "made with the drawn images among the unlabelled ones, and the rule was chosen on these "
        "draws: read the figures as an upper bound. "
        "`python benchmarks/adaptation/labels.py` draws.\n"
    )
    yield (
        f"| labelled | cells | change of DSC over `robust` | draws above it by more than {MARGIN} "
        "| below it | below the model as it was | lowest, over the model as it was |"
    )
    yield f"|---|---:|{'---:|' * 5}"
    for number in NUMBERS:
        for shifted, words in ((True, "with a shift"), (False, "without")):
            mine = [r for r in rows if (r["images"], r["shifted"]) == (number, shifted)]
            if mine:
                yield f"| {number}, {words} | {_summary(mine)} |"
    yield "\nFive of them, the mean over the seeds:\n"
    yield "| pair | seeds | `source` | `robust` | with labels | lowest, over the model as it was |"
    yield "|---|---:|---:|---:|---:|---:|"
    for pair in PAIRS:
        mine = [r for r in rows if (r["pair"], r["images"]) == (pair, NUMBERS[-1])]
        if mine and pair not in NO_SHIFT:
            means = (f"{np.mean([r[n] for r in mine]):.3f}" for n in (SOURCE, ROBUST, "chosen"))
            lowest = min(row["lowest"] for row in mine)
            yield f"| {pair} | {len(mine)} | {' | '.join(means)} | {lowest:+.3f} |"
    yield ""


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    change = np.mean([row["chosen"] - row["robust"] for row in rows])
    drawn = (f"{np.mean([row[name] for row in rows]):.1%}" for name in ("gained", "lost", "below"))
    lowest = min(row["lowest"] for row in rows)
    return f"{len(rows)} | {change:+.4f} | {' | '.join(drawn)} | {lowest:+.3f}"


def main() -> None:
    """Draw from what is finished, and write what follows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the study's folder")
    given = parser.parse_args()
    with atomic_write(given.out / LABELLED) as temporary:
        temporary.write_text(json.dumps([*measure(given.out)]), encoding="utf-8")


if __name__ == "__main__":
    main()
