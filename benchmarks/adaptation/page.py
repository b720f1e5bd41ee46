"""The page of the study: Markdown and charts made of what was collected, and of nothing else."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from audits import audit_lines, ranked_above
from chart import chart
from domains import SIMULATED
from results import (
    BEST,
    SOURCE,
    closed,
    found_in,
    gain,
    measures,
    pooled_dsc,
    reference,
    rises,
)
from rows import FRACTIONS, ORACLE, ORACLE_EPOCHS, ORACLES, ROBUST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from results import Found

    from pladapt.reports.statistics import Interval

_TITLES: Final = {
    "A-to-C": "From A to C, real slices",
    "C-to-A": "From C to A, real slices",
    "phantoms": "Simulated CT",
    "ultrasound": "Simulated ultrasound",
}
_DATA: Final = {
    "A-to-C": "The slices of the coronacases patients to those of MedSeg's Radiopaedia volumes.",
    "C-to-A": "The other way.",
    "phantoms": "The COVID-19 example's phantoms, from A to B.",
    "ultrasound": "The ultrasound example's two scanners.",
}
_ROWS: Final = {
    SOURCE: "the source model as it is",
    "batch-norm": "batch normalisation's statistics measured anew on the target, nothing else",
    "tent": "Tent: one epoch of entropy minimisation on batch normalisation's scales and shifts",
    "random": "as `paper`, with samples drawn by chance",
    **{
        name: f"the paper's rule: the {fraction:.0%} of the samples with the highest certainty "
        "index, then fine-tuning, validated on source patients"
        for name, fraction in FRACTIONS.items()
    },
    BEST: "the best of the paper's rows, chosen at each seed **by the target's labels**: an "
    "optimistic bound, which no one without labels could reach on purpose",
    "robust": '`pladapt.recipe("robust")` with the statistics of the source\'s test images',
    "robust-without-training": "`robust` told not to train: what it does to batch normalisation "
    "alone",
    ORACLE: "the source model fine-tuned **on the target's labels** and the source's, two-fold by "
    "patient: what is measured on a patient was trained on the other half of them",
    ORACLES[1]: f"`{ORACLE}`, and then batch normalisation's statistics measured anew on all of "
    "the target's images, as every adaptation may",
}
_UNMEASURED: Final = "not measured yet"
_CLOSED: Final = {"A-to-C": 0.8, "C-to-A": 0.6}
_TIMES: Final = 3
_COST: Final = 5
_INTRODUCTION: Final = """# Adaptation study

<!-- written by benchmarks/adaptation/study.py from results.json beside it; do not edit -->

How far adaptation without labels goes from a source model towards one that was trained on the
target's labels, and whether it ever makes a model worse. Every row starts from the same source
models, and is measured at the cut-off that was best on the source's own test patients; what was
trained on the target's labels, at 0.5.
"""
_QUICK: Final = (
    "**A quick run on tiny images: that everything works, and nothing of adaptation.**\n"
)


def write_page(collected: Mapping[str, Any], path: Path) -> None:
    """Write the page, and beside it a chart for each pair.

    Args:
        collected: What `results.collect` returned.
        path: The page; a chart's name begins with the page's.
    """
    pairs = {name: found_in(collected, name) for name in _TITLES}
    pairs = {name: found for name, found in pairs.items() if SOURCE in found}
    quick = collected["settings"]["quick"]
    lines = [_INTRODUCTION, _QUICK if quick else "", *_limits(pairs, collected.get("audits", {}))]
    for name, found in pairs.items():
        picture = path.with_name(f"{path.stem}-{name}.svg")
        picture.write_text(chart(found), encoding="utf-8")
        lines += _pair(name, found, picture.name)
    lines += _simulated(collected)
    lines += audit_lines(collected.get("audits", {}))
    lines += [*_explained(pairs), *_failures(collected["failures"]), *_about(collected)]
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _limits(pairs: Mapping[str, Mapping[str, Found]], audits: Mapping[str, Any]) -> Iterator[str]:
    yield "## What `robust` is held to\n"
    yield "| | found | limit | |"
    yield "|---|---:|---:|---|"
    for name, least in _CLOSED.items():
        if name in pairs:
            yield from _closing_limits(name, pairs[name], least)
    worse = [
        f"{name}, seed {seed}"
        for name, found in pairs.items()
        if "robust" in found
        for seed, rise in rises(found["robust"], found[SOURCE]).items()
        if rise.high < 0
    ]
    met = _met(not worse)
    if not any("robust" in found for found in pairs.values()):
        worse, met = [_UNMEASURED], "open"
    shown = "; ".join(worse) or "none"
    yield f"| seeds below their source model beyond noise | {shown} | none | {met} |"
    ratios = [r for r in (_cost_ratio(found) for found in pairs.values()) if r is not None]
    if ratios:
        shown = ", ".join(f"{ratio:.1f}" for ratio in ratios)
        met = _met(max(ratios) <= _COST)
        yield f"| seconds over `paper`'s, pair by pair | {shown} | at most {_COST} | {met} |"
    score, lower, surely, all_ = ranked_above(audits)
    if score is not None:
        shown = f"`{score}`: {lower} of {all_}, surely {surely}"
        yield (
            "| source models on whose held-out patients a score has a lower AURC than the "
            f"certainty index | {shown} | one score | {_met(surely)} |"
        )
    yield ""


def _closing_limits(name: str, found: Mapping[str, Found], least: float) -> Iterator[str]:
    """Yield how much of the gap was closed; by patient where all pixels together show no gap."""
    oracle = reference(found)
    if oracle is None or not {"robust", "paper"} <= found.keys():
        limit = f"at least {least:.0%}"
        yield f"| fraction of the gap closed, {name} | {_UNMEASURED} | {limit} | open |"
        return
    for by_patient in (False, True):
        close = partial(closed, source=found[SOURCE], oracle=found[oracle], by_patient=by_patient)
        robust, paper = close(found["robust"]), close(found["paper"])
        more = close(found["robust"], minus=found["paper"])
        what = f"{name} by patient" if by_patient else name
        if robust is None or paper is None or more is None:
            yield f"| fraction of the gap closed, {what} | no gap | | open |"
            continue
        yield (
            f"| fraction of the gap closed, {what} | {_fraction(robust)} | at least {least:.0%} "
            f"| {_met(robust.mean >= least)} |"
        )
        enough = robust.mean >= _TIMES * paper.mean and robust.mean > 0
        yield (
            f"| the same against `paper`'s, {what} | {robust.mean:.0%} to {paper.mean:.0%} "
            f"| at least {_TIMES} times | {_met(enough)} |"
        )
        yield (
            f"| the same minus `paper`'s, {what} | {_fraction(more)} | interval above 0 "
            f"| {_met(more.low > 0)} |"
        )
        return


def _met(met: object) -> str:
    return "reached" if met else "**not reached**"


def _cost_ratio(found: Mapping[str, Found]) -> float | None:
    if not {"robust", "paper"} <= found.keys():
        return None
    ours, theirs = (
        np.mean([cost.seconds for cost in found[name].costs.values()])
        for name in ("robust", "paper")
    )
    return float(ours / theirs)


def _pair(name: str, found: Mapping[str, Found], picture: str) -> Iterator[str]:
    patients = len(next(iter(found[SOURCE].counts.values())))
    seeds = len(found[SOURCE].counts)
    yield f"## {_TITLES[name]}\n"
    counted = "1 seed" if seeds == 1 else f"{seeds} seeds"
    yield f"{_DATA[name]} {patients} target patients; {counted}.\n"
    yield f"![DSC of every row and seed, {name}]({picture})\n"
    yield "| row | DSC | SEN | SPC | DSC by patient | SEN by patient | SPC by patient |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    keys = [f"{metric} {how}" for how in ("pooled", "patients") for metric in ("dsc", "sen", "spc")]
    for row, values in found.items():
        each = [measures(counts) for counts in values.counts.values()]
        shown = " | ".join(_spread([m[key] for m in each]) for key in keys)
        yield f"| `{row}`{_seeds(values, seeds)} | {shown} |"
    for row in ROBUST:
        if row not in found:
            yield f"| `{row}` | {_UNMEASURED} {'| ' * len(keys)}|"
    yield ""
    columns = ("DSC above the source's", "gap closed", "by patient", "seeds worse", "beyond noise")
    yield f"| row | {' | '.join(columns)} | passes, of them training | seconds |"
    yield f"|---|{'---:|' * (len(columns) + 2)}"
    for row, values in found.items():
        yield f"| `{row}`{_seeds(values, seeds)} | {' | '.join(_change(row, values, found))} |"
    yield ""
    yield from _found_out(found)


def _seeds(found: Found, all_: int) -> str:
    return "" if len(found.counts) == all_ else f" ({len(found.counts)} of {all_} seeds)"


def _change(row: str, values: Found, found: Mapping[str, Found]) -> Iterator[str]:
    above = gain(values, found[SOURCE])
    oracle = reference(found)
    fixed = row in (SOURCE, oracle)
    yield "" if row == SOURCE or above is None else _difference(above)
    for by_patient in (False, True):
        fraction = None
        if oracle is not None:
            fraction = closed(values, found[SOURCE], found[oracle], by_patient=by_patient)
        yield "" if fixed else "no gap" if fraction is None else _fraction(fraction)
    rise = rises(values, found[SOURCE]).values()
    yield "" if row == SOURCE else f"{sum(r.mean < 0 for r in rise)} of {len(rise)}"
    yield "" if row == SOURCE else f"{sum(r.high < 0 for r in rise)}"
    costs = list(values.costs.values())
    inference, training = (
        float(np.mean([getattr(cost, name) for cost in costs]))
        for name in ("inference", "training")
    )
    yield "" if row == SOURCE else f"{inference + training:.1f}, {training:.1f}"
    yield "" if row == SOURCE else f"{np.mean([cost.seconds for cost in costs]):.0f}"


def _found_out(found: Mapping[str, Found]) -> Iterator[str]:
    """Yield what robust went by at each seed, without labels."""
    if "robust" not in found:
        return
    yield "What `robust` found without labels:\n"
    for seed, told in found["robust"].told.items():
        agreed = ", ".join(
            f"`{row['adjustment']}` {row['agreement']:.3f}"
            for row in told["evidence"]
            if row["agreement"] is not None
        )
        taught = (
            f"; learnt from {', '.join(map(str, told['kept']))} samples" if told["kept"] else ""
        )
        yield f"- seed {seed}: {told['verdict']}; agreement {agreed}{taught}."
    yield ""


def _simulated(collected: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the rows did on the source's own held-out patients, each target by itself."""
    pairs = [found_in(collected, name) for name in SIMULATED]
    pairs = [found for found in pairs if SOURCE in found]
    if not pairs:
        return
    yield "## On simulated scanners\n"
    yield (
        "The patients of A and C that a source model was not trained on, as two other scanners "
        "might have shown them: one softer and brighter, one sharper, darker and noisier, each "
        "patient in its own way (`scanners.py` beside the study). "
        f"{len(pairs)} targets, each with the source model of its seed. They are of the source, "
        "so choices may be made on them.\n"
    )
    yield "| row | DSC | above the source's | least | most | targets worse |"
    yield "|---|---:|---:|---:|---:|---:|"
    for row in dict.fromkeys(name for found in pairs for name in found):
        both = [(found[row], found[SOURCE]) for found in pairs if row in found]
        after, before = (
            np.array([pooled_dsc(next(iter(one.counts.values()))) for one in part])
            for part in zip(*both, strict=True)
        )
        rise = after - before
        said = f"{rise.mean():+.3f} | {rise.min():+.3f} | {rise.max():+.3f} | {np.sum(rise < 0)}"
        changed = " | | | " if row == SOURCE else said
        few = "" if len(both) == len(pairs) else f" ({len(both)} of {len(pairs)} targets)"
        yield f"| `{row}`{few} | {after.mean():.3f} | {changed} |"
    yield ""


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.3f}"


def _fraction(interval: Interval) -> str:
    return f"{interval.mean:.0%} [{interval.low:.0%}, {interval.high:.0%}]"


def _difference(interval: Interval) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _explained(pairs: Mapping[str, Mapping[str, Found]]) -> Iterator[str]:
    yield "## What the rows are\n"
    shown = {row for found in pairs.values() for row in found}
    for row, text in _ROWS.items():
        if row in shown:
            yield f"- `{row}`: {text}."
    yield from (
        "",
        "## How to read it\n",
        "- A seed decides the split of the source's patients, the network's random layers and the",
        "  order of training; the target's patients are the same at all seeds. ± is the standard",
        "  deviation over seeds.",
        "- DSC, SEN and SPC are of all pixels together, then as the mean over patients, where a",
        "  patient with few lesions weighs as much as one with many. A patient without a lesion",
        "  has no SEN; where nothing is predicted either, the DSC is 1.",
        "- *DSC above the source's* is of all pixels, the mean over seeds; its interval is made as",
        "  that of the gap closed.",
        "- *Gap closed* is (row - source) / (labels - source), where *labels* is the better of the",
        "  two rows that learn from the target's labels, by the DSC of all pixels: the one with no",
        "  fraction beside it. Each is the mean over seeds of the DSC of all pixels, then of the",
        "  mean of the patients' DSC. In brackets: its 95 % BCa bootstrap interval, patients drawn",
        "  anew, the same at all seeds and in all rows. With some ten patients such an interval is",
        "  a little too narrow, and what other seeds would give is not in it.",
        "- *Seeds worse* have a lower DSC of all pixels than their source model; *beyond noise*",
        "  are those whose two-sided 95 % interval by patient lies below 0.",
        "- *Passes* are images through the network over images in the target, averages, mirror",
        "  images and validation included; the way back of a training step is not counted.",
        "  *Seconds* are of the process, all cores together.",
        f"- `{ORACLE}` is trained for {ORACLE_EPOCHS} epochs at the most, on half of the patients",
        "  each time. It is no upper bound: more patients' labels could do more.",
        f"- In the study itself only `{BEST}`, `{ORACLE}` and `{ORACLES[1]}` see labels of the",
        "  target. But while `robust` was written, variants of it were measured on both real pairs",
        "  as well as on simulated shifts: read its figures there as those of data it was made",
        "  with.",
        "- The cut-off was chosen on the source's test patients, and the source statistics were",
        "  measured on the images of the same.",
        "",
    )


def _failures(failures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if failures:
        yield "## What failed\n"
        for one in failures:
            row = one["row"] or "training the source"
            yield f"- {one['pair']}, seed {one['seed']}, `{row}`: {one['reason']}"
        yield ""


def _about(collected: Mapping[str, Any]) -> Iterable[str]:
    yield "## What it ran on\n"
    settings = collected["settings"]
    yield f"Real slices at {settings['size']} pixels, on the device `{settings['device']}`.\n"
    for one in collected["machines"]:
        machine = one["machine"]
        gpu = f", {machine['gpu']}" if machine["gpu"] else ""
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
        yield (
            f"{one['date']}: {machine['processor']}, {machine['cores']} cores, "
            f"{machine['memory']}, {machine['system']}{gpu}. {versions}.\n"
        )
    yield "Run it with `python benchmarks/adaptation/study.py --data DIR --out DIR --jobs 2`."
