"""The page of the study: Markdown and a chart made of what was collected, and of nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from audits import audit_lines, ranked_above
from chart import chart
from labels import labelled_lines
from pairs import PAIRS, PARTS, SHIFTS
from results import BATCH_NORM, MARGIN, MIN_GAP, ROBUST, SOURCE, cells_in, truth_of
from rows import ESSENTIAL, FRACTION, ORACLE, ORACLE_EPOCHS, ORACLE_STEPS, ORDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from results import Cell

_ROWS: Final = {
    SOURCE: "the source model as it is",
    BATCH_NORM: "batch normalisation's statistics measured anew on the target, nothing else",
    "tent": "Tent: one epoch of entropy minimisation on batch normalisation's scales and shifts",
    "torch-em-mean-teacher": "torch-em's `MeanTeacherTrainer` on the target alone, with its own "
    "default pseudo-labels (above .9 and below .1), loss and augmentations: 300 steps",
    "torch-em-fixmatch": "the same with its `FixMatchTrainer`",
    "paper": f"the paper's rule: the {FRACTION:.0%} of the samples with the highest certainty "
    "index, then fine-tuning, validated on source groups",
    ROBUST: '`pladapt.recipe("robust")` with the statistics of the source\'s test images',
    "robust-without-training": "`robust` told not to train: what it does to batch normalisation "
    "alone",
    ORACLE: "the source model fine-tuned **on the target's labels** and the source's, two-fold by "
    "group: what is measured on a group was trained on the other half of them. Batch "
    "normalisation's statistics are then those of both or of the target alone, whichever is better "
    "on the half that was learnt from",
}
_SHIFTED: Final = ("batch-norm", "tent", "paper", "robust-without-training", ROBUST, ORACLE)
_CLOSED: Final = {None: 0.7, "A-to-C": 0.8, "C-to-A": 0.6}
_UNFIT: Final = ("fluo256-to-purple", "fluo256-to-grey")
_NO_SHIFT_MARGIN: Final = 0.005
_COST: Final = 4.6
_OPEN: Final = "not measured yet"
_INTRODUCTION: Final = """# Adaptation study

<!-- written by benchmarks/adaptation/study.py from results.json beside it; do not edit -->

How far adaptation without labels goes from a source model towards one that was trained on the
target's labels, whether it ever makes a model worse, and whether it knows when to leave one alone.
A *cell* is a pair of source and target at one seed, which decides the split of the source's groups
(patients, pictures), the network's random layers and the order of training. In a cell every row
starts from the same source model, and is measured at the cut-off that is best on the source's own
test groups.
"""
_QUICK: Final = (
    "**A quick run on tiny images: that everything works, and nothing of adaptation.**\n"
)
_READING: Final = f"""## How to read it

- All figures are DSC of all pixels together. A target without foreground has none: there it is the
  fraction of the pixels that are rightly left unmarked.
- *± * after the change by `robust` is its 95 % BCa bootstrap interval, groups drawn anew.
- *Gap closed* is (robust - source) / (labels - source), in cells where the labels bring at least
  {MIN_GAP}. What learnt from the labels is no upper bound: it has at most {ORACLE_EPOCHS} epochs or
  {ORACLE_STEPS} steps on half of the groups.
- *Area* is the predicted area over the true one.
- *Seconds* are of the process, all cores together.
- Without a shift the target is of the source's held-out groups, which nothing else has used. A
  source with fewer than twenty groups has too few for that: there they are its test groups.
- Only `{ORACLE}` sees labels of the target. But `robust` was written while looking at pairs of the
  same kinds: read its figures here as those of data it was made with.
"""


def write_page(collected: Mapping[str, Any], path: Path) -> None:
    """Write the page, and beside it its chart.

    Args:
        collected: What `results.collect` returned, with ``settings`` and ``audits``.
        path: The page; the chart's name begins with the page's.
    """
    cells = cells_in(collected)
    audits = collected.get("audits", {})
    shifted = [cell for cell in cells if cell.shifted]
    same = [cell for cell in cells if not cell.shifted]
    lines = [_INTRODUCTION, _QUICK if collected["settings"]["quick"] else ""]
    lines += [*_goals(cells, audits), *_extent(collected, cells)]
    picture = path.with_name(f"{path.stem}.svg")
    picture.write_text(chart(shifted or same), encoding="utf-8")
    lines += [*_shifted(shifted, picture.name), *_same(same), *_summary(cells)]
    lines += [*_verdicts(cells, collected["sources"]), *_evidence(cells), *audit_lines(audits)]
    lines += [
        *_parts(collected.get("parts", [])),
        *labelled_lines(collected.get("labelled", [])),
        *_explained(cells),
        _READING,
        *_failures(collected["failures"]),
        *_about(collected),
    ]
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _goals(cells: Sequence[Cell], audits: Mapping[str, Any]) -> Iterator[str]:
    yield "## What `robust` is held to\n"
    yield "| | found | limit | |"
    yield "|---|---:|---:|---|"
    measured = [cell for cell in cells if ROBUST in cell.rows]
    for name, margin in (("all", MARGIN), ("those without a shift", _NO_SHIFT_MARGIN)):
        mine = [c for c in measured if name == "all" or not c.shifted]
        worse = [
            f"{_name(c)} ({c.change(ROBUST):+.3f})" for c in mine if c.change(ROBUST) < -margin
        ]
        found = f"{len(worse)} of {len(mine)}" + (f": {'; '.join(worse)}" if worse else "")
        yield _goal(
            f"cells below their source model by more than {margin}, {name}",
            found if mine else None,
            "none",
            met=not worse,
        )
    for pair, least in _CLOSED.items():
        fractions = [c.closed(ROBUST) for c in measured if pair in (None, c.pair)]
        known = [fraction for fraction in fractions if fraction is not None]
        where = f"{pair}" if pair else f"mean of the cells with a gap of at least {MIN_GAP}"
        yield _goal(
            f"fraction of the gap closed, {where}",
            f"{np.mean(known):.0%} of {len(known)}" if known else None,
            f"at least {least:.0%}",
            met=bool(known) and np.mean(known) >= least,
        )
    alien = [c for c in measured if c.pair in _UNFIT]
    fit = [_name(c) for c in alien if c.rows[ROBUST].told["outcome"] != "unfit"]
    found = f"{len(alien) - len(fit)} of {len(alien)}" if alien else None
    yield _goal("stained and bright-field images declared unfit", found, "all", met=not fit)
    costs = [cost for cost in (c.cost() for c in measured) if cost is not None]
    found = f"{np.median(costs):.1f}, at most {max(costs):.1f}" if costs else None
    met = bool(costs) and max(costs) <= _COST
    yield _goal("seconds over `paper`'s, the median cell", found, f"at most {_COST}", met=met)
    score, lower, surely, all_ = ranked_above(audits)
    if score is not None:
        yield _goal(
            "source models on whose test groups a score has a lower AURC than the certainty index",
            f"`{score}`: {lower} of {all_}, surely {surely}",
            "one score",
            met=bool(surely),
        )
    yield ""


def _goal(what: str, found: str | None, limit: str, *, met: bool) -> str:
    state = "open" if found is None else "reached" if met else "**not reached**"
    return f"| {what} | {found or _OPEN} | {limit} | {state} |"


def _extent(collected: Mapping[str, Any], cells: Sequence[Cell]) -> Iterator[str]:
    """Yield what was run: the cells, the rows in each, and the source models."""
    settings = collected["settings"]
    yield "## What was run\n"
    by_seed = {seed: sum(c.seed == seed for c in cells) for seed in sorted({c.seed for c in cells})}
    seeds = ", ".join(f"{count} cells at seed {seed}" for seed, count in by_seed.items())
    yield (
        f"{seeds or 'No cell'}; real images at {settings['size']} pixels, at most "
        f"{settings['max_images']} images of a target. Of {len(PAIRS)} pairs, "
        f"{len(SHIFTS)} with a shift, these were not run: "
        f"{', '.join(f'`{p}`' for p in PAIRS if p not in {c.pair for c in cells}) or 'none'}.\n"
    )
    yield "| source model | seed | DSC in domain | least | trainings | cut-off | images | |"
    yield "|---|---:|---:|---:|---:|---:|---|---|"
    for one in collected["sources"]:
        parts = ", ".join(f"{count} {part}" for part, count in one["samples"].items())
        out = "" if one["dsc"] >= one["least"] else "**left out**"
        yield (
            f"| {one['source']} | {one['split']} | {one['dsc']:.3f} | {one['least']} "
            f"| {one['tries']} | {one['cutoff']:.2f} | {parts} | {out} |"
        )
    yield ""


def _shifted(cells: Sequence[Cell], picture: str) -> Iterator[str]:
    """Yield every cell with a shift."""
    if not cells:
        return
    yield "## Every cell with a shift\n"
    yield f"![DSC above the source model's]({picture})\n"
    rows = [row for row in _SHIFTED if any(row in cell.rows for cell in cells)]
    names = " | ".join(f"`{row}`" for row in (SOURCE, *rows))
    yield f"| pair | seed | {names} | change by `robust` | gap closed | area before | area after |"
    yield f"|---|---:|{'---:|' * (len(rows) + 5)}"
    for cell in cells:
        scores = " | ".join(_score(cell, row) for row in (SOURCE, *rows))
        closed = cell.closed(ROBUST)
        fraction = "" if closed is None else f"{closed:.0%}"
        shown = " | ".join((scores, _change(cell), fraction, _area(cell)))
        yield f"| {cell.pair} | {cell.seed} | {shown} |"
    yield ""


def _same(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield every cell without a shift."""
    if not cells:
        return
    yield "## Every cell without a shift\n"
    yield "The target is of the source's own held-out groups:"
    yield f"{'; '.join(f'*{part}*, {words}' for part, words in PARTS.items())}.\n"
    names = "`source` | `batch-norm` | `robust`"
    yield f"| target | seed | {names} | change by `robust` | area before | area after |"
    yield f"|---|---:|{'---:|' * 6}"
    for cell in cells:
        scores = " | ".join(_score(cell, row) for row in (SOURCE, BATCH_NORM, ROBUST))
        yield f"| {cell.pair} | {cell.seed} | {scores} | {_change(cell)} | {_area(cell)} |"
    yield ""


def _score(cell: Cell, row: str) -> str:
    return f"{cell.rows[row].score:.3f}" if row in cell.rows else ""


def _change(cell: Cell) -> str:
    if ROBUST not in cell.rows:
        return _OPEN
    if cell.rows[ROBUST].told["outcome"] != "adapted":
        return "left"
    found = cell.interval(ROBUST)
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _area(cell: Cell) -> str:
    ratios = [cell.rows[row].area_ratio for row in (SOURCE, ROBUST) if row in cell.rows]
    return " | ".join("" if np.isnan(ratio) else f"{ratio:.2f}" for ratio in (*ratios, np.nan)[:2])


def _summary(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield the mean and the worst of every row, with and without a shift."""
    yield "## Means and worst cells\n"
    yield (
        "| row | cells | mean change | worst | cells below -0.01 | above +0.01 | gap closed "
        "| area, median | seconds |"
    )
    yield f"|---|---:|---:|---|{'---:|' * 5}"
    for shifted in (True, False):
        where = "with a shift" if shifted else "without"
        for row in ORDER:
            mine = [c for c in cells if c.shifted == shifted and row in c.rows]
            if mine and row != SOURCE:
                yield f"| `{row}`, {where} | {_row_summary(row, mine)} |"
    yield ""


def _row_summary(row: str, cells: Sequence[Cell]) -> str:
    changes = [cell.change(row) for cell in cells]
    worst = min(cells, key=lambda cell: cell.change(row))
    closed = [c for c in (cell.closed(row) for cell in cells) if c is not None]
    areas = [cell.rows[row].area_ratio for cell in cells]
    known = [area for area in areas if not np.isnan(area)]
    seconds = np.mean([cell.rows[row].told["seconds"] for cell in cells])
    shown = (
        str(len(cells)),
        f"{np.mean(changes):+.3f}",
        f"{worst.change(row):+.3f}, {_name(worst)}",
        str(sum(change < -MARGIN for change in changes)),
        str(sum(change > MARGIN for change in changes)),
        f"{np.mean(closed):.0%} of {len(closed)}" if closed else "",
        f"{np.median(known):.2f}" if known else "",
        f"{seconds:.0f}",
    )
    return " | ".join(shown)


def _verdicts(cells: Sequence[Cell], sources: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield how often each verdict was right."""
    level = {(one["source"], one["split"]): one["dsc"] for one in sources}
    found: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        source = "-".join(PAIRS[cell.pair][:2])
        truth = truth_of(cell, level.get((source, cell.seed), 1.0))
        if truth is not None:
            outcome = cell.rows[ROBUST].told["outcome"]
            found.setdefault((outcome, truth), []).append(_name(cell))
    if not found:
        return
    yield "## Verdicts against the truth\n"
    yield (
        f"An adaptation is right where the DSC rises by more than {MARGIN}, and wrong where it "
        "falls by more. To leave a model as it was is right where batch normalisation's statistics "
        "would have cost more than that, and wrong where they would have brought more. *Not fit* "
        "is right where the source model's DSC is below half of that in its own domain.\n"
    )
    yield "| verdict | right | no difference | wrong | which were wrong |"
    yield "|---|---:|---:|---:|---|"
    words = {"adapted": "adapted", "unchanged": "left as it was", "unfit": "not fit"}
    for outcome, word in words.items():
        counts = [
            len(found.get((outcome, truth), [])) for truth in ("right", "difference", "wrong")
        ]
        wrong = ", ".join(found.get((outcome, "wrong"), []))
        yield f"| {word} | {' | '.join(map(str, counts))} | {wrong} |"
    yield ""


def _evidence(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield what robust went by in every cell, without labels."""
    measured = [cell for cell in cells if ROBUST in cell.rows]
    if not measured:
        return
    yield "## What `robust` found without labels\n"
    yield "Agreement of all pixels, of single images, and the fraction of the pixels marked.\n"
    yield "| pair | seed | as it is | with batch norm | on the source | verdict |"
    yield "|---|---:|---|---|---|---|"
    for cell in measured:
        told = cell.rows[ROBUST].told
        rows = {row["adjustment"]: row for row in told["evidence"]}
        shown = " | ".join(_agreement(rows.get(name)) for name in ("none", "batch norm", "source"))
        yield f"| {cell.pair} | {cell.seed} | {shown} | {told['verdict']} |"
    yield ""


def _agreement(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    values = [row[name] for name in ("agreement", "per_image", "fraction")]
    return ", ".join(f"{value:.3f}" for value in values if value is not None)


def _name(cell: Cell) -> str:
    return f"{cell.pair}, seed {cell.seed}"


def _parts(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what `robust` without training does with each part left out."""
    if not rows:
        return
    yield "## Each part left out\n"
    yield (
        "Which statistics of batch normalisation are taken, without any training: the change of "
        "DSC, where the choice goes by everything, and with one part left out. `robust` without "
        "training is also a row of its own above, and so is every network with the target's "
        "statistics. `python benchmarks/adaptation/parts.py` asks the networks.\n"
    )
    yield (
        "| the choice | with a shift: mean | worst | below | above | without one: mean | worst | "
        "below |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        there, same = row["shifted"], row["same"]
        yield (
            f"| {row['variant']} | {there['mean']:+.3f} | {there['worst']:+.3f} | "
            f"{there['below']} of {there['cells']} | {there['above']} | {same['mean']:+.4f} | "
            f"{same['worst']:+.3f} | {same['below']} of {same['cells']} |"
        )
    yield f"\n*Below* and *above* count the cells that changed by more than {MARGIN}.\n"


def _explained(cells: Sequence[Cell]) -> Iterator[str]:
    yield "## What the rows are\n"
    shown = {row for cell in cells for row in cell.rows} | set(ESSENTIAL)
    yield from (f"- `{row}`: {text}." for row, text in _ROWS.items() if row in shown)
    yield ""


def _failures(failures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if failures:
        yield "## What was left out or failed\n"
        reasons: dict[str, list[str]] = {}
        for one in failures:
            place = f"{one['pair']}, seed {one['seed']}"
            reasons.setdefault(one["reason"], []).append(place)
        for reason, places in reasons.items():
            yield f"- {'; '.join(dict.fromkeys(places))}: {reason}"
        yield ""


def _about(collected: Mapping[str, Any]) -> Iterable[str]:
    yield "## What it ran on\n"
    yield f"The device `{collected['settings']['device']}`.\n"
    for one in collected["machines"]:
        machine = one["machine"]
        gpu = f", {machine['gpu']}" if machine["gpu"] else ""
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
        yield (
            f"{one['date']}: {machine['processor']}, {machine['cores']} cores, "
            f"{machine['memory']}, {machine['system']}{gpu}. {versions}.\n"
        )
    yield "Run it with `python benchmarks/adaptation/study.py --data DIR --out DIR --jobs 2`."
