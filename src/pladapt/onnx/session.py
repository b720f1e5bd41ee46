"""Opening a model, with the provider that was asked for or an error that says why not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import DataError, DeviceError, InputError, MissingDataError
from pladapt.onnx.providers import CPU, built_for, preload, trouble
from pladapt.onnx.runtime import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pladapt.onnx.providers import Provider

_RANKS: Final = (4, 5)  # (B, C, H, W) and (B, C, D, H, W)
_FLOATS: Final = ("tensor(float)", "tensor(float16)")


@dataclass(frozen=True)
class Port:
    """The name, element type and shape of a model's input or output; a number where it is fixed."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]


def open_session(
    path: Path, chain: Sequence[Provider], *, allow_cpu: bool, threads: int | None
) -> onnxruntime.InferenceSession:
    """Open a model with the first provider of the chain.

    Args:
        path: The ONNX file.
        chain: Providers with their options, the one that is asked for first.
        allow_cpu: Take what works where that one does not.
        threads: Of one operator on the CPU; None for `default_threads`.

    Raises:
        MissingDataError: There is no such file.
        DataError: The file is truncated, or no ONNX model.
        DeviceError: The first provider does not work here, and ``allow_cpu`` is false.
    """
    if not path.is_file():
        raise MissingDataError(f"There is no ONNX file {path}.")
    wanted = chain[0][0] if chain else CPU
    if wanted == CPU:
        return _open_on_cpu(path, threads)
    try:
        session = _open_there(path, chain, threads)
    except Exception as error:
        others = open_session(path, chain[1:], allow_cpu=True, threads=threads)
        if allow_cpu:
            return others
        raise _no_device(wanted, str(error)) from error  # since the file itself can be opened
    if session.get_providers()[0] != wanted and not allow_cpu:
        raise _no_device(wanted, f"{session.get_providers()} in use.")
    return session


def _open_there(
    path: Path, chain: Sequence[Provider], threads: int | None
) -> onnxruntime.InferenceSession:
    built = built_for()
    if chain[0][0] not in built:
        raise DeviceError(f"it was built for {', '.join(built)}.")
    preload()
    return _open(path, [item for item in chain if item[0] in built], threads)


def _open(
    path: Path, chain: Sequence[Provider], threads: int | None
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    # waiting threads leave the cores to who reads the next batch
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers = [(name, dict(settings)) for name, settings in chain]
    return onnxruntime.InferenceSession(path, options, providers=providers, enable_fallback=0)


def _open_on_cpu(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    try:
        return _open(path, [(CPU, {})], threads)
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own
        raise DataError(
            f"{path} cannot be loaded: {str(error).strip()}. It is truncated, no ONNX model, or "
            f"uses operators that onnxruntime {onnxruntime.__version__} lacks; export it again."
        ) from error


def _no_device(wanted: str, said: str) -> DeviceError:
    reasons = "; ".join(trouble(wanted)) or "its messages above may say more"
    return DeviceError(
        f"{wanted} was asked for and does not work here: {reasons}. 'pladapt doctor' checks the "
        "installation. Give device='cpu' or allow_cpu=True to compute on the CPU. ONNX Runtime "
        f"said: {said.strip()}"
    )


def default_threads() -> int:
    """Return OMP_NUM_THREADS if it is set, else the cores that this process may use.

    ONNX Runtime by itself counts the machine's cores, of which a container may have a few.
    """
    config = os.environ.get("OMP_NUM_THREADS", "")
    if config.isdigit() and int(config):
        return int(config)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ports(session: Any, path: Path, output: str | int | None = None) -> tuple[Port, Port]:
    """Return the model's input, and the output that counts.

    Args:
        session: The open model.
        path: Its file, for messages.
        output: The output's name or place, from 0; None for the only one that may be a prediction.

    Raises:
        DataError: It has several inputs, or does not map ``(B, C, *S)`` to ``(B, K, *S)``.
        InputError: It has several such outputs and none is named, or not the one that is.
    """
    inputs, outputs = (
        [Port(p.name, p.type, tuple(p.shape)) for p in given]
        for given in (session.get_inputs(), session.get_outputs())
    )
    told = ", ".join(f"{p.name} {p.type} {p.shape}" for p in (*inputs, *outputs))
    fitting = [made for made in outputs if _fits(inputs[0], made)]
    if len(inputs) != 1 or not fitting:
        raise DataError(
            f"{path} has the inputs and outputs {told}; expected one input (batch, channel, "
            "*spatial) of floats, and an output of the same rank."
        )
    if output is not None:
        return inputs[0], _named(outputs, output, inputs[0], path)
    if len(fitting) > 1:
        raise InputError(
            f"{path} has several outputs that may be the prediction: "
            f"{', '.join(f'{p.name} {p.shape}' for p in fitting)}. Say which with "
            f"output={fitting[0].name!r} (--option output={fitting[0].name}), or by its place."
        )
    return inputs[0], fitting[0]


def _named(outputs: Sequence[Port], output: str | int, given: Port, path: Path) -> Port:
    names = [made.name for made in outputs]
    place = names.index(output) if output in names else output
    if not isinstance(place, int) or not 0 <= place < len(outputs):
        raise InputError(f"{path} has the outputs {names}, and none is {output!r}.")
    made = outputs[place]
    if not _fits(given, made):
        raise InputError(
            f"The output {made.name} {made.type} {made.shape} of {path} is no prediction of "
            f"{given.name} {given.shape}; expected floats of the same rank."
        )
    return made


def _fits(given: Port, made: Port) -> bool:
    ranks = {len(given.shape), len(made.shape)}
    return len(ranks) == 1 and ranks <= set(_RANKS) and {given.type, made.type} <= set(_FLOATS)


def check_options(batch_size: int | None, threads: int | None) -> None:
    """Refuse numbers below 1.

    Raises:
        InputError: One is below 1.
    """
    for name, value in (("batch_size", batch_size), ("threads", threads)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; give at least 1, or None.")
