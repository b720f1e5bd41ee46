"""Plugins that nobody packaged: a file of Python."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from pladapt.errors import MissingDataError, PluginError
from pladapt.plugins.guard import in_words

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


def load_module(path: Path) -> ModuleType:
    """Import a file as the module of its name, once in a process.

    What lies beside it can be imported then, and its own strings, such as
    ``"my_margin:MarginSelector"``, find it.

    Raises:
        MissingDataError: There is no such file.
        PluginError: It cannot be imported, or another module has its name.
    """
    path = path.resolve()
    if not path.is_file():
        raise MissingDataError(f"There is no file {path}; give a file of Python.")
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if not name.isidentifier() or known is not None or _another(name, path):
        raise PluginError(
            f"{path} cannot be imported as {name!r}, which is no name of a module or already that "
            "of another one; rename the file."
        )
    return _imported(name, path)


def _another(name: str, path: Path) -> bool:
    found = importlib.util.find_spec(name)
    return found is not None and found.origin != str(path)


def _imported(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is no file of Python; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last, so that it hides nothing
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[name]
        raise PluginError(f"{path} cannot be imported: {in_words(error)}") from error
    return module
