from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pladapt.cli.application import application
from pladapt.errors import InputError, MissingDataError
from pladapt.evaluation.auditing import audit_tables
from pladapt.reports.audits import describe_audit
from pladapt.reports.html import to_html
from pladapt.reports.markdown import to_markdown

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from pladapt.evaluation import Audit


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, pa.Table]:
    """Write a score that ranks well, one that does not, and what an evaluation found."""
    quality = np.linspace(0.1, 0.9, 30)
    ids = [f"s{n}" for n in range(30)]
    groups = [f"p{n // 3}" for n in range(30)]
    found = {
        "samples": pa.table({"id": ids, "group": groups, "class": [1] * 30, "dsc": quality}),
        "good": pa.table({"id": ids, "score": quality**2}),
        "bad": pa.table({"id": ids, "score": np.random.default_rng(0).random(30)}),
    }
    for name, table in found.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    monkeypatch.chdir(tmp_path)
    return found


@pytest.fixture
def audited(tables: dict[str, pa.Table]) -> Audit:
    return audit_tables({name: tables[name] for name in ("bad", "good")}, tables["samples"])


def pladapt(line: str) -> Result:
    return CliRunner().invoke(application(), ["audit", *line.split()])


def test_the_command_prints_the_ranking(audited: Audit) -> None:
    result = pladapt("bad.parquet better=good.parquet --evaluation samples.parquet")
    assert result.exit_code == 0, result.output
    assert result.output.index("better") < result.output.rindex("bad")
    for row in audited.table.to_pylist():
        assert f"{row['aurc']:.3f}" in result.output
        assert f"{row['spearman']:.3f}" in result.output
    assert "30 of 30" in result.output


def test_the_folder_of_an_evaluation_will_do(tables: dict[str, pa.Table], tmp_path: Path) -> None:
    result = pladapt(f"good.parquet --evaluation {tmp_path}")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("a=bad.parquet a=good.parquet --evaluation samples.parquet", InputError, "called 'a'"),
        ("nowhere.parquet --evaluation samples.parquet", MissingDataError, "is not there"),
        ("bad.parquet --evaluation samples.parquet --metric sen", InputError, "no column 'sen'"),
        ("bad.parquet --evaluation samples.parquet --report a.pdf", InputError, "must end in"),
    ],
)
def test_what_cannot_be_audited_is_refused(
    line: str, error: type[Exception], message: str, tables: dict[str, pa.Table]
) -> None:
    result = pladapt(line)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)


def test_the_report_has_the_figures_and_the_curves(
    tables: dict[str, pa.Table], tmp_path: Path, audited: Audit
) -> None:
    for name in ("audit.html", "audit.md"):
        line = f"bad.parquet good.parquet --evaluation samples.parquet --report {name}"
        result = pladapt(line)
        assert result.exit_code == 0, result.output
        assert f"Report: {name}" in result.output
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert page == to_html(describe_audit(audited))
    assert len(re.findall(r"<svg[^>]*Risk-coverage curves of good, bad", page)) == 1
    text = (tmp_path / "audit.md").read_text(encoding="utf-8")
    assert text == to_markdown(describe_audit(audited))
    for row in audited.table.to_pylist():
        assert f"{row['difference']:+.3f}" in text


def test_the_verdict_names_the_best_and_how_sure_that_is(
    tables: dict[str, pa.Table], audited: Audit
) -> None:
    lead = describe_audit(audited).lead
    assert lead.startswith("good ranks best, with an AURC of ")
    assert lead.endswith("surely lower than that of bad.")
    turned = audit_tables(
        {name: tables[name] for name in ("good", "bad")}, tables["samples"], resamples=50
    )
    assert describe_audit(turned).lead.endswith("it is the reference.")
    same = audit_tables({"b": tables["good"], "a": tables["good"]}, tables["samples"], resamples=50)
    assert "not surely lower than that of b" in describe_audit(same).lead


def test_the_tables_need_no_extra() -> None:
    code = "import sys, pladapt.cli.audit; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
