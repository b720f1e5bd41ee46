"""Running a contract on a part, and what came of it, without a test module."""

from __future__ import annotations

import inspect
import itertools
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_MODULE: Final = """
from pladapt.testing import running

TestPart = running.contracts.pop()
"""
_OPTIONS: Final = (
    "--capture=no",
    "--import-mode=importlib",
    *(f"-pno:{name}" for name in ("terminal", "cacheprovider", "faulthandler", "logging")),
)

_numbers = itertools.count()  # pytest imports a module of one name only once

contracts: list[type] = []
"""The contract that the next test module takes, with the part's fixtures."""


@dataclass(slots=True)
class Check:
    """What came of one check of a contract.

    Args:
        promise: What is promised, in a sentence.
        outcome: Whether it is kept; ``skipped`` where it does not concern the part.
        message: Why not, in words; empty where it is kept.
    """

    promise: str
    outcome: Literal["passed", "failed", "skipped"] = "skipped"
    message: str = ""


def run_contract(contract: type, fixtures: Mapping[str, Callable[[], Any]]) -> list[Check]:
    """Run every check of a contract, each on what the functions make anew.

    Args:
        contract: A class of `pladapt.testing`.
        fixtures: What makes the value of each fixture that is overridden.

    Raises:
        RuntimeError: pytest could not run at all.
    """
    made = {name: pytest.fixture(_method(make)) for name, make in fixtures.items()}
    collector = _Collector()
    with tempfile.TemporaryDirectory(prefix="pladapt-") as folder, _environment():
        module, config = Path(folder, f"test_part_{next(_numbers)}.py"), Path(folder, "pytest.ini")
        module.write_text(_MODULE)
        config.write_text("[pytest]\n")
        contracts.append(type("TestPart", (contract,), made))
        options = ["-c", str(config), "--rootdir", folder, *_OPTIONS]
        status = pytest.main([*options, str(module)], plugins=[collector])
    if not collector.checks or status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"The contract could not be run: pytest ended with {status!r}.")
    return list(collector.checks.values())


@contextmanager
def _environment() -> Iterator[None]:
    """Keep a user's own options and plugins of pytest out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        patch.delenv("PYTEST_PLUGINS", raising=False)
        yield


def _method(make: Callable[[], Any]) -> Callable[[Any], Any]:
    def fixture(_self: object) -> Any:
        return make()

    return fixture


class _Collector:
    """A plugin of pytest that notes what comes of each check, whatever its parameters."""

    def __init__(self) -> None:
        self.checks: dict[str, Check] = {}

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Note every promise, in order."""
        for item in items:
            promise = inspect.getdoc(getattr(item, "obj", None)) or item.name
            self.checks.setdefault(_name(item.nodeid), Check(promise.splitlines()[0]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure; and what was kept or left out, unless it failed before."""
        check = self.checks[_name(report.nodeid)]
        if report.failed and check.outcome != "failed":
            check.outcome, check.message = "failed", _reason(report)
        elif report.skipped and check.outcome == "skipped":
            check.message = _reason(report)
        elif report.passed and report.when == "call" and check.outcome != "failed":
            check.outcome, check.message = "passed", ""


def _name(nodeid: str) -> str:
    return nodeid.rpartition("::")[2].partition("[")[0]


def _reason(report: pytest.TestReport) -> str:
    """Return the message of what was raised."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        text = str(crash.message).removeprefix("Failed: ").removeprefix("AssertionError:")
        return "\n".join(line.rstrip() for line in text.strip().splitlines() if line.strip())
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)
