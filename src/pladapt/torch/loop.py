"""Lightning's loop over the epochs of a training."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any, Final, Literal

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from pladapt.torch.devices import autocast_type, resolve_device
from pladapt.torch.processes import local_size, rank_and_size
from pladapt.torch.quiet import isolated
from pladapt.torch.task import Recorder, Task, early_stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pladapt.torch.options import TrainingOptions
    from pladapt.torch.resume import TrainingState
    from pladapt.types import Progress

_PRECISION: Final[dict[torch.dtype | None, Literal["32-true", "16-mixed", "bf16-mixed"]]] = {
    None: "32-true",
    torch.float16: "16-mixed",
    torch.bfloat16: "bf16-mixed",
}

_SYNC: Final = next(  # what torch 2.15 calls broadcast_buffers
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(nn.parallel.DistributedDataParallel).parameters
)


def run(
    network: nn.Module,
    batches: tuple[Iterable[Any], Iterable[Any] | None],
    options: TrainingOptions,
    state: TrainingState,
    *,
    save: Callable[[TrainingState], None],
    progress: Progress | None,
) -> None:
    """Train a network from where a state is, in place.

    Args:
        network: What is trained.
        batches: To train on, and to validate with or None.
        options: How.
        state: What is known so far; it is brought on.
        save: Called with it after each epoch.
        progress: Called after each batch.
    """
    train, watched = batches
    first = len(state.history)
    task = Task(network, copy.deepcopy(options.loss), options, first).train()
    stopping = None if watched is None else early_stopping(options.patience, state.stopping)
    recorder = Recorder(state, stopping, save, progress)
    callbacks: list[pl.Callback] = [recorder] if stopping is None else [stopping, recorder]
    with isolated():
        _trainer(options, first, callbacks).fit(task, train, watched)


def _trainer(options: TrainingOptions, first: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    device = resolve_device(options.device)
    return pl.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        precision=_PRECISION[autocast_type(options.amp, device)],
        max_epochs=options.epochs - first,
        gradient_clip_val=options.gradient_clip,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **_processes(device),
    )


def _processes(device: torch.device) -> dict[str, Any]:
    """Return Lightning's options for the processes that train together, or for this one."""
    size = rank_and_size()[1]
    if size == 1:
        devices = [device.index] if device.type == "cuda" and device.index is not None else 1
        return {"devices": devices, "plugins": [LightningEnvironment()]}  # also in a cluster's job
    # a head that is not taught has no gradient; statistics are averaged by the task
    unusual: dict[str, Any] = {"find_unused_parameters": True, _SYNC: False}
    return {
        "devices": local_size(),
        "num_nodes": size // local_size(),
        "strategy": DDPStrategy(**unusual),
        "plugins": [TorchElasticEnvironment()],
    }
