"""What is shown on standard error while a command works: bars, lines, log lines or nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from pladapt.cli import main
from pladapt.cli.logs import be_verbose
from pladapt.cli.progress import progress_bars, show_progress

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    show_progress(quiet=False, lines=False)
    be_verbose(verbose=False)


@pytest.mark.parametrize("verbose", [False, True])
def test_where_an_error_arose_is_shown_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, verbose: bool
) -> None:
    options = ["-v"] if verbose else []
    monkeypatch.setattr("sys.argv", ["pladapt", *options, "plugins", "no\x1b[31mne"])
    with pytest.raises(SystemExit, match="1"):
        main()
    out, err = capsys.readouterr()
    assert out == ""
    assert "Error: InputError: There is no kind" in err
    assert ("Traceback" in err, "list_plugins" in err, "Python 3." in err) == (verbose,) * 3
    assert "\x1b[31m" not in err


def test_a_later_command_logs_only_where_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*words: str) -> tuple[str, str]:
        monkeypatch.setattr("sys.argv", ["pladapt", *words])
        with pytest.raises(SystemExit, match="0"):
            main()
        out, err = capsys.readouterr()
        return out, err

    for _ in range(2):
        out, err = shown("--verbose", "plugins", "gate")
        assert err.count("DEBUG") == 1
        assert "DEBUG" not in out
    assert shown("plugins", "gate")[1] == ""
    assert not logging.getLogger("pladapt").handlers


@pytest.mark.parametrize(
    ("quiet", "lines", "expected"),
    [(False, False, "━"), (False, True, "score 3/3"), (True, True, "")],
)
def test_progress_on_a_terminal_is_as_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    quiet: bool,
    lines: bool,
    expected: str,
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")  # which older versions of rich ask for
    show_progress(quiet=quiet, lines=lines)
    with progress_bars() as progress:
        progress("score", 3, 3)
    shown = capsys.readouterr().err
    assert expected in shown
    assert bool(shown) == (not quiet)
    assert ("━" in shown) == (expected == "━")
