from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pladapt.errors import DataError, InputError, LabelledTargetError
from pladapt.torch import FineTune, TorchPredictor, TrainingOptions
from pladapt.torch import retrainer as retrainer_module
from pladapt.torch.retrainer import held_out
from pladapt.torch.storage import state_sha256
from pladapt.types import PseudoLabelled
from pladapt.typing import ResumableRetrainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from pladapt.types import LabelledSample

    Net = Callable[..., nn.Module]
    Blobs = Callable[..., list[LabelledSample]]
    Pseudo = Callable[..., list[PseudoLabelled]]

pytestmark = pytest.mark.torch

OPTIONS = TrainingOptions(epochs=2, batch_size=4, device="cpu")


@pytest.fixture
def predictor(net: Net) -> TorchPredictor:
    return TorchPredictor(net(), device="cpu", batch_size=3)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Note the ids that training is given, in order."""
    noted: dict[str, list[str]] = {}
    fit = retrainer_module.fit

    def spy(module: Any, train: Any, validation: Any, *args: Any, **options: Any) -> Any:
        for name, samples in (("train", train), ("validation", validation)):
            noted[name] = [samples[i].id for i in range(len(samples))]
        return fit(module, train, validation, *args, **options)

    monkeypatch.setattr(retrainer_module, "fit", spy)
    return noted


def test_the_predictor_that_goes_in_is_not_changed(
    predictor: TorchPredictor, blobs: Blobs, pseudo: Pseudo
) -> None:
    predictor.module.train()
    before, images = state_sha256(predictor.module), blobs(3)[0].image[None]
    said = predictor.predict(images)
    retrained = FineTune(blobs(4, "v"), OPTIONS).retrain(predictor, pseudo(8))
    assert state_sha256(predictor.module) == before
    assert all(m.training for m in predictor.module.modules())
    assert torch.equal(predictor.predict(images), said)
    assert not torch.equal(retrained.predict(images), said)
    assert isinstance(retrained, TorchPredictor)
    assert (retrained.device, retrained.batch_size) == ("cpu", 3)


def test_labelled_source_samples_validate(
    predictor: TorchPredictor, blobs: Blobs, pseudo: Pseudo, seen: dict[str, list[str]]
) -> None:
    retrainer = FineTune(blobs(4, "v"), OPTIONS)
    retrained = retrainer.retrain(predictor, pseudo(6))
    assert seen == {
        "train": [f"t{i}" for i in range(6)],
        "validation": [f"v{i}" for i in range(4)],
    }
    assert retrainer.record(retrained)["validation"] == "4 labelled source samples"


def test_held_out_pseudo_labels_validate_by_group(
    predictor: TorchPredictor, pseudo: Pseudo, seen: dict[str, list[str]]
) -> None:
    labels = pseudo(10)
    retrainer = FineTune(0.4, OPTIONS)
    retrained = retrainer.retrain(predictor, labels)
    groups = {name: {s.group for s in labels if s.id in ids} for name, ids in seen.items()}
    assert len(groups["validation"]) == 2
    assert not groups["train"] & groups["validation"]
    assert sorted(seen["train"] + seen["validation"]) == [s.id for s in labels]
    assert retrainer.record(retrained)["validation"] == "2 of 5 pseudo-labelled groups held out"


def test_one_group_alone_is_split_by_sample_and_the_history_says_so(
    predictor: TorchPredictor, pseudo: Pseudo, seen: dict[str, list[str]], tmp_path: Path
) -> None:
    labels = [PseudoLabelled(s.id, "one", s.image, s.label, s.score) for s in pseudo(5)]
    retrainer = FineTune(0.2, OPTIONS)
    retrainer.save(retrainer.retrain(predictor, labels), tmp_path)
    assert (len(seen["train"]), len(seen["validation"])) == (4, 1)
    said = json.loads((tmp_path / "history.json").read_text())["validation"]
    assert "by sample since there is one group alone" in said


def test_without_validation_every_pseudo_label_teaches(
    predictor: TorchPredictor, pseudo: Pseudo, tmp_path: Path
) -> None:
    options = TrainingOptions(epochs=2, device="cpu", keep="last", ema=0.9)
    retrainer = FineTune(None, options)
    retrained = retrainer.retrain(predictor, pseudo(1))
    assert state_sha256(retrained.module) != state_sha256(predictor.module)
    retrainer.save(retrained, tmp_path)
    record = json.loads((tmp_path / "history.json").read_text())
    assert record["validation"] == "nothing"
    assert [row.keys() for row in record["epochs"]] == [{"epoch", "train_loss"}] * 2
    assert retrainer.describe()["validation"] is None
    assert retrainer.describe()["ema"] == 0.9


def test_without_validation_no_epoch_can_be_the_best() -> None:
    with pytest.raises(InputError, match="give keep='last'"):
        FineTune(None)


@given(
    groups=st.lists(st.sampled_from("abcdef"), min_size=2, max_size=20),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_a_split_leaves_something_on_both_sides(
    groups: list[str], fraction: float, seed: int
) -> None:
    names = [(str(i), group) for i, group in enumerate(groups)]
    held, _ = held_out(names, fraction, seed)
    assert 0 < len(held) < len(groups)
    if len(set(groups)) > 1:
        assert not {groups[i] for i in held} & {g for i, g in enumerate(groups) if i not in held}
    assert held_out(names, fraction, seed)[0] == held


def test_source_samples_are_mixed_in(
    predictor: TorchPredictor, blobs: Blobs, pseudo: Pseudo, seen: dict[str, list[str]]
) -> None:
    retrainer = FineTune(blobs(2, "v"), OPTIONS, source=blobs(9, "s"), source_ratio=0.5)
    retrainer.retrain(predictor, pseudo(8))
    assert seen["train"][:8] == [f"t{i}" for i in range(8)]
    mixed = seen["train"][8:]
    assert len(set(mixed)) == 4
    assert all(id_.startswith("s") for id_ in mixed)
    FineTune(blobs(2, "v"), OPTIONS, source=blobs(3, "s"), source_ratio=9).retrain(
        predictor, pseudo(4)
    )
    assert len(seen["train"]) == 4 + 3


@pytest.mark.parametrize("role", ["validation", "source"])
@pytest.mark.parametrize("kind", ["id", "group"])
def test_labelled_samples_of_the_target_are_refused(
    predictor: TorchPredictor, blobs: Blobs, pseudo: Pseudo, role: str, kind: str
) -> None:
    given = {"validation": blobs(4, "v"), "source": blobs(4, "s")}
    taken = pseudo(1)[0]
    changed = {kind: getattr(taken, kind)}
    sample = given[role][2]
    given[role][2] = type(sample)(
        **({k: getattr(sample, k) for k in ("id", "group", "image", "mask")} | changed)
    )
    with pytest.raises(InputError, match=f"{kind}s are also in '{role}', first '{changed[kind]}'"):
        FineTune(options=OPTIONS, **given).retrain(predictor, pseudo(6))


def test_true_masks_are_no_pseudo_labels(predictor: TorchPredictor, blobs: Blobs) -> None:
    with pytest.raises(LabelledTargetError, match="'s0' is a LabelledSample"):
        FineTune(0.3, OPTIONS).retrain(predictor, blobs(6))


def test_ignored_pixels_teach_nothing(
    predictor: TorchPredictor, blobs: Blobs, pseudo: Pseudo
) -> None:
    blank = [
        PseudoLabelled(s.id, s.group, s.image, np.full_like(s.label, 255), 1.0) for s in pseudo(4)
    ]
    options = TrainingOptions(epochs=2, device="cpu", freeze_batch_norm=True, keep="last")
    retrained = FineTune(blobs(2, "v"), options).retrain(predictor, blank)
    assert state_sha256(retrained.module) == state_sha256(predictor.module)


def test_a_retrained_predictor_comes_back_from_disk(
    predictor: TorchPredictor, blobs: Blobs, pseudo: Pseudo, tmp_path: Path
) -> None:
    retrainer = FineTune(blobs(4, "v"), OPTIONS)
    assert isinstance(retrainer, ResumableRetrainer)
    retrained = retrainer.retrain(predictor, pseudo(8))
    retrainer.save(retrained, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history.json", "model.safetensors"]
    other = FineTune(blobs(4, "v"), OPTIONS)
    before = state_sha256(predictor.module)
    loaded = other.load(predictor, tmp_path)
    assert state_sha256(predictor.module) == before
    images = np.stack([s.image for s in blobs(3)])
    assert torch.equal(loaded.predict(images), retrained.predict(images))
    rows = other.record(loaded)["epochs"]
    assert [row["val_dsc"] for row in rows] == [
        row["val_dsc"] for row in retrainer.record(retrained)["epochs"]
    ]


def test_the_same_retraining_leaves_the_same_bytes(
    predictor: TorchPredictor, pseudo: Pseudo, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        retrainer = FineTune(0.3, OPTIONS)
        retrainer.save(retrainer.retrain(predictor, pseudo(8)), tmp_path / name)
    for file in ("model.safetensors", "history.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_weights_of_another_architecture_are_refused(
    predictor: TorchPredictor, net: Net, pseudo: Pseudo, tmp_path: Path
) -> None:
    retrainer = FineTune(0.3, OPTIONS)
    retrainer.save(retrainer.retrain(predictor, pseudo(8)), tmp_path)
    with pytest.raises(DataError, match="does not fit"):
        retrainer.load(TorchPredictor(net(3), device="cpu"), tmp_path)


def test_a_retraining_that_was_cut_off_goes_on(
    predictor: TorchPredictor, pseudo: Pseudo, tmp_path: Path
) -> None:
    told: list[str] = []

    def cut(stage: str, done: int, total: int) -> None:
        told.append(stage)
        if stage == "train: epoch 2/2":
            raise KeyboardInterrupt

    def watch(stage: str, done: int, total: int) -> None:
        told.append(stage)

    straight = FineTune(0.3, OPTIONS).retrain(predictor, pseudo(8))
    with pytest.raises(KeyboardInterrupt):
        FineTune(0.3, OPTIONS, checkpoints=tmp_path, progress=cut).retrain(predictor, pseudo(8))
    assert len(list(tmp_path.iterdir())) == 1
    told.clear()
    retrainer = FineTune(0.3, OPTIONS, checkpoints=tmp_path, progress=watch)
    resumed = retrainer.retrain(predictor, pseudo(8))
    assert set(told) == {"train: epoch 2/2"}
    assert state_sha256(resumed.module) == state_sha256(straight.module)
    assert not list(tmp_path.iterdir())


def test_the_description_says_what_the_weights_depend_on(blobs: Blobs) -> None:
    said = FineTune(0.2, OPTIONS).describe()
    assert json.loads(json.dumps(said)) == said
    assert said["validation"] == 0.2
    assert said["epochs"] == 2
    others = [
        FineTune(0.3, OPTIONS),
        FineTune(blobs(3), OPTIONS),
        FineTune(0.2, OPTIONS, source=blobs(3)),
        FineTune(0.2, TrainingOptions(epochs=3)),
    ]
    assert all(other.describe() != said for other in others)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 1, -0.1])
def test_an_impossible_share_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="validation is"):
        FineTune(fraction)


def test_an_impossible_ratio_is_refused(blobs: Blobs) -> None:
    with pytest.raises(InputError, match="source_ratio is 0"):
        FineTune(0.1, source=blobs(2), source_ratio=0)


def test_too_few_pseudo_labels_are_refused(predictor: TorchPredictor, pseudo: Pseudo) -> None:
    for count in (0, 1):
        with pytest.raises(InputError, match=f"{count} pseudo-labelled samples cannot be split"):
            FineTune(0.1, OPTIONS).retrain(predictor, pseudo(count))


def test_a_predictor_without_a_module_is_refused(pseudo: Pseudo) -> None:
    class Constant:
        def predict(self, images: np.ndarray) -> np.ndarray:
            return np.full((len(images), 1, *images.shape[2:]), 0.5)

    with pytest.raises(InputError, match="Constant has no module to train"):
        FineTune(0.1, OPTIONS).retrain(Constant(), pseudo(4))


def test_the_record_of_a_stranger_is_refused(predictor: TorchPredictor) -> None:
    with pytest.raises(InputError, match="neither made nor loaded"):
        FineTune(0.1, OPTIONS).record(predictor)
