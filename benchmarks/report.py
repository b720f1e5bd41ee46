"""The page of results: Markdown made of the JSON files, and of nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_INTRODUCTION: Final = """# Benchmarks

<!-- written by benchmarks/run.py from benchmarks/results/*.json; do not edit -->

What pladapt's parts take, beside what people would use instead. The methods of a table ran in
turns in one process, after one call each that was not timed; times are medians, with the quartiles
in brackets. *Against ours* is the median of the ratios round by round: 20 x means that the method
takes twenty times as long as pladapt. Times belong to the machine and to what else it did; ratios
travel better. Where a method computes the same, its result was compared with ours in the same run,
and the last column says how; a difference would have ended the benchmark, and stood here.

Run them with `python benchmarks/run.py` (`--only` for some, `--quick` to see that they work).
`benchmarks/gpu.sh` measures a CUDA device in at most eight minutes: inference by every road,
training, and an adaptation. It has never run on a GPU, only `benchmarks/gpu.sh --quick` on a CPU.
"""

_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of several machines' results."""
    lines = [line for one in results for line in _machine(one)]
    return (
        "\n".join([_INTRODUCTION, *(lines or ["Nothing has been measured yet."])]).rstrip() + "\n"
    )


def write_page(folder: Path, path: Path) -> None:
    """Write the page of all JSON files in a folder."""
    files = sorted(folder.glob("*.json"))
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    path.write_text(page(results), encoding="utf-8")


def _machine(result: Mapping[str, Any]) -> Iterator[str]:
    machine, versions = result["machine"], result["versions"]
    title = machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores"
    yield f"## {title}, {result['date']}\n"
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, "
        f"{machine['system']}{', ' + machine['gpu'] if machine['gpu'] else ''}. "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}.\n"
    )
    if result["quick"]:
        yield "A quick run on tiny sizes: it shows that everything works, and nothing of speed.\n"
    else:
        yield from _targets(list(result["benchmarks"].values()))
    for benchmark in result["benchmarks"].values():
        yield f"### {benchmark['title']}\n"
        yield f"{' '.join(benchmark['text'].split())}\n"
        for case in benchmark["cases"]:
            yield from _case(case)
        if benchmark.get("problem"):
            yield f"**Not measured to the end:** {benchmark['problem']}.\n"


def _targets(benchmarks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| what must be reached | ratio | limit | |"
    yield "|---|---:|---:|---|"
    for benchmark in benchmarks:
        for case in benchmark["cases"]:
            for target in case["targets"]:
                yield _target(case["case"], target)
    yield ""


def _target(case: str, target: Mapping[str, Any]) -> str:
    sign = "at most" if target["at_most"] else "at least"
    ratio = "not measured" if target["ratio"] is None else f"{target['ratio']:.3g}"
    met = {True: "reached", False: "**not reached**", None: "open"}[target["met"]]
    return (
        f"| {case}: {target['of']} / {target['to']} | {ratio} | {sign} {target['limit']:g} "
        f"| {met} |"
    )


def _case(case: Mapping[str, Any]) -> Iterator[str]:
    per = f" per {case['unit']}" if case["items"] > 1 else ""
    yield f"**{case['case']}**\n"
    yield f"| method | time{per} | against ours | calls | result |"
    yield "|---|---:|---:|---:|---|"
    for method in case["methods"]:
        yield _missing(method) if "missing" in method else _timed(method, case["items"])
    yield ""
    yield from _rates(case)
    if case["facts"]:
        yield f"{'; '.join(f'{name}: {value}' for name, value in case['facts'].items())}.\n"


def _missing(method: Mapping[str, Any]) -> str:
    reason = method["missing"].replace("|", "/")
    return f"| {method['name']} | | | | not measured: {reason} |"


def _timed(method: Mapping[str, Any], items: int) -> str:
    seconds, ratio = method["seconds"], method["ratio_to_ours"]
    against = "" if method["role"] == "ours" else f"{ratio['median']:.3g} x"
    name = f"**{method['name']}**" if method["role"] == "ours" else method["name"]
    return (
        f"| {name} | {_time(seconds, items)} | {against} | {method['calls']} "
        f"| {method['agreement']} |"
    )


def _time(seconds: Mapping[str, float], items: int) -> str:
    values = [seconds[name] / items for name in ("median", "low", "high")]
    scale, unit = next((u for u in _UNITS if values[0] >= u[0]), _UNITS[-1])
    median, low, high = (f"{value / scale:.3g}" for value in values)
    return f"{median} {unit} [{low}, {high}]"


def _rates(case: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of arithmetic per second, of the methods that say how much there is."""
    rows = [method for method in case["methods"] if method.get("flops")]
    if not rows:
        return
    yield f"| method | {case['unit']}s/s | TFLOP/s | fraction of a matrix product's rate |"
    yield "|---|---:|---:|---|"
    for method in rows:
        seconds = method["seconds"]["median"]
        rate, most = method["flops"] / seconds, case["rates"].get(method["precision"])
        fraction = (
            f"{rate / most:.0%} of {most / 1e12:.3g} TFLOP/s ({method['precision']})"
            if most
            else ""
        )
        pace = f"{case['items'] / seconds:.3g} | {rate / 1e12:.3g}"
        yield f"| {method['name']} | {pace} | {fraction} |"
    yield ""
