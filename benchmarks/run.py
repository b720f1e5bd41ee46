"""Run the benchmarks: ``python benchmarks/run.py [--only NAME] [--quick]``.

Writes what was measured to a JSON file for this machine, and the page from all such files, after
each case: what ends a run, be it a signal, loses nothing that was measured before. A benchmark that
fails is recorded with its reason, the others go on, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE))

import machine  # noqa: E402 - beside this file
from harness import measure  # noqa: E402 - the same
from report import write_page  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Case

NAMES: Final = tuple(sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")))

# what stands in the file while a benchmark runs, and stays where a signal or a crash ends it
_STOPPED: Final = "it was stopped before its end"


def main() -> None:
    """Run what was asked for."""
    arguments = _arguments()
    results: Path = arguments.results
    label = arguments.label or ("gpu" if machine.gpu() else "cpu")
    path = results / f"{label}.json"
    result = _before(path, quick=arguments.quick)
    results.mkdir(parents=True, exist_ok=True)
    names = arguments.only or NAMES
    for name in names:
        for state in _run(name, quick=arguments.quick):
            result["benchmarks"][name] = state
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            write_page(results, arguments.page)
    print(f"{path}\n{arguments.page}")
    failed = [name for name in names if result["benchmarks"][name]["problem"]]
    if failed:
        sys.exit(f"not measured to the end: {', '.join(failed)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="run these alone")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--label", help="the JSON's name; else cpu or gpu")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where it goes")
    parser.add_argument(
        "--page", type=Path, default=HERE.parent / "docs" / "project" / "benchmarks.md"
    )
    arguments = parser.parse_args()
    if arguments.quick and arguments.results == HERE / "results":
        parser.error("a quick run says nothing of speed: give --results and --page of its own")
    return arguments


def _before(path: Path, *, quick: bool) -> dict[str, Any]:
    """Return what this machine has measured before, if it is the same in every respect."""
    now = machine.describe() | {"quick": quick, "benchmarks": {}}
    if not path.exists():
        return now
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    same = all(before[key] == now[key] for key in ("machine", "versions", "quick"))
    return now | {"benchmarks": before["benchmarks"]} if same else now


def _run(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield what is known of a benchmark: before its first case, after each, and at its end."""
    benchmark = importlib.import_module(f"bench_{name}")
    print(f"{benchmark.TITLE}", flush=True)
    state = {"title": benchmark.TITLE, "text": benchmark.TEXT, "cases": [], "problem": _STOPPED}
    yield state
    try:
        for case in benchmark.cases(quick=quick):
            state["cases"].append(_measured(case, quick=quick))
            yield state
    except Exception as error:  # noqa: BLE001 - whatever fails is recorded, and the others go on
        traceback.print_exc()
        reason = (str(error).splitlines() or [""])[0]
        yield state | {"problem": f"{type(error).__name__}: {reason}"}
    else:
        yield state | {"problem": ""}


def _measured(case: Case, *, quick: bool) -> dict[str, Any]:
    print(f"  {case.name}", flush=True)
    measured = measure(case, quick=quick)
    for target in measured["targets"]:
        print(f"    {target['of']} / {target['to']}: {target['ratio']} ({target['limit']})")
    return measured


if __name__ == "__main__":
    main()
