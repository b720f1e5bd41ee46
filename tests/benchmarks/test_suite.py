"""That the benchmarks run, compare and report; never how fast anything is."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
NAMES = sorted(path.stem.removeprefix("bench_") for path in BENCHMARKS.glob("bench_*.py"))


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the suite, which runs as scripts do."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """Return what a quick run of the whole suite measured, and its page."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick", "--label", "here"]
    command += ["--results", str(folder), "--page", str(folder / "page.md")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env=environment
    )
    assert run.returncode == 0, run.stderr
    return json.loads((folder / "here.json").read_text()), (folder / "page.md").read_text()


def test_a_run_says_what_it_ran_on(quick: tuple[dict[str, Any], str]) -> None:
    result, page = quick
    assert result["quick"]
    assert "nothing of speed" in page
    assert result["machine"]["cores"] >= 1
    assert f"numpy {result['versions']['numpy']}" in page


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_reports_every_method(name: str, quick: tuple[dict[str, Any], str]) -> None:
    result, page = quick
    assert result["benchmarks"][name]["cases"]
    for case in result["benchmarks"][name]["cases"]:
        assert f"**{case['case']}**" in page
        assert [method["role"] for method in case["methods"]].count("ours") == 1
        for method in case["methods"]:
            assert method["name"] in page
            assert method.get("missing") or method["seconds"]["median"] > 0


def test_methods_take_turns_after_a_call_each_that_is_not_timed(suite: Any) -> None:
    harness = suite("harness")
    calls: list[str] = []
    methods = [
        harness.Method(name=name, role=role, run=lambda name=name: calls.append(name))
        for name, role in (("a", "ours"), ("b", "peer"))
    ]
    told = harness.measure(harness.Case(name="turns", methods=methods, seconds=0))
    assert calls == ["a", "b"] * 6
    assert [method["calls"] for method in told["methods"]] == [5, 5]


def test_a_result_that_differs_ends_the_run(suite: Any) -> None:
    harness = suite("harness")

    def equal(ours: int, theirs: int) -> str:
        assert ours == theirs, "they differ"
        return "equal"

    def case(theirs: int) -> Any:
        ours = harness.Method(name="ours", role="ours", run=lambda: 1)
        peer = harness.Method(name="peer", run=lambda: theirs, agrees=equal)
        return harness.Case(name="equal", methods=[peer, ours], seconds=0)

    told = {method["name"]: method for method in harness.measure(case(1))["methods"]}
    assert told["peer"]["agreement"] == "equal"
    with pytest.raises(AssertionError, match="they differ"):
        harness.measure(case(2))


def test_ratios_and_targets(suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = suite("harness")
    clock = [0.0]
    monkeypatch.setattr(harness.time, "perf_counter", lambda: clock[0])

    def takes(seconds: float) -> Any:
        def run() -> None:
            clock[0] += seconds

        return run

    methods = [
        harness.Method(name="ours", role="ours", run=takes(2)),
        harness.Method(name="slow", run=takes(30)),
        harness.Method(name="floor", role="floor", run=takes(1)),
        harness.Method(name="absent", missing="absent is not installed"),
    ]
    targets = [
        harness.Target(of="slow", to="ours", limit=15),
        harness.Target(of="slow", to="ours", limit=16),
        harness.Target(of="ours", to="floor", limit=2, at_most=True),
        harness.Target(of="ours", to="floor", limit=1.9, at_most=True),
        harness.Target(of="absent", to="ours", limit=1),
    ]
    told = harness.measure(harness.Case(name="ratios", methods=methods, targets=targets))
    assert [(t["ratio"], t["met"]) for t in told["targets"]] == [
        (15, True),
        (15, False),
        (2, True),
        (2, False),
        (None, None),
    ]
    ratios = {m["name"]: m["ratio_to_ours"]["median"] for m in told["methods"] if "calls" in m}
    assert ratios == {"ours": 1, "slow": 15, "floor": 0.5}
    assert told["methods"][-1]["missing"] == "absent is not installed"


def fake(suite: Any, monkeypatch: pytest.MonkeyPatch, name: str, *runs: Any) -> None:
    """Make a benchmark of a case for each run."""
    harness = suite("harness")

    def cases(*, quick: bool) -> Iterator[Any]:
        for at, run in enumerate(runs):
            yield harness.Case(
                name=f"case {at}",
                methods=[harness.Method(name="ours", role="ours", run=run)],
                seconds=0,
            )

    module = SimpleNamespace(TITLE=name.title(), TEXT=name, cases=cases)
    monkeypatch.setitem(sys.modules, f"bench_{name}", module)


@pytest.mark.parametrize("ending", [ZeroDivisionError("of nothing"), SystemExit(143)])
def test_a_benchmark_that_fails_or_is_stopped_loses_neither_its_cases_nor_others(
    suite: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: BaseException
) -> None:
    def ends() -> None:
        raise ending

    run = suite("run")
    fake(suite, monkeypatch, "broken", lambda: 1, ends, lambda: 1)
    fake(suite, monkeypatch, "whole", lambda: 1)
    monkeypatch.setattr(run, "NAMES", ("broken", "whole"))
    places = ["--label", "x", "--results", str(tmp_path), "--page", str(tmp_path / "page.md")]
    monkeypatch.setattr(sys, "argv", ["run.py", *places])
    with pytest.raises(SystemExit):
        run.main()
    monkeypatch.setattr(sys, "argv", ["run.py", *places, "--only", "whole"])
    run.main()  # what another call measured stays
    found = json.loads((tmp_path / "x.json").read_text())["benchmarks"]
    assert [case["case"] for case in found["broken"]["cases"]] == ["case 0"]
    assert len(found["whole"]["cases"]) == 1
    assert not found["whole"]["problem"]
    stopped = isinstance(ending, SystemExit)
    reason = "it was stopped before its end" if stopped else "ZeroDivisionError: of nothing"
    assert found["broken"]["problem"] == reason
    assert f"**Not measured to the end:** {reason}." in (tmp_path / "page.md").read_text()


def test_each_part_on_a_gpu_has_its_time_and_one_that_fails_is_named(tmp_path: Path) -> None:
    stub = tmp_path / "python"
    stub.write_text(f"""#!/bin/sh
case "$*" in
    -c*) echo fake-gpu ;;
    *) echo "$*" >> {tmp_path}/calls; case "$*" in *compiling*) exit 139 ;; esac ;;
esac
""")
    stub.chmod(0o755)
    script = BENCHMARKS / "gpu.sh"
    run = subprocess.run(
        ["bash", str(script)],  # noqa: S607 - wherever bash is
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHON": str(stub)},
    )
    assert run.returncode == 1
    assert "Not measured to the end: compiling" in run.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert all(call.startswith("benchmarks/run.py --label fake-gpu --only") for call in calls)
    parts = [call.split()[-1] for call in calls]
    assert {*parts} <= {*NAMES}
    (line,) = [line for line in script.read_text().splitlines() if line.startswith("parts=")]
    limits = [int(seconds) for seconds in re.findall(r":(\d+)", line)]
    assert len(limits) == len(parts)
    assert sum(limits) <= 480


def test_a_peer_that_is_not_installed_is_reported(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.delitem(sys.modules, "cleanlab.segmentation.rank", raising=False)
    case = next(suite("bench_scoring").cases(quick=True))
    (absent,) = [method for method in case.methods if method.missing]
    assert absent.missing == "cleanlab is not installed"


def test_the_page_shows_targets_ratios_and_what_is_missing(suite: Any) -> None:
    timed = {"median": 0.5, "low": 0.25, "high": 1.0, "least": 0.2}
    ours = {"name": "ours", "role": "ours", "seconds": timed, "calls": 5, "agreement": ""}
    peer = ours | {"name": "peer", "role": "peer", "agreement": "equal"}
    target = {"of": "peer", "to": "ours", "limit": 15, "at_most": False, "ratio": 12.0}
    case = {
        "case": "a case",
        "items": 100,
        "unit": "image",
        "methods": [
            ours | {"ratio_to_ours": timed, "flops": 1e12, "precision": "float32"},
            peer | {"ratio_to_ours": timed | {"median": 12.0}, "flops": 0},
            {"name": "absent", "role": "peer", "missing": "not installed"},
        ],
        "targets": [target | {"met": False}],
        "facts": {"peak memory": "7 MB"},
        "rates": {"float32": 8e12},
    }
    machine = {"processor": "chip", "cores": 2, "memory": "8 GiB", "system": "Linux", "gpu": ""}
    page = suite("report").page(
        [
            {
                "date": "2026-01-02",
                "machine": machine,
                "versions": {"numpy": "2"},
                "quick": False,
                "benchmarks": {"b": {"title": "B", "text": "what", "cases": [case]}},
            }
        ]
    )
    assert "## chip, 2 cores, 2026-01-02" in page
    assert "| a case: peer / ours | 12 | at least 15 | **not reached** |" in page
    assert "| **ours** | 5 ms [2.5, 10] |  | 5 |  |" in page
    assert "| peer | 5 ms [2.5, 10] | 12 x | 5 | equal |" in page
    assert "| absent | | | | not measured: not installed |" in page
    assert "| ours | 200 | 2 | 25% of 8 TFLOP/s (float32) |" in page
    assert "peak memory: 7 MB." in page


def test_the_page_in_the_docs_is_what_was_measured(suite: Any, tmp_path: Path) -> None:
    written = tmp_path / "page.md"
    suite("report").write_page(BENCHMARKS / "results", written)
    assert (ROOT / "docs/project/benchmarks.md").read_text(encoding="utf-8") == written.read_text(
        encoding="utf-8"
    )


def test_a_quick_run_never_writes_over_what_was_measured() -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 2
    assert "give --results and --page of its own" in run.stderr
