"""One training as Lightning sees it: the steps, and what is noted after each epoch."""

from __future__ import annotations

import math
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch.optim.swa_utils import AveragedModel

from pladapt.functional.overlap import confusion, dsc
from pladapt.torch.data import epoch_seed, stacked
from pladapt.torch.processes import average_statistics, gathered, rank_and_size, summed
from pladapt.torch.recalibration import batch_norms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from pladapt.torch.data import Pair
    from pladapt.torch.options import TrainingOptions
    from pladapt.torch.resume import Row, State, TrainingState
    from pladapt.types import Progress


class Task(pl.LightningModule):
    """The training of a module.

    Args:
        module: The module, which is trained in place.
        loss: The loss; a copy of its own, since Lightning moves it to the device.
        options: How to train.
        first: The epochs that were done before, in a training that is continued.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        options: TrainingOptions,
        first: int,
    ) -> None:
        super().__init__()
        self.module, self.loss, self.options, self.first = module, loss, options, first
        self.average = None if options.ema is None else _average(module, options.ema)
        self._generator = torch.Generator()
        self._losses: list[torch.Tensor] = []
        self._sizes: list[int] = []
        self._counts = np.zeros((1, 4), np.int64)
        self._held = torch.zeros(2)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimiser of the parameters that are to be learnt."""
        return self.options.optimizer(p for p in self.module.parameters() if p.requires_grad)

    def on_train_epoch_start(self) -> None:
        """Seed the epoch, and keep batch normalisation's statistics if they are frozen."""
        epoch, seed = self.first + self.current_epoch, self.options.seed
        own = f" in process {rank}" if (rank := rank_and_size()[0]) else ""
        self._generator.manual_seed(epoch_seed(seed, epoch, f"augmentation{own}"))
        torch.manual_seed(epoch_seed(seed, epoch, f"dropout{own}"))
        self._losses, self._sizes = [], []
        if self.options.freeze_batch_norm:
            for layer in batch_norms(self.module):
                layer.eval()

    def training_step(self, batch: Pair, _: int) -> torch.Tensor:
        """Return the loss of a batch, augmented; of all processes' parts of it together."""
        images, masks = batch
        if self.options.augmentation is not None:
            images, masks = self.options.augmentation(images, masks, self._generator)
        logits, size = self.module(images), rank_and_size()[1]
        if size > 1:
            logits, masks = _of_all(logits, masks)
        loss: torch.Tensor = self.loss(logits, masks)
        self._losses.append(loss.detach())
        self._sizes.append(len(logits))
        # of several processes the mean gradient is taken, and each has that of its own part
        return loss if size == 1 else size * loss

    def on_train_batch_end(self, *_: object) -> None:
        """Take the step into the average; the optimiser has made it."""
        average_statistics(self.module)
        if self.average is not None:
            self.average.update_parameters(self.module)

    @property
    def kept(self) -> nn.Module:
        """The module that is validated and kept: the average, where there is one."""
        return self.module if self.average is None else self.average.module

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._counts = np.zeros((1, 4), np.int64)
        self._held = torch.zeros(2, device=self.device)

    def validation_step(self, batch: Pair, _: int) -> None:
        """Note the loss of a batch and count its pixels."""
        images, masks = batch
        logits = self.kept(images)
        loss = self.loss(logits, masks)
        size = len(images)
        self._held += torch.stack([loss.float() * size, torch.full_like(loss.float(), size)])
        self._counts = self._counts + _counts(logits, masks)

    def on_validation_epoch_end(self) -> None:
        """Take the mean and the counts over the samples of all processes."""
        total, count = summed(self._held)
        self.log("val_loss", total / count, batch_size=1)
        self._counts = summed(torch.from_numpy(self._counts).to(self.device)).cpu().numpy()

    @property
    def train_loss(self) -> float:
        """The mean training loss over the epoch's samples."""
        return float(np.average(torch.stack(self._losses).cpu(), weights=self._sizes))

    @property
    def val_dsc(self) -> float:
        """The DSC over all validation pixels, at a cut-off of 0.5; the mean over the classes."""
        tp, fp, fn, _ = self._counts.T
        return float(dsc(tp, fp, fn).mean())


def _of_all(logits: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits and masks of all processes, whose images may have other sizes."""
    parts = zip(gathered(logits), gathered(masks), strict=True)
    return stacked([pair for part in parts for pair in zip(*part, strict=True)])


def _average(module: nn.Module, decay: float) -> AveragedModel:
    """Return an average that begins with the first step's weights."""

    @torch.no_grad()
    def update(averages: Sequence[torch.Tensor], now: Sequence[torch.Tensor], n: Any) -> None:
        steps = int(n)
        weight = 1 - min(decay, (1 + steps) / (10 + steps))
        for average, current in zip(averages, now, strict=True):
            if average.is_floating_point():
                average.lerp_(current, weight)
            else:
                average.copy_(current)

    return AveragedModel(module, multi_avg_fn=update, use_buffers=True)


def _counts(logits: torch.Tensor, masks: torch.Tensor) -> np.ndarray[Any, np.dtype[np.int64]]:
    channels = logits.shape[1]
    predicted = logits.squeeze(1) > 0 if channels == 1 else logits.argmax(1)
    prediction, truth = predicted.to(torch.uint8).cpu().numpy(), masks.cpu().numpy()
    classes = range(1, max(2, channels))
    return np.stack([confusion(prediction, truth, class_).sum(0) for class_ in classes])


class Recorder(Callback):
    """Keeps the history, the best weights and the state to continue from.

    Args:
        state: What has been done so far; it is added to.
        stopping: The early stopping, whose state is kept too; None where nothing validates.
        save: Called with the state after each epoch.
        progress: Called after each step.
    """

    def __init__(
        self,
        state: TrainingState,
        stopping: EarlyStopping | None,
        save: Callable[[TrainingState], None],
        progress: Progress | None,
    ) -> None:
        self.state, self.stopping, self._save, self._progress = state, stopping, save, progress
        self._started = 0.0
        self._sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Put optimiser and average where they were, and SIGTERM's handler back.

        Lightning's would wait for the batch's end and then exit with success.
        """
        if self.state.average:
            pl_module.average.load_state_dict(self.state.average)
        if self.state.optimizer is not None:
            trainer.optimizers[0].load_state_dict(self.state.optimizer)
            trainer.precision_plugin.load_state_dict(self.state.scaler)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._sigterm)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        """Tell how far the epoch is."""
        del pl_module
        if self._progress is not None:
            epoch, epochs = self._epochs(trainer)
            steps = int(trainer.num_training_batches)
            done = (epoch - 1) * steps + args[-1] + 1
            self._progress(f"train: epoch {epoch}/{epochs}", done, epochs * steps)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Note the epoch; validation and the check for early stopping came before."""
        row = self._row(trainer, pl_module)
        epoch, epochs = self._epochs(trainer)
        state = self.state
        state.history.append(row)
        state.module = _copied(pl_module.module)
        if pl_module.average is not None:
            state.average = _copied(pl_module.average)
        if self._is_best(row, pl_module.options.keep):
            state.best, state.best_epoch = _copied(pl_module.kept), epoch
        state.optimizer = trainer.optimizers[0].state_dict()
        state.scaler = trainer.precision_plugin.state_dict()
        if self.stopping is not None:
            state.stopping = _plain(self.stopping.state_dict())
        state.finished = trainer.should_stop or epoch == epochs
        self._save(state)

    def _epochs(self, trainer: pl.Trainer) -> tuple[int, int]:
        task: Any = trainer.lightning_module
        return task.first + trainer.current_epoch + 1, task.options.epochs

    def _row(self, trainer: pl.Trainer, task: Task) -> Row:
        row = {"epoch": self._epochs(trainer)[0], "train_loss": task.train_loss}
        if self.stopping is not None:
            row |= {
                "val_loss": float(trainer.callback_metrics["val_loss"]),
                "val_dsc": task.val_dsc,
            }
        return row | {"seconds": time.perf_counter() - self._started}

    def _is_best(self, row: Row, keep: str) -> bool:
        if not math.isfinite(row.get("val_loss", row["train_loss"])):
            return False
        best = self.state.best_epoch
        if keep == "last" or not best:
            return True
        before = self.state.history[best - 1]
        if keep == "val_loss":
            return row["val_loss"] < before["val_loss"]
        return row["val_dsc"] > before["val_dsc"]


def _copied(module: nn.Module) -> State:
    return {name: t.detach().cpu().clone() for name, t in module.state_dict().items()}


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v.item() if isinstance(v, torch.Tensor) else v for k, v in state.items()}


def early_stopping(patience: int, state: dict[str, Any]) -> EarlyStopping:
    """Return Lightning's early stopping on the validation loss, as it was left."""
    # after validation, so that the recorder, at the epoch's end, finds it up to date
    stopping = EarlyStopping("val_loss", patience=patience, check_on_train_epoch_end=False)
    if state:
        stopping.load_state_dict({**state, "best_score": torch.tensor(state["best_score"])})
    return stopping
