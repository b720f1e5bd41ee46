"""What a network alone lacks of the adapted predictor that it is from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pladapt.cli.onnx import parts_beside

if TYPE_CHECKING:
    from pathlib import Path

TORCH: dict[str, Any] = {"kind": "torch", "weights": "model.safetensors"}


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        (TORCH, []),
        ({"kind": "flip", "axes": [-1], "predictor": TORCH}, ["mirror images"]),
        (
            {"kind": "logit-shift", "shift": 1, "predictor": {"kind": "flip", "predictor": TORCH}},
            ["shift of the logits", "mirror images"],
        ),
        ({"kind": "ensemble", "predictors": [TORCH, TORCH]}, ["other networks"]),
        (None, []),
    ],
)
def test_what_lies_beside_weights_is_named(
    tmp_path: Path, stack: dict[str, Any] | None, expected: list[str]
) -> None:
    told = {"version": 1, "cutoff": 0.4, "predictor": stack}
    (tmp_path / "predictor.json").write_text(json.dumps(told))
    assert parts_beside(tmp_path / "model.safetensors") == expected
    assert parts_beside(tmp_path / "elsewhere/model.safetensors") == []
