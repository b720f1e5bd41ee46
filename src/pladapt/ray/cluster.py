"""Reaching a Ray cluster, and counting what it has room for."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any, Final

from pladapt.errors import ClusterError
from pladapt.optional import needs

with needs("ray", "ray"):
    import ray

_SECONDS: Final = 10.0
_ROUNDING: Final = 1e-6
_STARTING: Final = "start one with `ray start --head`, or give the address of one (--ray-address)"


def connect(address: str) -> None:
    """Connect this process to a cluster, unless it is connected.

    Args:
        address: See `pladapt.ray.RayEngine`.

    Raises:
        ClusterError: There is none.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here
    _check_listens(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
    own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise ClusterError(
            f"No Ray cluster can be reached at {address!r} ({said}); {_STARTING}."
        ) from error


def _check_listens(address: str) -> None:
    """Refuse an address where nothing listens, for which Ray would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():  # auto, or local
        return
    try:
        socket.create_connection((host, int(port)), _SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"Nothing listens at {address} ({error}), where the Ray cluster should be; {_STARTING}."
        ) from error


def capacity(cpus: float, gpus: float) -> int:
    """Return how many workers the machines that are there have room for, with nothing else."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(_room(node, {"CPU": cpus, "GPU": gpus}) for node in nodes)


def _room(node: dict[str, float], needed: dict[str, float]) -> int:
    found = [node.get(name, 0) / number for name, number in needed.items() if number]
    return int(min(found) + _ROUNDING)
