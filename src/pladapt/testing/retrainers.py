"""What every retrainer promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from pladapt.data.views import Mapped
from pladapt.functional.arrays import to_numpy
from pladapt.testing.checks import (
    check_description,
    contents,
    fresh,
    pseudo_labelled,
    require,
    same,
)
from pladapt.typing import Predictor, ResumableRetrainer, Retrainer

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.types import Array, PseudoLabelled, Samples


class RetrainerContract:
    """What every `pladapt.typing.Retrainer` promises.

    Fixtures to override: ``retrainer`` and ``predictor``, one that it can retrain; and ``labels``
    where it takes other images.
    """

    tolerance: ClassVar[float] = 0.0
    """How far a probability may move where the predictor is to be the same."""

    @pytest.fixture
    def retrainer(self) -> Retrainer:
        """Make the retrainer under test."""
        raise NotImplementedError("Override the fixture 'retrainer' with the part under test.")

    @pytest.fixture
    def predictor(self) -> Predictor:
        """Make a predictor that the retrainer can retrain."""
        raise NotImplementedError("Override the fixture 'predictor' with one to retrain.")

    @pytest.fixture
    def labels(self) -> Samples[PseudoLabelled]:
        """Make six samples of 32 x 32 pixels that load when asked for, some pixels ignored."""
        return Mapped(list(range(6)), pseudo_labelled)

    @pytest.fixture
    def images(self, labels: Samples[PseudoLabelled]) -> Array:
        """Return the labelled samples' images."""
        return np.stack([to_numpy(labels[index].image) for index in range(len(labels))])

    def test_it_has_the_method_of_a_retrainer(self, retrainer: Retrainer) -> None:
        """It has ``retrain``."""
        require(isinstance(retrainer, Retrainer), "A retrainer has retrain.")

    def test_it_describes_itself_the_same_each_time(self, retrainer: Retrainer) -> None:
        """The manifest of a run can tell it from another."""
        check_description(retrainer)

    def test_it_returns_a_new_predictor_and_leaves_the_given_one_unchanged(
        self,
        retrainer: Retrainer,
        predictor: Predictor,
        labels: Samples[PseudoLabelled],
        images: Array,
    ) -> None:
        """The predictor that goes in predicts the same as before."""
        before = to_numpy(predictor.predict(images)).copy()
        new = retrainer.retrain(predictor, labels)
        require(isinstance(new, Predictor), f"retrain returned a {type(new).__name__}.")
        same(
            predictor.predict(images),
            before,
            "the predictor that was given has changed",
            self.tolerance,
        )
        require(
            new is not predictor,
            "retrain returned the predictor that it was given; return a new one, which the gates "
            "compare with it, even where nothing was learnt.",
        )
        require(
            tuple(new.predict(images).shape) == before.shape,
            "The new predictor predicts another shape than the one it was made from.",
        )

    def test_it_retrains_the_same_again(
        self,
        retrainer: Retrainer,
        predictor: Predictor,
        labels: Samples[PseudoLabelled],
        images: Array,
    ) -> None:
        """A run that goes on, in which the retrainer has no memory, ends as any other."""
        other = fresh(retrainer)
        retrainer.retrain(predictor, labels)
        same(
            retrainer.retrain(predictor, labels).predict(images),
            other.retrain(predictor, labels).predict(images),
            "retrain depends on chance, or on what an earlier call has left; a run that goes on "
            "would end otherwise",
            self.tolerance,
        )

    def test_it_leaves_the_labels_unchanged(
        self, retrainer: Retrainer, predictor: Predictor, labels: Samples[PseudoLabelled]
    ) -> None:
        """Neither images nor labels are written into."""
        given = [labels[index] for index in range(len(labels))]
        before = [(to_numpy(item.image).copy(), to_numpy(item.label).copy()) for item in given]
        retrainer.retrain(predictor, given)
        for item, (image, label) in zip(given, before, strict=True):
            same(item.image, image, f"the image of {item.id} was written into", 0)
            same(item.label, label, f"the label of {item.id} was written into", 0)

    def test_what_it_saves_it_loads(
        self,
        retrainer: Retrainer,
        predictor: Predictor,
        labels: Samples[PseudoLabelled],
        images: Array,
        tmp_path: Path,
    ) -> None:
        """A retrainer that can be resumed loads the predictor that it saved."""
        if not isinstance(retrainer, ResumableRetrainer):
            pytest.skip("the retrainer cannot be resumed")
        new = retrainer.retrain(predictor, labels)
        folder = tmp_path / "predictor"
        folder.mkdir()
        retrainer.save(new, folder)
        before = to_numpy(predictor.predict(images)).copy()
        loaded = retrainer.load(predictor, folder)
        what = "the predictor that was loaded is not the one that was saved"
        same(loaded.predict(images), new.predict(images), what, self.tolerance)
        same(
            predictor.predict(images),
            before,
            "load changed the predictor that was given",
            self.tolerance,
        )

    def test_a_loaded_predictor_is_retrained_alike(
        self,
        retrainer: Retrainer,
        predictor: Predictor,
        labels: Samples[PseudoLabelled],
        images: Array,
        tmp_path: Path,
    ) -> None:
        """The next round needs nothing that ``save`` did not write."""
        if not isinstance(retrainer, ResumableRetrainer):
            pytest.skip("the retrainer cannot be resumed")
        other = fresh(retrainer)
        new = retrainer.retrain(predictor, labels)
        retrainer.save(new, tmp_path)
        loaded = other.load(predictor, tmp_path)
        same(
            other.retrain(loaded, labels).predict(images),
            retrainer.retrain(new, labels).predict(images),
            "the next round differs where it begins with the predictor that was loaded",
            self.tolerance,
        )

    def test_a_saved_predictor_is_the_same_bytes(
        self,
        retrainer: Retrainer,
        predictor: Predictor,
        labels: Samples[PseudoLabelled],
        tmp_path: Path,
    ) -> None:
        """A predictor is stored alike each time, so that runs can be compared."""
        if not isinstance(retrainer, ResumableRetrainer):
            pytest.skip("the retrainer cannot be resumed")
        new = retrainer.retrain(predictor, labels)
        stored = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            retrainer.save(new, tmp_path / name)
            stored.append(contents(tmp_path / name))
        require(bool(stored[0]), "save wrote nothing.")
        require(stored[0] == stored[1], "save wrote other bytes the second time.")
