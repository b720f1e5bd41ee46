"""The page of choices and the settings of the example say the same."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs/reference"
ROW = re.compile(r"^\| `(\w+)` \| `([^`]*)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    module = pytest.importorskip("pladapt_covid_ct.settings", reason="no example installed")
    return {item.name: str(item.default) for item in fields(module.Settings)}


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, ...]]:
    return ROW.findall((REFERENCE / "covid_ct_choices.md").read_text(encoding="utf-8"))


def test_every_setting_is_in_the_table_once_with_its_default(
    settings: dict[str, str], rows: list[tuple[str, ...]]
) -> None:
    assert sorted((name, default) for name, default, *_ in rows) == sorted(settings.items())


def test_every_line_of_the_tables_was_read(rows: list[tuple[str, ...]]) -> None:
    text = (REFERENCE / "covid_ct_choices.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(lines) == len(rows)


def test_every_setting_says_on_the_command_line_what_it_means(settings: dict[str, str]) -> None:
    page = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    for command in ("run", "reproduce"):
        section = page.split(f"### `pladapt covid-ct {command}`")[1].split("### `")[0]
        for name in settings.keys() - ({"fold"} if command == "reproduce" else set()):
            assert re.search(rf"^\* `--{name.replace('_', '-')}\b.*`: \S", section, re.MULTILINE)
