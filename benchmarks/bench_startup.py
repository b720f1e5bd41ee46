"""How long a user waits before anything happens."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from harness import Case, Method, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "Start-up"
TEXT = """Each in a process of its own, from start to end."""

_COMMAND = "from pladapt.cli import main; main()"
_PROGRAMS = {
    "import pladapt": ["-c", "import pladapt"],
    "nothing": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import numpy, pyarrow": ["-c", "import numpy, pyarrow.parquet, pyarrow.compute"],
    "pladapt --help": ["-c", _COMMAND, "--help"],
    "pladapt plugins": ["-c", _COMMAND, "plugins"],
}


def cases(*, quick: bool) -> Iterator[Case]:  # noqa: ARG001 - there is no smaller size
    """Yield the one case."""
    roles = {"import pladapt": "ours", "nothing": "floor"}
    yield Case(
        name="start-up",
        methods=[
            Method(name=name, run=partial(_run, program), role=roles.get(name, "peer"))  # type: ignore[arg-type]  # a role of three
            for name, program in _PROGRAMS.items()
        ],
        targets=[Target(of="import pladapt", to="import numpy", limit=3, at_most=True)],
        seconds=40,
    )


def _run(program: list[str]) -> None:
    subprocess.run([sys.executable, *program], capture_output=True, check=True)  # noqa: S603 - ours
