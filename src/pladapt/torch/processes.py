"""Several processes for one training: the first of them does all else, and the others wait for it.

Only training needs several GPUs at once. So one process, the leader, runs the program, and each
training is sent to the others, which train beside it and then wait for the next one. There is one
writer of every file, as without them.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist

from pladapt.errors import DeviceError, InputError, PladaptError, ProcessError
from pladapt.torch.devices import resolve_device
from pladapt.torch.importing import current_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from pladapt.torch.options import TrainingOptions

_SECONDS: Final = 0.2  # between two looks at whether there is work
_PATIENCE: Final = 10
_END: Final = "end"


class Team:
    """The processes that torchrun started, as one of them sees them.

    Args:
        store: What all of them can read and write, a ``torch.distributed.Store``.
        rank: The number of this one, from 0, the leader.
        size: How many there are.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._store, self._calls, self._failed = store, 0, False

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Have the trainings inside done by all processes, and let the others go in the end."""
        _TEAMS.append(self)
        try:
            yield
        finally:
            _TEAMS.remove(self)
            with suppress(RuntimeError):  # where torchrun itself has ended, and the others with it
                self._store.set(self._key("work"), _END)
                if not self._failed:  # what they read it from may end with this process
                    others = [_left(rank) for rank in range(1, self.size)]
                    self._store.wait(others, timedelta(seconds=_PATIENCE))

    def follow(self) -> None:
        """Do what the leader shares, until there is no more."""
        while (work := self._next()) != _END:
            with self._group(), self._failing():
                with current_folder():
                    call = pickle.loads(_broadcast(int(work)))  # noqa: S301 - of the leader
                call()
        self._store.set(_left(self.rank), _END)

    def share(self, call: Callable[[], None], own: Callable[[], None]) -> None:
        """Have the other processes call something, while this one calls its own.

        Args:
            call: For the others; it is pickled.
            own: For this one.

        Raises:
            InputError: It cannot be sent.
            ProcessError: Another process failed; says which, and why.
        """
        try:
            sent = pickle.dumps(call)
        except Exception as error:
            raise InputError(
                f"The training cannot be sent to the other processes: {error}. Define the classes "
                "and functions of network, loss, optimiser, augmentation and samples at the top of "
                "a module, not inside a function, or train in one process, without torchrun."
            ) from error
        self._store.set(self._key("work"), str(len(sent)))
        with self._group(), self._failing():
            _broadcast(len(sent), sent)
            own()

    def _key(self, name: str) -> str:
        return f"pladapt/{self._calls}/{name}"

    def _next(self) -> str:
        while not self._store.check([self._key("work")]):
            time.sleep(_SECONDS)
        work: bytes = self._store.get(self._key("work"))
        return work.decode()

    @contextmanager
    def _group(self) -> Iterator[None]:
        """Connect the processes, for one training: an idle connection might break."""
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store = dist.PrefixStore(self._key("group"), self._store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.size)
        try:
            yield
            dist.barrier()
        finally:
            dist.destroy_process_group()
            self._calls += 1

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Say to the others why this process fails, or why another one did.

        Raises:
            ProcessError: Another one failed before.
        """
        try:
            yield
        except BaseException as error:
            self._failed = True
            before = self._store.compare_set(self._key("failed"), "", self.said(error)).decode()
            if before == self.said(error):
                raise
            raise ProcessError(
                f"{before} Nothing that was finished is lost: mend it, and run the same again to "
                "continue."
            ) from error

    def said(self, error: BaseException) -> str:
        """Return which process failed, and why."""
        own = isinstance(error, PladaptError)
        message = str(error) if own else f"{type(error).__name__}: {error}"
        return f"Process {self.rank} of {self.size}, on {socket.gethostname()}, failed: {message}"


def _left(rank: int) -> str:
    return f"pladapt/left/{rank}"


_TEAMS: Final[list[Team]] = []


def team() -> Team | None:
    """Return the processes that this one leads, or None where it is alone."""
    return _TEAMS[-1] if _TEAMS else None


def run_distributed(main: Callable[[], Any]) -> None:
    """Run a program, with its trainings spread over all processes that torchrun started.

    One process runs ``main``; the others wait, and take part in each training: `pladapt.torch.fit`,
    and what calls it, as `pladapt.torch.FineTune` and every recipe do. Each trains on its part of
    every batch, by Lightning's distributed data parallel: on the GPU of its number, or on CPUs.
    The files of images and the run folder must be where all machines see them. Without torchrun
    ``main`` is called, and no more.

    Args:
        main: The program. What it hands to a training, such as the network's class, must be defined
            where the other processes can import it: in a module, or at the top of the script.

    Raises:
        ProcessError: Another process failed in a training.
    """
    if not started_by_torchrun():
        main()
        return
    store, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    own = Team(store, rank, size)
    if rank == 0:
        with own.leading():
            main()
        return
    # there is nothing to be kept here, and what waits for another process sees no exception
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        own.follow()
    except ProcessError:
        sys.exit(1)  # the process that failed has said why
    except Exception as error:  # noqa: BLE001 - of any kind
        _print_failure(own, error)
        sys.exit(1)


def _print_failure(own: Team, error: Exception) -> None:
    if not isinstance(error, PladaptError):
        traceback.print_exception(error)
    sys.stderr.write(f"Error: {own.said(error)}\n")


def check_team(options: TrainingOptions) -> int:
    """Refuse a training that these processes cannot share, and return each one's part of a batch.

    Raises:
        InputError: A batch has fewer samples than there are processes, or one GPU is named.
        DeviceError: There are fewer GPUs than processes.
    """
    size = 1 if (own := team()) is None else own.size
    if size == 1:
        return options.batch_size
    if options.batch_size < size:
        raise InputError(
            f"A batch has {options.batch_size} samples, and torchrun started {size} processes; "
            f"give a batch_size of {size} or more, or fewer processes."
        )
    if ":" in options.device:
        raise InputError(
            f"The device is {options.device!r}, and torchrun started {size} processes, of which "
            "each takes the GPU of its number: give 'cuda', 'auto' or 'cpu'."
        )
    count = torch.cuda.device_count()
    if resolve_device(options.device).type == "cuda" and count < local_size():
        raise DeviceError(
            f"torchrun started {local_size()} processes on this machine, and it has {count} GPUs; "
            f"give --nproc-per-node {count}."
        )
    return options.batch_size // size


def local_size() -> int:
    """Return how many of the processes are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def started_by_torchrun() -> bool:
    """Return whether torchrun started this process and others with it."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _broadcast(length: int, data: bytes | None = None) -> bytes:
    """Return the leader's bytes."""
    held = torch.zeros(length, dtype=torch.uint8)
    if data is not None:
        held = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    dist.broadcast(held, src=0)
    return held.numpy().tobytes()


# Inside a training


def rank_and_size() -> tuple[int, int]:
    """Return the number of this process, from 0, and of how many that train together."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def summed(values: torch.Tensor) -> torch.Tensor:
    """Return the sum over all processes."""
    if rank_and_size()[1] > 1:
        dist.all_reduce(values)
    return values


def gathered(own: torch.Tensor) -> list[torch.Tensor]:
    """Return the tensors of all processes, in order, each of its own shape and type.

    Gradients flow into this process's own alone.
    """
    rank, size = rank_and_size()
    kinds: list[Any] = [None] * size
    dist.all_gather_object(kinds, (tuple(own.shape), own.dtype))
    parts = []
    for source, (shape, dtype) in enumerate(kinds):
        if source == rank:
            part = own.detach().contiguous()
        else:
            part = torch.empty(shape, dtype=dtype, device=own.device)
        dist.broadcast(part, src=source)
        parts.append(own if source == rank else part)
    return parts


@torch.no_grad()
def average_statistics(module: nn.Module) -> None:
    """Make statistics that each process keeps of its own images the mean of all processes'.

    Those of batch normalisation on GPUs are of all processes' images already.
    """
    size = rank_and_size()[1]
    if size == 1:
        return
    for layer in module.modules():
        if layer.training and not isinstance(layer, torch.nn.SyncBatchNorm):
            for buffer in layer.buffers(recurse=False):
                if buffer.is_floating_point():
                    buffer.copy_(summed(buffer / size))
