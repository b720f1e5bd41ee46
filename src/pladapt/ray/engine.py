"""An engine whose workers are Ray's actors, each with the predictor once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pladapt.errors import InputError
from pladapt.ray.cluster import connect
from pladapt.ray.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from pladapt.typing import Predictor

T = TypeVar("T")
R = TypeVar("R")

BLOCK: Final = 32
"""How many images a worker is given at once, about."""


@dataclass(kw_only=True)
class RayEngine:
    """Has images read and predicted by workers on a Ray cluster.

    Every machine must have the same versions of pladapt and of what the model needs, and see the
    images under the same paths. A worker that dies, alone or with its machine, is replaced where
    there is room, and its images are given to another one. Machines that join are used.

    Args:
        predictor: Makes the predictor on each worker, such as on its own GPU; by default the
            predictor itself is sent. What it makes must predict the same everywhere.
        workers: How many workers there are at most; by default as many as the machines have room
            for.
        cpus: How many CPUs a worker has.
        gpus: How many GPUs a worker has; 0.5, say, has two of them share one.
        block: How many images a worker is given at once, about: a multiple of the batch size.
        address: The cluster's address, as HOST:PORT; ``auto`` for one that RAY_ADDRESS names or
            that runs on this machine, and ``local`` to start one here. A program that is connected
            already stays so.

    Raises:
        InputError: A number is not one of workers, CPUs, GPUs or images.
        MissingDependencyError: The extra ``ray`` is not installed.
        ClusterError: The cluster cannot be reached.
    """

    predictor: Callable[[], Predictor] | None = None
    workers: int | None = None
    cpus: float = 1
    gpus: float = 0
    block: int = BLOCK
    address: str = "auto"
    _pool: tuple[Predictor, Pool] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        least = {"workers": 1, "cpus": 0, "gpus": 0, "block": 1}
        for name, lowest in least.items():
            given = getattr(self, name)
            if given is not None and not lowest <= given < float("inf"):
                raise InputError(f"{name} is {given!r}; give a number from {lowest}.")
        if self.cpus + self.gpus == 0:
            raise InputError("A worker has no CPU and no GPU; give it one.")
        connect(self.address)

    def describe(self, predictor: Predictor) -> Any:
        """Return what a run's manifest says of the predictor, on a worker.

        Raises:
            Exception: It cannot be made there.
            ClusterError: No machine has room for a worker.
        """
        return self._workers(predictor).describe()

    def map(
        self,
        make: Callable[[Predictor], Callable[[Sequence[T]], Generator[R]]],
        predictor: Predictor,
        items: Sequence[T],
        *,
        multiple_of: int = 1,
    ) -> Generator[R]:
        """Yield what the work makes of the items, in their order; see `pladapt.runs.engine.Engine`.

        Raises:
            Exception: What the work raised.
            ClusterError: No machine has room for a worker, workers die again and again on the same
                items, or two of them do not have the same predictor or version.
        """
        size = -(-self.block // multiple_of) * multiple_of
        pieces = [items[start : start + size] for start in range(0, len(items), size)]
        pool, self._pool = self._workers(predictor), None
        with closing(pool):
            yield from pool.run(make, pieces)

    def _workers(self, predictor: Predictor) -> Pool:
        """Return the workers, of which `describe` may have started one."""
        if self._pool is None or self._pool[0] is not predictor:
            pool = Pool(
                predictor if self.predictor is None else self.predictor,
                ready=self.predictor is None,
                limit=self.workers,
                cpus=self.cpus,
                gpus=self.gpus,
            )
            self._pool = predictor, pool
        return self._pool[1]
