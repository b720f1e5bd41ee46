"""What pseudo-labels were worth, by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from typer.testing import CliRunner

import pladapt
from pladapt import IGNORE, LabelledSample, read_run
from pladapt.errors import MissingDataError
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.runs.stages import write_evaluation
from pladapt.selection.certainty_index import CertaintyIndexSelector

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from pladapt.cli.application import application
from pladapt.reports.findings import describe_run
from pladapt.reports.labels import label_counts, label_sections


@dataclass
class AsTheyAre:
    """A predictor that takes images for probabilities."""

    def predict(self, images, /):
        return images


class Same:
    """A retrainer that learns nothing."""

    def retrain(self, predictor, labels, /):
        assert len(labels)
        return AsTheyAre()


class Banded(CertaintyIndexSelector):
    """Ignores what is neither sure foreground nor sure background."""

    def label(self, prediction, /):
        label = super().label(prediction)
        values = np.asarray(prediction.probabilities)[:, 0]
        return np.where((values > 0.25) & (values < 0.75), np.uint8(IGNORE), label)


# 2 x 4 pixels; a pixel above 0.5 is foreground, one between 0.25 and 0.75 is ignored as a label
PROBABILITIES = {
    "sure": [[0.9, 0.9, 0.9, 0.6], [0.1, 0.1, 0.1, 0.1]],
    "surer": [[0.95, 0.95, 0.1, 0.1], [0.1, 0.1, 0.1, 0.3]],
    "unsure": [[0.6, 0.6, 0.6, 0.1], [0.1, 0.1, 0.1, 0.1]],
}
MASKS = {
    "sure": [[1, 1, 0, 0], [0, 0, 0, 1]],
    "surer": [[1, 1, 0, 0], [0, 0, 0, 1]],
    "unsure": [[1, 0, 0, 0], [1, 1, 1, 0]],
}


@pytest.fixture
def truth():
    return [
        LabelledSample(name, name, np.array([values]), np.array(MASKS[name], np.uint8))
        for name, values in PROBABILITIES.items()
    ]


def adapted(truth, workdir=None, *, rounds=1, evaluators=None):
    return pladapt.adapt(
        AsTheyAre(),
        [sample.unlabelled() for sample in truth],
        selector=Banded(min_pixels=1, ci_limit=0.7),
        retrainer=Same(),
        evaluators={"overlap": OverlapEvaluator(samples=truth)}
        if evaluators is None
        else evaluators,
        workdir=workdir,
        rounds=rounds,
    )


def test_kept_against_dropped_by_hand(truth, tmp_path):
    record = adapted(truth, tmp_path)
    # sure: TP 2, FP 1, FN 1, and the fourth is ignored; surer: TP 2, and the miss is ignored
    counts = label_counts(record, 1, truth)
    assert {k: v.tolist() for k, v in counts.items()} == {1: [[2, 1, 1, 3], [2, 0, 0, 5]]}
    (section,) = label_sections(record, truth)
    table = section.body[-1]
    assert table.header == ("round", "class", "what", "samples", "DSC", "precision", "SEN")
    assert table.rows == (
        # TP 4, FP 1, FN 1
        ("1", "1", "pseudo-labels, kept", "2", "0.800", "0.800", "0.800"),
        # nothing is ignored: TP 4, FP 2, FN 2
        ("1", "1", "predictions, kept", "2", "0.667", "0.667", "0.667"),
        # TP 1, FP 2, FN 3
        ("1", "1", "predictions, dropped", "1", "0.286", "0.333", "0.250"),
    )


def test_a_run_s_report_has_it_also_from_its_folder(truth, tmp_path):
    record = adapted(truth, tmp_path, rounds=2)
    document = describe_run(read_run(tmp_path), truth=truth)
    assert document == describe_run(record, truth=truth)
    (section,) = [s for s in document.body if s.title == "What the pseudo-labels were worth"]
    assert [row[0] for row in section.body[-1].rows] == ["1"] * 3 + ["2"] * 3


def test_some_of_the_truth_is_enough_and_its_order_does_not_matter(truth, tmp_path):
    record = adapted(truth, tmp_path, evaluators={})
    (section,) = label_sections(record, [truth[2], truth[0]])
    # of sure alone
    assert section.body[-1].rows == (
        ("1", "1", "pseudo-labels, kept", "1", "0.667", "0.667", "0.667"),
    )


def test_without_truth_or_folder_the_evaluations_speak_alone(truth, tmp_path):
    for record, known in ((adapted(truth), truth), (adapted(truth, tmp_path), None)):
        (section,) = label_sections(record, known)
        assert [row[2] for row in section.body[-1].rows] == [
            "predictions, kept",
            "predictions, dropped",
        ]
    assert list(label_sections(adapted(truth, evaluators={}), truth)) == []
    with pytest.raises(MissingDataError, match="kept in no folder"):
        label_counts(adapted(truth), 1, truth)
    with pytest.raises(MissingDataError, match="the round labelled nothing"):
        label_counts(record, 2, truth)


def test_the_gap_is_shown_where_the_upper_model_is_known(truth, tmp_path):
    record = adapted(truth, tmp_path)
    perfect = [
        LabelledSample(s.id, s.group, s.mask[None].astype(np.float64), s.mask) for s in truth
    ]
    upper = OverlapEvaluator(samples=perfect).evaluate(AsTheyAre())
    document = describe_run(record, upper={"overlap": upper})
    (table,) = [b for b in document.body[0].body if "How much of the gap" in b.caption]
    assert table.rows[0][3:5] == ("1.000", "0%")
    with pytest.raises(pladapt.InputError, match=r"no overlap evaluator 'other'"):
        describe_run(record, upper={"other": upper})


def test_the_command_tells_the_gap_and_what_it_lacks(truth, tmp_path):
    adapted(truth, tmp_path / "run")
    adapted(truth, tmp_path / "blind", evaluators={})
    write_evaluation(
        OverlapEvaluator(samples=truth, cutoff=0.2).evaluate(AsTheyAre()), tmp_path / "upper"
    )
    upper = ["--upper", str(tmp_path / "upper")]
    told = CliRunner().invoke(application(), ["report", str(tmp_path / "run"), *upper])
    assert told.exit_code == 0, told.output
    assert "How much of the gap" in (tmp_path / "run/report.md").read_text(encoding="utf-8")
    blind = CliRunner().invoke(application(), ["report", str(tmp_path / "blind"), *upper])
    assert "no evaluation by truth" in str(blind.exception)
    gone = ["--upper", str(tmp_path / "gone")]
    lost = CliRunner().invoke(application(), ["report", str(tmp_path / "run"), *gone])
    assert "holds no evaluation; `pladapt evaluate` writes one" in str(lost.exception)
