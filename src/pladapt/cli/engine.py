"""Where images are read and predicted, as the options of several commands say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from pladapt.cli.options import Options
from pladapt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pladapt.runs.engine import Engine
    from pladapt.typing import Predictor

_OF_RAY: Final = ("workers", "worker_cpus", "worker_gpus", "ray_address")


@dataclass(frozen=True, kw_only=True)
class EngineOptions(Options):
    """Where images are read and predicted."""

    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            help="Where images are read and predicted: in this process, or by workers on a Ray "
            "cluster."
        ),
    ] = "local"
    workers: Annotated[
        int | None,
        typer.Option(
            help="With --engine ray, how many workers at most.  [default: what there is room for]",
            min=1,
        ),
    ] = None
    worker_cpus: Annotated[
        float, typer.Option(help="With --engine ray, how many CPUs a worker has.", min=0)
    ] = 1
    worker_gpus: Annotated[
        float, typer.Option(help="With --engine ray, how many GPUs a worker has.", min=0)
    ] = 0
    ray_address: Annotated[
        str,
        typer.Option(
            help="The Ray cluster, as HOST:PORT; auto for the one that RAY_ADDRESS names or that "
            "runs on this machine, local to start one here."
        ),
    ] = "auto"

    def chosen(self, predictor: Callable[[], Predictor]) -> Engine | None:
        """Return the engine; None for this process.

        Args:
            predictor: Makes the predictor on a worker.

        Raises:
            InputError: There are options of an engine that was not chosen.
            ClusterError: There is no such cluster.
            MissingDependencyError: The extra ``ray`` is not installed.
        """
        if self.engine == "local":
            if given := [f"--{name.replace('_', '-')}" for name in _OF_RAY if name in self.given]:
                raise InputError(f"{', '.join(given)} is of --engine ray; give that as well.")
            return None
        from pladapt.ray import RayEngine  # noqa: PLC0415 - an extra

        return RayEngine(
            predictor=predictor,
            workers=self.workers,
            cpus=self.worker_cpus,
            gpus=self.worker_gpus,
            address=self.ray_address,
        )
