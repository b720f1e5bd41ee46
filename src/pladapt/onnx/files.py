"""Changing ONNX files: their metadata, and where their predictions differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pladapt.onnx.contract import METADATA_KEY
from pladapt.optional import needs

with needs("onnx-export", "onnx"):
    import onnx

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.onnx.contract import Contract


def write_model(model: onnx.ModelProto, contract: Contract, path: Path) -> None:
    """Write a model as one file, with the contract in its metadata in place of a former one."""
    kept = {item.key: item.value for item in model.metadata_props}
    onnx.helper.set_model_props(model, kept | {METADATA_KEY: contract.to_metadata()})
    onnx.save_model(model, str(path), save_as_external_data=False)
