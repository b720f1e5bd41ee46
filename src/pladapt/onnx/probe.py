"""Whether a provider really computes: a tiny convolution, run in a process of its own.

``python -m pladapt.onnx.probe cuda`` prints why the device does not work, or nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

MODEL: Final = (
    b'\x08\x08:g\n\x0f\n\x01x\n\x01w\x12\x01y"\x04Conv\x12\x05probe*\x13\x08\x01\x08\x01\x08\x01'
    b"\x08\x01\x10\x01B\x01wJ\x04\x00\x00\x00@Z\x1b\n\x01x\x12\x16\n\x14\x08\x01\x12\x10\n\x02"
    b"\x08\x01\n\x02\x08\x01\n\x02\x08\x02\n\x02\x08\x02b\x1b\n\x01y\x12\x16\n\x14\x08\x01\x12"
    b"\x10\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x02\n\x02\x08\x02B\x04\n\x00\x10\r"
)
"""An ONNX file (IR 8, opset 13): a convolution by one weight of 2, so y = 2 x, (1, 1, 2, 2)."""

DEVICES: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""The devices that can be probed, with ONNX Runtime's names for their providers."""

_TIMEOUT: Final = 300  # seconds; TensorRT builds an engine first


def probe(device: str) -> str | None:
    """Say why a device does not work, or return None where it computes rightly.

    Args:
        device: One of `DEVICES`.
    """
    command = [sys.executable, "-m", __name__, device]
    try:
        run = subprocess.run(  # noqa: S603 - our own module
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {_TIMEOUT} seconds"
    if run.returncode:
        return run.stdout.strip() or f"it ended with status {run.returncode}: {run.stderr[-500:]}"
    return None


def compute(device: str) -> int:
    """Double a few numbers on a device; return the exit status, 1 where that does not work."""
    # imported in the probe's own process only, since a broken library may end it
    import numpy as np  # noqa: PLC0415 - see above

    from pladapt.errors import PladaptError  # noqa: PLC0415 - see above
    from pladapt.functional.arrays import to_numpy  # noqa: PLC0415 - see above
    from pladapt.onnx.predictor import OnnxPredictor  # noqa: PLC0415 - see above
    from pladapt.onnx.providers import trouble  # noqa: PLC0415 - see above

    images = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "probe.onnx")
        path.write_bytes(MODEL)
        try:
            found = to_numpy(OnnxPredictor(path, device=device).run(images))
        except PladaptError as error:
            sys.stdout.write("; ".join(trouble(DEVICES[device])) or str(error))
            return 1
    if not np.array_equal(found, 2 * images):
        sys.stdout.write(f"it computed {found.tolist()} in place of {(2 * images).tolist()}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(compute(sys.argv[1]))
