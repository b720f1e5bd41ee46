"""What a report says of people's review."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

import pladapt
from pladapt import Judgement, LabelledSample
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.review import Review
from pladapt.runs import Restart
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.types import EVIDENCE
from pladapt.typing import Recalibration

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from pladapt.reports.findings import caveats, describe_run
from pladapt.reports.labels import label_sections
from pladapt.reports.reviews import review_sections


@dataclass
class Brightness:
    """A predictor that adds to images and takes them for probabilities."""

    shift: float = 0.0

    def predict(self, images, /):
        return np.clip(images + self.shift, 0, 1)


class Brighter:
    """A retrainer that makes everything a little brighter."""

    def retrain(self, predictor, labels, /):
        assert len(labels)
        return replace(predictor, shift=predictor.shift + 0.3)


@pytest.fixture
def truth():
    generator = np.random.default_rng(0)
    mask = np.zeros((6, 6), np.uint8)
    mask[1:4, 1:4] = 1
    images = [0.3 * generator.random((1, 6, 6)) + 0.43 * mask for _ in range(5)]
    return [LabelledSample(f"s{n}", f"p{n}", image, mask) for n, image in enumerate(images)]


def test_minutes_people_and_what_came_of_it(truth, tmp_path):
    parts = {
        "selector": CertaintyIndexSelector(min_pixels=1, top_k=3),
        "retrainer": Brighter(),
        "evaluators": {"truth": OverlapEvaluator(samples=truth)},
        "workdir": tmp_path / "run",
    }
    target = pladapt.unlabelled(truth)
    first = pladapt.adapt(Brightness(), target, **parts)
    assert list(review_sections(first)) == []
    Review(tmp_path / "run", who="Ann").accept("s1", seconds=90)
    Review(tmp_path / "run", who="Bo").reject("s2", seconds=30)
    result = pladapt.adapt(Brightness(), target, **parts)
    (section,) = review_sections(result)
    _, people, gain = section.body
    assert people.rows == (("2", "Ann", "1", "0", "0", "1.5"), ("2", "Bo", "0", "0", "1", "0.5"))
    before, after = (each.after["truth"].value("dsc") for each in (first, result))
    assert gain.rows == (("0.0", "0", f"{before:.3f}"), ("2.0", "2", f"{after:.3f}"))
    assert before != after
    assert section in describe_run(result).body
    assert any("Masks that people reviewed were taught" in said for said in caveats([result]))
    assert not any("people" in said for said in caveats([first]))


class Never:
    """A gate that refuses whatever is made."""

    def judge(self, before, after, target, /):
        return Judgement(accepted=False, reasons=("no",), evidence=EVIDENCE.empty_table())


@pytest.mark.parametrize("gates", [(), (Never(),)], ids=["accepted", "refused"])
def test_reviewed_samples_are_no_pseudo_labels(truth, tmp_path, gates):
    parts = {
        "selector": CertaintyIndexSelector(min_pixels=1, top_k=3),
        "retrainer": Brighter(),
        "evaluators": {"truth": OverlapEvaluator(samples=truth)},
        "gates": gates,
        "workdir": tmp_path / "run",
    }
    target = pladapt.unlabelled(truth)
    first = pladapt.adapt(Brightness(), target, **parts)
    kept = first.rounds[0].selection.kept
    Review(tmp_path / "run", who="Ann").accept(kept[0])
    Review(tmp_path / "run", who="Ann").reject(kept[1])
    result = pladapt.adapt(Brightness(), target, **parts)
    (section,) = label_sections(result, truth)
    rows = {row[2]: row[3] for row in section.body[1].rows if row[0] == "2"}
    taught = len(result.rounds[1].selection.kept)
    assert rows == {
        "pseudo-labels, kept": str(taught - 1),
        "predictions, kept": str(taught - 1),
        "predictions, dropped": str(len(truth) - taught - 1),
        "predictions, reviewed": "2",
    }


def test_what_the_masks_chose_is_told(truth, tmp_path):
    class Other:
        def recalibrate(self, predictor, _target, /):
            made = replace(predictor, shift=0.2)
            return Recalibration(made, made, EVIDENCE.empty_table())

    parts = {
        "selector": CertaintyIndexSelector(min_pixels=1, top_k=3),
        "retrainer": Brighter(),
        "restart": Restart(recalibrators={"other": Other()}),
        "evaluators": {"truth": OverlapEvaluator(samples=truth)},
        "workdir": tmp_path / "run",
    }
    target = pladapt.unlabelled(truth)
    pladapt.adapt(Brightness(), target, **parts)
    review = Review(tmp_path / "run", who="Ann")
    for sample in truth:
        review.correct(sample.id, sample.mask)
    result = pladapt.adapt(Brightness(), target, **parts)
    (section,) = review_sections(result)
    name = result.rounds[1].start.choice.name
    assert name in ("other", "so far")
    whose = "other" if name == "other" else "what the run had made"
    said = section.body[1].text
    assert said.startswith(f"Round 2 starts from {whose}, chosen by 5 of these masks")
    assert not any("predictions" in row[2] for row in _rows(result, truth)) or name == "so far"


def _rows(result, truth):
    (section,) = label_sections(result, truth)
    return [row for row in section.body[1].rows if row[0] == "2"]
