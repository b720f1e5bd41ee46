"""Training a module, on source masks or on pseudo-labels alike."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pladapt.errors import InputError
from pladapt.torch.calling import called, explained
from pladapt.torch.data import Pairs, steps_in_epoch, training_batches, validation_batches
from pladapt.torch.devices import as_tensor, resolve_device
from pladapt.torch.options import TrainingOptions
from pladapt.torch.predictor import check_logits, evaluating
from pladapt.torch.preparation import Prepared
from pladapt.torch.processes import check_team, rank_and_size, team
from pladapt.torch.rehearsal import check_batch_norm, check_loss
from pladapt.torch.resume import TrainingState, load_state, save_state
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pladapt.torch.data import Taught
    from pladapt.torch.resume import Row
    from pladapt.types import Progress, Samples


@dataclass(frozen=True)
class FitResult:
    """A trained module.

    Args:
        module: The module with the kept weights, on the CPU, in evaluation mode.
        history: A row per epoch: ``epoch`` (from 1), ``train_loss``, ``val_loss``, ``val_dsc``
            (pooled over all validation pixels, at a cut-off of 0.5) and ``seconds``. Without
            validation ``val_loss`` and ``val_dsc`` are missing.
        best_epoch: The epoch of the kept weights.
        optimizer: The optimiser's state after the last epoch.
    """

    module: nn.Module
    history: list[Row]
    best_epoch: int
    optimizer: dict[str, Any]


def fit(
    module: nn.Module,
    train: Samples[Taught],
    validation: Samples[Taught] | None,
    options: TrainingOptions | None = None,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> FitResult:
    """Train a copy of a module.

    The result depends on the arguments alone: the global random generators are neither read nor
    changed. An interruption (KeyboardInterrupt) comes through. Inside
    `pladapt.torch.run_distributed` all processes train, each on its part of every batch.

    Args:
        module: Maps images ``(B, C, *S)`` to logits ``(B, K, *S)``; it is not changed.
        train: Labelled or pseudo-labelled samples. Where the shapes in a batch differ, the smaller
            images get a border that does not teach; where the module is a `Prepared` with a patch
            size, it learns from crops of that size.
        validation: Samples that decide when to stop and which weights to keep; None to train
            for all epochs and keep the last one's weights, which asks for ``keep="last"``.
        options: How to train.
        progress: Called after each step, the epoch being the stage.
        checkpoint: A file that is written after each epoch. If it is there, training goes on from
            it and ends with the weights that an uninterrupted training would have.

    Raises:
        InputError: ``train`` or ``validation`` is empty, a sample does not fit the module, nothing
            in it can be trained, nothing validates and ``keep`` is not ``last``, or the loss was
            never finite.
        DeviceError: The device is not there, or does not compute in the precision asked for.
        RunChangedError: The checkpoint is of another training.
        ProcessError: Another process that trained, too, failed.
    """
    options = options or TrainingOptions()
    own_batch = check_team(options)
    if validation is None:
        check_unvalidated(options)
    check_trainable(module)
    logits = _logits(module, train, validation)
    channels = int(logits.shape[1])
    options = _long_enough(options, len(train))
    check_loss(options.loss, logits)
    if not options.freeze_batch_norm:
        check_batch_norm(module, min(own_batch, len(train)), train[0].image)
    fingerprint = _fingerprint(module, train, validation, options) if checkpoint else {}
    state = TrainingState()
    if checkpoint is not None and checkpoint.exists():
        state = load_state(checkpoint, fingerprint)
    part, prepare, crop = _parts(module)
    network = copy.deepcopy(part).cpu().float()
    if state.module:
        network.load_state_dict(state.module)

    def save(state: TrainingState) -> None:
        if checkpoint is not None:
            save_state(state, checkpoint, fingerprint)

    if not state.finished:
        held = None if validation is None else Pairs(validation, channels, prepare=prepare)
        taught = Pairs(train, channels, soft=True, prepare=prepare, crop=crop)
        training = _Training(network, (taught, held), options, state)
        own = partial(_train, training, save, progress)
        if (others := team()) is None:
            own()
        else:
            others.share(partial(_train, training), own)
    return _result(network, module, state)


def _parts(
    module: nn.Module,
) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor] | None, tuple[int, ...] | None]:
    """Return what is trained, what prepares whole images for it, and the size of its crops.

    Whole images are prepared, since a crop's own mean and standard deviation would be others.
    """
    if not isinstance(module, Prepared):
        return module, None, None
    return module.without_steps(), module.prepare, module.preparation.crop_size


def check_trainable(module: nn.Module) -> None:
    """Refuse a module that has nothing to learn with.

    Raises:
        InputError: It has no parameters, or each is frozen.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(
            "The module is compiled by torch.jit, which can be used and not trained. Give the "
            "module that it was made of, or adapt without training: rounds=0, or with the recipe "
            "'robust' train=False (--set train=false)."
        )
    parameters = list(module.parameters())
    if any(parameter.requires_grad for parameter in parameters):
        return
    name = type(module).__name__
    why = f"all {len(parameters)} of its parameters are frozen" if parameters else "it has none"
    raise InputError(
        f"The {name} has no parameters to be trained: {why}. Call module.requires_grad_(True) "
        "where it is made, or adapt without training: rounds=0, or with the recipe 'robust' "
        "train=False (--set train=false)."
    )


def check_unvalidated(options: TrainingOptions) -> None:
    """Refuse options that ask for a validation where there is none.

    Raises:
        InputError: ``keep`` is not ``last``.
    """
    if options.keep != "last":
        raise InputError(
            f"keep is {options.keep!r} and validation is None, so that no epoch is known to be "
            "better than another; give keep='last', or samples to validate on."
        )


def _long_enough(options: TrainingOptions, samples: int) -> TrainingOptions:
    """Return the options with as many epochs as the least number of steps asks for."""
    steps = steps_in_epoch(samples, options.batch_size)
    return replace(options, epochs=max(options.epochs, math.ceil(options.min_steps / steps)))


def _logits(
    module: nn.Module, train: Samples[Taught], validation: Samples[Taught] | None
) -> torch.Tensor:
    """Return what the module gives for the first sample, on the CPU."""
    for name, samples in (("train", train), ("validation", validation)):
        if samples is not None and len(samples) == 0:
            raise InputError(f"There is no sample in {name!r}; training needs at least one.")
    parameter = next(module.parameters(), torch.empty(0))
    image = as_tensor(train[0].image).float()[None].to(parameter.device)
    with explained(image), torch.no_grad(), evaluating(module):
        given = called(module, image)
    check_logits(given, image)
    logits: torch.Tensor = given
    return logits.float().cpu()


def _fingerprint(
    module: nn.Module,
    train: Samples[Taught],
    validation: Samples[Taught] | None,
    options: TrainingOptions,
) -> dict[str, Any]:
    sizes = {"train": len(train), "validation": None if validation is None else len(validation)}
    told = {"preparation": module.preparation.describe()} if isinstance(module, Prepared) else {}
    return {"module": state_sha256(module), **sizes, **told, **options.describe()}


@dataclass(frozen=True)
class _Training:
    """What each process that trains has to know."""

    network: nn.Module
    data: tuple[Pairs, Pairs | None]
    options: TrainingOptions
    state: TrainingState


def _train(
    training: _Training,
    save: Callable[[TrainingState], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Train, beside other processes where there are any; those keep nothing of it."""
    network, (taught, held), options = training.network, training.data, training.options
    state, size, workers = training.state, options.batch_size, options.workers
    first = len(state.history)
    if rank_and_size()[1] > 1 and resolve_device(options.device).type == "cuda":
        synced = nn.SyncBatchNorm.convert_sync_batchnorm
        network = synced(copy.deepcopy(network))  # type: ignore[no-untyped-call]  # torch's
    train = training_batches(taught, size, seed=options.seed, first=first, workers=workers)
    watched = None if held is None else validation_batches(held, size, workers=workers)
    # it takes seconds to import, which all that trains nothing need not wait for
    from pladapt.torch.loop import run  # noqa: PLC0415

    run(network, (train, watched), options, state, save=save or _forget, progress=progress)


def _forget(_: TrainingState) -> None:
    """Keep nothing."""


def _result(network: nn.Module, module: nn.Module, state: TrainingState) -> FitResult:
    if not state.best:
        losses = [row.get("val_loss", row["train_loss"]) for row in state.history]
        raise InputError(
            f"The loss was never finite: {losses}. Look for NaN in the images, or give "
            "an optimizer with a lower learning rate."
        )
    network.load_state_dict(state.best)
    network.zero_grad()
    kept = network.cpu().eval()
    if isinstance(module, Prepared) and isinstance(network, Prepared):
        kept = module.around(network.network).eval()
    return FitResult(kept, state.history, state.best_epoch, state.optimizer or {})
