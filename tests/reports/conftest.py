from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pladapt
from pladapt import LabelledSample
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.selection.certainty_index import CertaintyIndexSelector

VOID = {"meta", "br", "img", "input", "link", "hr"}


@dataclass
class Shift:
    """A retrainer that makes everything a little brighter, and keeps a history."""

    by: float = 0.1

    def retrain(self, predictor, labels, /):
        assert all(labels[index].label.dtype == np.uint8 for index in range(len(labels)))
        return replace(predictor, shift=predictor.shift + self.by)

    def save(self, predictor, folder, /):
        epochs = [
            {"epoch": n, "train_loss": 1 / n, "val_loss": 2 / n, "val_dsc": 0.1 * n}
            for n in (1, 2, 3)
        ]
        history = {"epochs": epochs, "best_epoch": 3, "validation": "two source samples"}
        (folder / "history.json").write_text(json.dumps(history))

    def load(self, predictor, folder, /):
        return replace(predictor, shift=predictor.shift + self.by)


def lesions(*, count=8, shape=(12, 14), classes=1, names=None):
    """Images with a bright lesion each, the later the fainter, of two groups."""
    generator = np.random.default_rng(0)
    made = []
    for index in range(count):
        mask = np.zeros(shape, np.uint8)
        mask[tuple(slice(2, 7) for _ in shape)] = 1 + index % classes
        image = generator.random((classes + 1, *shape)) * 0.3
        for class_ in range(classes + 1):
            image[class_][mask == class_] += 0.7 - 0.06 * index
        name = names[index] if names else ""
        channels = image if classes > 1 else image[1:]
        made.append(LabelledSample(f"{name}s{index}", f"{name}p{index % 2}", channels, mask))
    return made


def run(
    predictor,
    truth,
    *,
    workdir=None,
    rounds=1,
    evaluators=None,
    selector=None,
    recalibrator=None,
    gates=(),
    by=0.1,
    **selection,
):
    """Adapt to the samples, and return what came of it with what a report needs."""
    options = {"cutoff": 0.5, "min_pixels": 3, "ci_limit": 0.6, "top_k": 3} | selection
    chosen = selector or CertaintyIndexSelector(**options)
    target = [sample.unlabelled() for sample in truth]
    record = pladapt.adapt(
        predictor,
        target,
        selector=chosen,
        retrainer=Shift(by),
        evaluators={"overlap": OverlapEvaluator(samples=truth)}
        if evaluators is None
        else evaluators,
        recalibrator=recalibrator,
        gates=gates,
        rounds=rounds,
        workdir=workdir,
    )
    shown = {"target": target, "predictor": predictor, "selector": chosen, "truth": truth}
    return SimpleNamespace(record=record, shown=shown)


class Page(HTMLParser):
    """A page's elements, read strictly: every element must be closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.headings: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.words = ""
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"an attribute stands twice: {attrs}"
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td"):
            self._rows[-1].append("")
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        self.words += data
        if "caption" in self._open:
            self._caption += data
        elif self._rows and {"th", "td"} & set(self._open):
            self._rows[-1][-1] += data
        elif self._open and self._open[-1] in ("h1", "h2", "h3", "h4"):
            self.headings[-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="session")
def toy(brightness) -> SimpleNamespace:
    """Runs on small images with parts that are nothing but small classes."""
    return SimpleNamespace(lesions=lesions, run=partial(run, brightness()), Page=Page)
