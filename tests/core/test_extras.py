from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

import pladapt


def test_every_extra_that_a_message_names_can_be_installed() -> None:
    sources = Path(pladapt.__file__).parent.rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    named = re.findall(r"pladapt\[([\w,-]+)\]", text)
    named += re.findall(r"\bneeds\(\"([\w-]+)\"", text)
    extras = set(",".join(named).split(","))
    assert {"onnx-cpu", "report", "torch"} <= extras
    assert extras <= set(metadata("pladapt").get_all("Provides-Extra", []))
