"""Workers on a Ray cluster: hiring them, giving them work, and replacing those that die."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import ClusterError, InputError, PladaptError
from pladapt.optional import needs
from pladapt.ray.cluster import capacity
from pladapt.runs.manifest import describe
from pladapt.storage import to_json

with needs("ray", "ray"):
    import ray
    from ray.exceptions import RayError, RayTaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

_DEATHS: Final = 3  # of workers at the same piece, until that is taken to be the reason
_AT_ONCE: Final = 2  # pieces that a worker has, so that it need not wait for the next
_AHEAD: Final = 4  # pieces for each worker that may wait for one before them
_UNKNOWN: Final = object()
_SECONDS: Final = 2.0  # until machines are counted again


class Actor:
    """What runs on a cluster: a predictor, and the work that is done with it.

    Args:
        folder: Where relative paths begin.
    """

    def __init__(self, folder: str) -> None:
        self._predictor: Any = None
        self._work: Any = None
        with suppress(OSError):  # a machine without it, where paths are whole
            os.chdir(folder)

    def start(self, predictor: Any, *, ready: bool) -> tuple[str, str, Any]:
        """Take the predictor, or make it.

        Returns:
            The machine's name, the version of pladapt there, and what the predictor is.
        """
        self._predictor = predictor if ready else predictor()
        return socket.gethostname(), version("pladapt"), describe(self._predictor)

    def prepare(self, make: Callable[[Any], Any]) -> None:
        """Make the work that follows."""
        self._work = make(self._predictor)

    def do(self, items: Sequence[Any]) -> list[Any]:
        """Return what the work makes of items."""
        return list(self._work(items))


@dataclass(eq=False)
class _Worker:
    """An actor, and the calls that it has not answered: the number of the piece, and the answer."""

    actor: Any
    calls: deque[tuple[int | None, Any]] = field(default_factory=deque)
    started: bool = False


class Pool:
    """Workers that have one predictor.

    Args:
        predictor: The predictor, or what makes it.
        ready: Whether it is the predictor.
        limit: How many workers there are at most; None for as many as there is room for.
        cpus: How many CPUs a worker has.
        gpus: How many GPUs a worker has.
    """

    def __init__(
        self, predictor: Any, *, ready: bool, limit: int | None, cpus: float, gpus: float
    ) -> None:
        self._limit, self._cpus, self._gpus = limit, cpus, gpus
        self._predictor, self._ready = _sent(predictor), ready
        self._kind = ray.remote(Actor).options(num_cpus=cpus, num_gpus=gpus)
        self._workers: list[_Worker] = []
        self._make: Any = None
        self._counted = float("-inf")
        self._wanted = 0
        self._described: Any = _UNKNOWN
        self._deaths: Counter[int | None] = Counter()

    def describe(self) -> Any:
        """Return what the predictor is, on the worker that is first to say so."""
        while self._described is _UNKNOWN:
            self._hire(1)
            self._answers()
        return self._described

    def run(self, make: Callable[[Any], Any], pieces: Sequence[Sequence[Any]]) -> Generator[Any]:
        """Yield what is made of pieces, in their order."""
        self._make = _sent(make)
        for worker in self._workers:
            self._prepare(worker)
        waiting, finished = deque(range(len(pieces))), dict[int, list[Any]]()
        for number in range(len(pieces)):
            while number not in finished:
                self._hire(len(waiting))
                self._give(waiting, pieces, number)
                done, lost = self._answers()
                finished |= done
                waiting = deque(sorted([*lost, *waiting])) if lost else waiting
            yield from finished.pop(number)

    def close(self) -> None:
        """Let all workers go."""
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers.clear()

    def _hire(self, most: int) -> None:
        """Start workers, no more than there is work and room for."""
        if time.monotonic() - self._counted > _SECONDS:
            self._counted = time.monotonic()
            self._wanted = self._limit or capacity(self._cpus, self._gpus)
        if not self._wanted and not self._workers:
            raise ClusterError(
                f"No machine of the Ray cluster has {self._cpus:g} CPUs and {self._gpus:g} GPUs, "
                "which a worker takes. What is finished is kept: add machines, or have workers "
                "take less, and run the same again to continue."
            )
        free = sum(all(number is None for number, _ in each.calls) for each in self._workers)
        for _ in range(min(self._wanted - len(self._workers), most - free)):
            worker = _Worker(self._kind.remote(str(Path.cwd())))
            worker.calls.append(
                (None, worker.actor.start.remote(self._predictor, ready=self._ready))
            )
            self._workers.append(worker)

    def _prepare(self, worker: _Worker) -> None:
        worker.calls.append((None, worker.actor.prepare.remote(self._make)))

    def _give(self, waiting: deque[int], pieces: Sequence[Sequence[Any]], first: int) -> None:
        """Give pieces to the workers that have started, in turn, but not too far ahead."""
        end = first + _AHEAD * max(1, len(self._workers))
        for _ in range(_AT_ONCE):
            for worker in self._workers:
                if not waiting or waiting[0] >= end:
                    return
                if worker.started and len(worker.calls) < _AT_ONCE:
                    number = waiting.popleft()
                    worker.calls.append((number, worker.actor.do.remote(pieces[number])))

    def _answers(self) -> tuple[dict[int, list[Any]], list[int]]:
        """Wait for an answer; return what was made of pieces, and those of workers that died."""
        calls = {worker.calls[0][1]: worker for worker in self._workers if worker.calls}
        found, _ = ray.wait([*calls], timeout=_SECONDS)
        done: dict[int, list[Any]] = {}
        lost: list[int] = []
        for ref in found:
            worker = calls[ref]
            try:
                answer = _answer(ref)
            except RayError as error:
                lost += self._bury(worker, error)
                continue
            number, _ = worker.calls.popleft()
            if number is not None:
                done[number] = answer
            elif not worker.started:
                self._welcome(worker, answer)
        return done, lost

    def _welcome(self, worker: _Worker, answer: tuple[str, str, Any]) -> None:
        """Let a worker begin that has started, if it is like the others."""
        machine, installed, described = answer
        self._described = described if self._described is _UNKNOWN else self._described
        if installed != (own := version("pladapt")):
            raise ClusterError(
                f"{machine} has pladapt {installed}, and this machine {own}; install the same on "
                "all."
            )
        if to_json(described) != to_json(self._described):
            raise ClusterError(
                f"The predictor on {machine} is {described}, and on another machine "
                f"{self._described}; every worker must predict the same. Give one device, and the "
                "same weights, to all."
            )
        worker.started = True
        del self._deaths[None]
        if self._make is not None:
            self._prepare(worker)

    def _bury(self, worker: _Worker, error: RayError) -> list[int]:
        """Let a worker go that died, or whose answer is lost; return the pieces that it had."""
        self._workers.remove(worker)
        with suppress(RayError):
            ray.kill(worker.actor)
        self._deaths[worker.calls[0][0]] += 1
        if self._deaths[worker.calls[0][0]] >= _DEATHS:
            said = str(error).strip().replace("\n", " ")
            raise ClusterError(
                f"{_DEATHS} workers died at the same images or before their first ones, as where "
                f"the memory is too small: {said}. What is finished is kept; see the logs of Ray, "
                "and run the same again to continue."
            ) from error
        return [number for number, _ in worker.calls if number is not None]


def _sent(value: Any) -> Any:
    """Put a value where workers find it."""
    try:
        return ray.put(value)
    except TypeError as error:
        said = str(error).partition("\n")[0]
        raise InputError(
            f"A worker cannot be sent a {type(value).__qualname__} ({said}). If it is the "
            "predictor, give what makes it on the worker: RayEngine(predictor=...)."
        ) from error


def _answer(ref: Any) -> Any:
    """Return an answer, or raise what was raised on the worker."""
    try:
        return ray.get(ref)
    except RayTaskError as error:
        cause = error.cause
        if not isinstance(cause, Exception) or isinstance(cause, RayError):
            raise ClusterError(f"A worker failed: {cause}") from error
        if not isinstance(cause, PladaptError):
            cause.add_note(f"On a worker: {error}")
        raise cause from None
