from __future__ import annotations

import functools
import os
import random
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from pladapt.errors import DataError, DeviceError, InputError, MissingDataError, RunChangedError
from pladapt.torch import DiceBCELoss, RandomAffine, TrainingOptions, fit
from pladapt.torch.storage import state_sha256
from pladapt.types import IGNORE, LabelledSample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pladapt.torch import FitResult

    Net = Callable[..., nn.Module]
    Blobs = Callable[..., list[LabelledSample]]

pytestmark = pytest.mark.torch

OPTIONS = TrainingOptions(epochs=4, batch_size=4, device="cpu", augmentation=RandomAffine())


def without_seconds(result: FitResult) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]


def test_training_learns_and_leaves_the_module_given_as_it_was(net: Net, blobs: Blobs) -> None:
    module, samples = net(), blobs(12)
    before, modes = state_sha256(module), [m.training for m in module.modules()]
    options = replace(OPTIONS, epochs=20, optimizer=functools.partial(torch.optim.Adam, lr=3e-2))
    result = fit(module, samples[:8], samples[8:], options)
    assert state_sha256(module) == before
    assert [m.training for m in module.modules()] == modes
    assert result.history[result.best_epoch - 1]["val_dsc"] > 0.8
    assert not any(m.training for m in result.module.modules())
    assert all(p.grad is None for p in result.module.parameters())


def test_the_history_has_a_row_per_epoch(net: Net, blobs: Blobs) -> None:
    result = fit(net(), blobs(5), blobs(3, "v"), OPTIONS)
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4]
    for row in result.history:
        assert row.keys() == {"epoch", "train_loss", "val_loss", "val_dsc", "seconds"}
        assert 0 <= row["val_dsc"] <= 1
        assert row["seconds"] > 0


def test_losses_are_means_over_samples_whatever_the_batches(net: Net, blobs: Blobs) -> None:
    still = functools.partial(torch.optim.SGD, lr=0.0)
    entropy = DiceBCELoss(dice=0)  # a mean over pixels, all images being of one size
    options = replace(
        OPTIONS, epochs=1, optimizer=still, loss=entropy, augmentation=None, freeze_batch_norm=True
    )
    module = net()
    module[3].p = 0.0  # no dropout, so that the training loss can be told beforehand
    rows = [
        fit(module, blobs(5), blobs(7, "v"), replace(options, batch_size=size)).history[0]
        for size in (3, 7)
    ]
    for name, samples in (("train_loss", blobs(5)), ("val_loss", blobs(7, "v"))):
        images, masks = (
            torch.from_numpy(np.stack([getattr(s, part) for s in samples]))
            for part in ("image", "mask")
        )
        with torch.no_grad():
            expected = entropy(module.eval()(images), masks).item()
        assert [row[name] for row in rows] == pytest.approx([expected] * 2, rel=1e-5)


def test_the_same_seed_gives_the_same_weights_whatever_the_global_generators(
    net: Net, blobs: Blobs
) -> None:
    def trained(seed: int, elsewhere: int) -> FitResult:
        torch.manual_seed(elsewhere)
        np.random.seed(elsewhere)  # noqa: NPY002 - the global generator is what is tested
        random.seed(elsewhere)
        return fit(net(), blobs(9), blobs(3, "v"), replace(OPTIONS, seed=seed))

    first, second, other = trained(3, 0), trained(3, 1), trained(4, 0)
    assert state_sha256(first.module) == state_sha256(second.module)
    assert without_seconds(first) == without_seconds(second)
    assert state_sha256(first.module) != state_sha256(other.module)


def test_the_global_generators_and_flags_are_left_as_they_were(net: Net, blobs: Blobs) -> None:
    def state() -> tuple[Any, ...]:
        return (
            torch.get_rng_state().tolist(),
            str(np.random.get_state()),  # noqa: NPY002 - the same
            random.getstate(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
            signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGTERM),
        )

    before = state()
    fit(net(), blobs(5), blobs(3, "v"), OPTIONS)
    assert state() == before


def test_training_is_silent_and_writes_nothing(
    net: Net,
    blobs: Blobs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(net(), blobs(5), blobs(3, "v"), OPTIONS)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_progress_tells_epoch_and_step(net: Net, blobs: Blobs) -> None:
    told: list[tuple[str, int, int]] = []
    fit(net(), blobs(6), blobs(2, "v"), replace(OPTIONS, epochs=2), progress=_into(told))
    stages = ["train: epoch 1/2"] * 2 + ["train: epoch 2/2"] * 2
    assert told == [(stage, step, 4) for step, stage in enumerate(stages, start=1)]


def _into(told: list[tuple[str, int, int]]) -> Callable[[str, int, int], None]:
    return lambda *call: told.append(call)


class ScriptedLoss(nn.Module):
    """In validation, the losses of a script one after the other."""

    def __init__(self, *script: float) -> None:
        super().__init__()
        self.script, self.epoch = script, 0

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.training:
            return logits.square().mean()
        self.epoch += 1
        return torch.tensor(self.script[self.epoch - 1])


@pytest.mark.parametrize(
    ("script", "patience", "epochs"),
    [
        ((5, 4, 3, 2, 1), 2, 5),
        ((5, 6, 6, 4, 4, 4, 1), 2, 3),
        ((5, 6, 4, 4, 3, 9, 9, 1), 3, 8),
        ((5, 5, 5), 2, 3),
        ((5, 4, float("nan"), 3, 2), 9, 3),
    ],
)
def test_training_stops_after_patience_epochs_without_a_lower_validation_loss(
    net: Net, blobs: Blobs, script: tuple[float, ...], patience: int, epochs: int
) -> None:
    loss = ScriptedLoss(*map(float, script))
    options = replace(OPTIONS, epochs=len(script), patience=patience, loss=loss, keep="val_loss")
    result = fit(net(), blobs(4), blobs(4, "v"), options)
    assert len(result.history) == epochs
    finite = [x for x in script[:epochs] if x == x]  # noqa: PLR0124 - NaN is not itself
    assert result.best_epoch == 1 + script.index(min(finite))
    assert loss.epoch == 0, "the loss given must not be used up"


class Clock(nn.Module):
    """Counts its training steps in a parameter; right about the mask at some of them alone."""

    def __init__(self, *right: int) -> None:
        super().__init__()
        self.right, self.time = right, nn.Parameter(torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        sign = images if round(self.time.item()) in self.right else -images
        return sign + self.time - self.time.detach()


def _tick(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -logits.mean()


@pytest.mark.parametrize(
    ("keep", "right", "epoch"),
    [("val_dsc", (3,), 3), ("val_dsc", (2, 4), 2), ("val_dsc", (), 1), ("last", (3,), 6)],
)
def test_the_weights_of_the_best_epoch_are_kept(keep: Any, right: Any, epoch: int) -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:2] = 1
    samples = [LabelledSample("a", "a", 2.0 * mask[None] - 1, mask)]
    options = TrainingOptions(
        epochs=6,
        optimizer=functools.partial(torch.optim.SGD, lr=1.0),
        loss=_tick,
        keep=keep,
        device="cpu",
    )
    result = fit(Clock(*right), samples, samples, options)
    assert result.best_epoch == epoch
    assert round(result.module.time.item()) == epoch
    assert [row["val_dsc"] for row in result.history] == [float(t in right) for t in range(1, 7)]


@pytest.mark.parametrize("classes", [1, 3])
def test_ignored_pixels_count_in_no_metric(classes: int) -> None:
    class Says(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(()))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            truth = images[:, 0].long()
            return 9 * nn.functional.one_hot(truth, 3).movedim(-1, 1) + self.bias

    class Foreground(Says):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return 9.0 * images.clamp(max=1) - 4.5 + self.bias

    said = np.zeros((1, 4, 4), np.float32)
    said[0, 0], said[0, 1] = 1, min(2, classes)
    truth = said[0].astype(np.uint8)
    truth[2:] = IGNORE
    truth[0, 3] = 0  # one false positive of class 1
    sample = LabelledSample("a", "a", said, truth)
    module = Says() if classes > 1 else Foreground()
    result = fit(module, [sample], [sample], replace(OPTIONS, epochs=1))
    by_class = [6 / 7, 1.0] if classes > 1 else [14 / 15]
    assert result.history[0]["val_dsc"] == pytest.approx(np.mean(by_class))


@pytest.mark.parametrize("ema", [0.15, 0.4, 0.99])
def test_the_average_is_that_of_a_loop_written_out(net: Net, blobs: Blobs, ema: float) -> None:
    module, steps = net(), 6
    module[3].p = 0.0  # no dropout, so that a plain loop takes the same steps
    sgd = functools.partial(torch.optim.SGD, lr=0.5)
    options = replace(OPTIONS, epochs=steps, optimizer=sgd, augmentation=None, ema=ema, keep="last")
    result = fit(module, blobs(1), blobs(2, "v"), options)  # one sample: an epoch is a step

    (sample,), average = blobs(1), {}
    images, masks = torch.from_numpy(sample.image)[None], torch.from_numpy(sample.mask)[None]
    optimizer = sgd(module.train().parameters())
    for n in range(steps):
        optimizer.zero_grad()
        DiceBCELoss()(module(images), masks).backward()
        optimizer.step()
        decay = min(ema, (1 + n) / (10 + n)) if n else 0.0
        for name, now in module.state_dict().items():
            before = average.get(name, 0.0)
            average[name] = decay * before + (1 - decay) * now.double()
    average["1.num_batches_tracked"] = torch.tensor(steps)
    for name, kept in result.module.state_dict().items():
        torch.testing.assert_close(kept, average[name].to(kept.dtype), rtol=1e-5, atol=1e-7)
    mean = module[1].running_mean
    assert not torch.allclose(result.module[1].running_mean, mean, rtol=1e-3)


@pytest.mark.parametrize("keep", ["val_loss", "last"])
def test_the_average_is_what_is_validated_and_kept(net: Net, blobs: Blobs, keep: Any) -> None:
    validation = blobs(3, "v")
    result = fit(net(), blobs(8), validation, replace(OPTIONS, ema=0.9, keep=keep))
    images, masks = (
        torch.from_numpy(np.stack([getattr(s, part) for s in validation]))
        for part in ("image", "mask")
    )
    with torch.no_grad():
        loss = float(DiceBCELoss()(result.module(images), masks))
    assert result.history[result.best_epoch - 1]["val_loss"] == pytest.approx(loss, rel=1e-5)


def test_an_average_without_memory_is_the_weights(net: Net, blobs: Blobs) -> None:
    data = blobs(8), blobs(3, "v")
    with_average, without = (fit(net(), *data, replace(OPTIONS, ema=ema)) for ema in (0.0, None))
    assert state_sha256(with_average.module) == state_sha256(without.module)
    assert without_seconds(with_average) == without_seconds(without)


def test_without_validation_every_epoch_is_done_and_the_last_is_kept(
    net: Net, blobs: Blobs
) -> None:
    options = replace(OPTIONS, keep="last", patience=1)
    result = fit(net(), blobs(8), None, options)
    assert result.best_epoch == options.epochs
    assert [row.keys() for row in result.history] == [{"epoch", "train_loss", "seconds"}] * 4
    validated = fit(net(), blobs(8), blobs(3, "v"), replace(options, patience=9))
    assert state_sha256(result.module) == state_sha256(validated.module)


@pytest.mark.parametrize(
    ("samples", "min_steps", "epochs"), [(8, 0, 4), (8, 8, 4), (8, 9, 5), (9, 10, 5), (10, 13, 5)]
)
def test_a_small_set_is_gone_through_until_there_are_enough_steps(
    net: Net, blobs: Blobs, samples: int, min_steps: int, epochs: int
) -> None:
    options = replace(OPTIONS, keep="last", min_steps=min_steps)
    result = fit(net(), blobs(samples), None, options)
    assert len(result.history) == epochs
    longer = fit(net(), blobs(samples), None, replace(OPTIONS, keep="last", epochs=epochs))
    assert state_sha256(result.module) == state_sha256(longer.module)


def test_without_validation_no_epoch_can_be_the_best(net: Net, blobs: Blobs) -> None:
    with pytest.raises(InputError, match="keep is 'val_dsc' and validation is None"):
        fit(net(), blobs(4), None, OPTIONS)


def test_without_validation_a_training_that_never_gives_a_number_says_so(
    net: Net, blobs: Blobs
) -> None:
    with pytest.raises(InputError, match="never finite"):
        fit(net(), blobs(4), None, replace(OPTIONS, loss=_no_number, keep="last"))


def _no_number(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return logits.mean() * float("nan")


class StopHereError(Exception):
    """Stands for whatever ends a training early."""


def stop_at(stage: str, step: int, error: BaseException) -> Callable[[str, int, int], None]:
    seen: list[str] = []

    def progress(current: str, done: int, total: int) -> None:
        seen.append(current)
        if current == stage and seen.count(stage) == step:
            raise error

    return progress


@pytest.mark.parametrize("epoch", [1, 2, 4])
@pytest.mark.parametrize(
    "optimizer",
    [
        functools.partial(torch.optim.Adam, lr=1e-2),
        functools.partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
    ],
    ids=["adam", "sgd"],
)
def test_a_training_that_was_cut_off_ends_as_an_uncut_one(
    net: Net, blobs: Blobs, tmp_path: Path, epoch: int, optimizer: Any
) -> None:
    options = replace(OPTIONS, optimizer=optimizer, patience=2)
    data, path = (blobs(9), blobs(4, "v")), tmp_path / "state" / "training.safetensors"
    straight = fit(net(), *data, options)
    cut = stop_at(f"train: epoch {epoch}/4", 2, StopHereError())
    with pytest.raises(StopHereError):
        fit(net(), *data, options, checkpoint=path, progress=cut)
    told: list[tuple[str, int, int]] = []
    resumed = fit(net(), *data, options, checkpoint=path, progress=_into(told))
    assert told[0] == (f"train: epoch {epoch}/4", 2 * epoch - 1, 8), "it must go on, not begin anew"
    assert state_sha256(resumed.module) == state_sha256(straight.module)
    assert without_seconds(resumed) == without_seconds(straight)


@pytest.mark.parametrize("validated", [True, False])
def test_an_average_that_was_cut_off_ends_as_an_uncut_one(
    net: Net, blobs: Blobs, tmp_path: Path, *, validated: bool
) -> None:
    options = replace(OPTIONS, ema=0.6, keep="last")
    data, path = (blobs(9), blobs(4, "v") if validated else None), tmp_path / "state"
    straight = fit(net(), *data, options)
    cut = stop_at("train: epoch 3/4", 2, StopHereError())
    with pytest.raises(StopHereError):
        fit(net(), *data, options, checkpoint=path, progress=cut)
    resumed = fit(net(), *data, options, checkpoint=path)
    assert state_sha256(resumed.module) == state_sha256(straight.module)
    assert without_seconds(resumed) == without_seconds(straight)


def test_early_stopping_is_continued_too(net: Net, blobs: Blobs, tmp_path: Path) -> None:
    # a learning rate of 0 never lowers the loss: the third epoch is the second without progress
    still = functools.partial(torch.optim.SGD, lr=0.0)
    options = replace(OPTIONS, epochs=9, patience=2, optimizer=still, freeze_batch_norm=True)
    data, path = (blobs(4), blobs(4, "v")), tmp_path / "state"
    with pytest.raises(StopHereError):
        fit(
            net(),
            *data,
            options,
            checkpoint=path,
            progress=stop_at("train: epoch 3/9", 1, StopHereError()),
        )
    assert len(fit(net(), *data, options, checkpoint=path).history) == 3


def test_a_finished_training_is_not_repeated(net: Net, blobs: Blobs, tmp_path: Path) -> None:
    data, path = (blobs(5), blobs(3, "v")), tmp_path / "state"
    first = fit(net(), *data, OPTIONS, checkpoint=path)
    told: list[tuple[str, int, int]] = []
    second = fit(net(), *data, OPTIONS, checkpoint=path, progress=_into(told))
    assert not told
    assert second.history == first.history
    assert state_sha256(second.module) == state_sha256(first.module)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"optimizer": functools.partial(torch.optim.Adam, lr=1e-2)}, "optimizer"),
        ({"augmentation": RandomAffine(zoom=0.3)}, "augmentation"),
        ({"ema": 0.9}, "ema was None and is 0.9"),
    ],
)
def test_another_training_does_not_go_on_from_the_file(
    net: Net, blobs: Blobs, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    data, path = (blobs(5), blobs(3, "v")), tmp_path / "state"
    fit(net(), *data, OPTIONS, checkpoint=path)
    with pytest.raises(RunChangedError, match=told):
        fit(net(), *data, replace(OPTIONS, **change), checkpoint=path)
    with pytest.raises(RunChangedError, match="module"):
        fit(net(seed=1), *data, OPTIONS, checkpoint=path)
    with pytest.raises(RunChangedError, match="train was 5 and is 6"):
        fit(net(), blobs(6), data[1], OPTIONS, checkpoint=path)


def test_a_broken_state_file_is_named(net: Net, blobs: Blobs, tmp_path: Path) -> None:
    data, path = (blobs(5), blobs(3, "v")), tmp_path / "state"
    fit(net(), *data, OPTIONS, checkpoint=path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"state.*truncated"):
        fit(net(), *data, OPTIONS, checkpoint=path)
    for place in np.random.default_rng(0).choice(len(whole), 40, replace=False).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"state (has no training|cannot be read)"):
            fit(net(), *data, OPTIONS, checkpoint=path)


@pytest.fixture
def handler() -> Iterator[object]:
    """Python's own handler of Ctrl-C, which a process started in the background lacks."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_an_interruption_comes_through(net: Net, blobs: Blobs, handler: object) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(net(), blobs(5), blobs(3, "v"), OPTIONS, progress=_interrupt)
    assert signal.getsignal(signal.SIGINT) is handler


def _interrupt(stage: str, done: int, total: int) -> None:
    os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does


def test_an_interruption_before_the_first_step_comes_through(
    net: Net, blobs: Blobs, handler: object
) -> None:
    def optimizer(parameters: object) -> torch.optim.Optimizer:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(net(), blobs(5), blobs(3, "v"), replace(OPTIONS, optimizer=optimizer))
    assert signal.getsignal(signal.SIGINT) is handler


def test_sigterm_does_while_training_what_it_did_before(net: Net, blobs: Blobs) -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def look(stage: str, done: int, total: int) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    fit(net(), blobs(4), blobs(3, "v"), replace(OPTIONS, epochs=1), progress=look)
    assert seen == [before]


def test_an_error_of_a_sample_comes_through(net: Net, blobs: Blobs) -> None:
    class Broken(list[LabelledSample]):
        def __getitem__(self, index: Any) -> Any:
            if index == 3:
                raise MissingDataError("slice-3")
            return super().__getitem__(index)

    with pytest.raises(MissingDataError, match="slice-3"):
        fit(net(), Broken(blobs(5)), blobs(3, "v"), OPTIONS)


def test_frozen_batch_normalisation_keeps_its_statistics(net: Net, blobs: Blobs) -> None:
    module = net()
    module[1].running_mean += 0.25
    for freeze in (True, False):
        result = fit(module, blobs(5), blobs(3, "v"), replace(OPTIONS, freeze_batch_norm=freeze))
        kept = torch.equal(result.module[1].running_mean, module[1].running_mean)
        assert kept is freeze
        assert not torch.equal(result.module[1].weight, module[1].weight)


def test_a_parameter_that_needs_no_gradient_is_not_learnt(net: Net, blobs: Blobs) -> None:
    module = net()
    module[0].requires_grad_(False)  # noqa: FBT003 - torch's signature
    result = fit(module, blobs(5), blobs(3, "v"), OPTIONS)
    assert torch.equal(result.module[0].weight, module[0].weight)
    assert not torch.equal(result.module[4].weight, module[4].weight)


def test_a_small_norm_of_the_gradient_slows_the_learning(net: Net, blobs: Blobs) -> None:
    sgd = functools.partial(torch.optim.SGD, lr=1.0)
    options = replace(OPTIONS, epochs=1, optimizer=sgd, gradient_clip=1e-4, batch_size=8)
    module = net()
    result = fit(module, blobs(8), blobs(3, "v"), options)
    pairs = zip(result.module.parameters(), module.parameters(), strict=True)
    moved = torch.stack([(a - b).square().sum() for a, b in pairs]).sum().sqrt()
    assert float(moved.detach()) == pytest.approx(1e-4, rel=0.01)


def test_a_last_batch_of_one_sample_is_left_out(net: Net, blobs: Blobs) -> None:
    told: list[tuple[str, int, int]] = []
    options = replace(OPTIONS, epochs=1)
    fit(net(), blobs(9), blobs(3, "v"), options, progress=_into(told))
    assert [total for *_, total in told] == [2, 2]
    fit(net(), blobs(1), blobs(3, "v"), options, progress=_into(told))
    assert told[-1] == ("train: epoch 1/1", 1, 1)


def test_three_dimensions_and_several_classes(net: Net) -> None:
    rng = np.random.default_rng(0)
    samples = [
        LabelledSample(f"v{i}", "a", rng.normal(size=(1, 4, 6, 8)), rng.integers(0, 3, (4, 6, 8)))
        for i in range(3)
    ]
    result = fit(net(3, spatial=3), samples, samples, OPTIONS)
    assert len(result.history) == 4


def test_workers_change_nothing(net: Net, blobs: Blobs) -> None:
    options = replace(OPTIONS, epochs=2)
    results = [
        fit(net(), blobs(5), blobs(3, "v"), replace(options, workers=workers)) for workers in (0, 1)
    ]
    assert state_sha256(results[0].module) == state_sha256(results[1].module)


def test_empty_samples_are_refused(net: Net, blobs: Blobs) -> None:
    with pytest.raises(InputError, match="'train'"):
        fit(net(), [], blobs(3), OPTIONS)
    with pytest.raises(InputError, match="'validation'"):
        fit(net(), blobs(3), [], OPTIONS)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (np.full((16, 16), 2), "value 2; the module knows the classes 0 to 1"),
        (np.full((16, 16), -1), "value -1"),
        (np.zeros((16, 16), np.float32), "expected integers"),
    ],
)
def test_a_mask_that_does_not_fit_the_module_is_named(
    net: Net, blobs: Blobs, mask: np.ndarray, told: str
) -> None:
    wrong = LabelledSample("odd-one", "g", blobs(1)[0].image, mask)
    with pytest.raises(InputError, match=f"'odd-one'.*{told}"):
        fit(net(), [*blobs(3), wrong], blobs(2), OPTIONS)


def test_images_of_several_shapes_are_trained_on_and_other_channels_refused(
    net: Net, blobs: Blobs
) -> None:
    mixed = blobs(3) + blobs(3, size=19)
    first, again = (fit(net(), mixed, mixed, OPTIONS) for _ in range(2))
    assert state_sha256(first.module) == state_sha256(again.module) != state_sha256(net())
    wrong = LabelledSample("odd", "g", np.zeros((2, 16, 16), np.float32), np.zeros((16, 16), int))
    with pytest.raises(InputError, match="the same channels"):
        fit(net(), [*blobs(2), wrong], blobs(2), OPTIONS)


def test_a_training_that_never_gives_a_number_says_so(net: Net, blobs: Blobs) -> None:
    loss = ScriptedLoss(float("nan"), float("nan"))
    with pytest.raises(InputError, match="never finite"):
        fit(net(), blobs(4), blobs(4), replace(OPTIONS, loss=loss))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("min_steps", -1),
        ("batch_size", 0),
        ("patience", 0),
        ("seed", -1),
        ("keep", "val_iou"),
        ("ema", 1),
    ],
)
def test_an_impossible_option_is_refused(option: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{option} is {value!r}"):
        TrainingOptions(**{option: value})


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 in this processor"
)
def test_mixed_precision_trains_nearly_the_same(net: Net, blobs: Blobs) -> None:
    full, mixed = (
        fit(net(), blobs(8), blobs(4, "v"), replace(OPTIONS, amp=amp))
        for amp in ("off", "bfloat16")
    )
    assert next(mixed.module.parameters()).dtype == torch.float32
    assert mixed.history[-1]["val_loss"] != full.history[-1]["val_loss"]
    assert mixed.history[-1]["val_loss"] == pytest.approx(full.history[-1]["val_loss"], rel=0.02)


def test_bfloat16_is_refused_where_the_processor_lacks_it(
    net: Net, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(DeviceError, match="bfloat16"):
        fit(net(), blobs(4), blobs(4), replace(OPTIONS, amp="bfloat16"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_to_be_absent(net: Net, blobs: Blobs) -> None:
    with pytest.raises(DeviceError, match="cuda"):
        fit(net(), blobs(4), blobs(4), replace(OPTIONS, device="cuda"))
