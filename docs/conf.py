"""Sphinx's configuration; every warning is an error."""

from pathlib import Path

import pladapt
from pladapt.cli import new

project = "pladapt"
author = "The pladapt developers"
project_copyright = f"2026, {author}"
version = release = pladapt.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pladapt {release}"
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "py:obj"
add_module_names = False
doctest_path = [str(Path(__file__).parents[1] / "examples/plugins/peak")]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

nitpicky = True
nitpick_ignore_regex = [
    # other libraries' names: the site links to nothing that a build would have to fetch
    ("py:.*", r"(collections|nn|np|numpy|os|pa|pathlib|pluggy|pyarrow|torch|typer|typing)\..*"),
    (
        "py:class",
        r"(ArrayLike|Callable|EntryPoint|Iterable|Iterator|Mapping|NDArray|Path|Sequence).*",
    ),
    # type aliases and variables stand in signatures without their module
    (
        "py:class",
        r"(Activation|Aggregation|Amount|Amp|Array|Band|Combination|Cutoff|Decision|Item|Kind|Labeller|Loaded|Numbers|OnError|Outside|Output|P|PerChannel|Preparation|R|Region|Row|S|Source|Spacing|Status|Step|Stratum|T|T_co|Taught|Values|Where)",
    ),
    # a signature's default or literal that is split at its comma
    ("py:class", r"(Literal\[.*|\d+\]|tuple\[.*|\.\.\.\])"),
    # what another class is made of
    ("py:class", r"pladapt\.source\.estimation\.Line"),
    # what a docstring tells its own module's readers
    ("py:obj", r"(FineTune|FitResult\.history|state_sha256)"),
]

# what `pladapt new` writes, for the page that shows it
for _kind in new.KINDS:
    for _path, _text in new.project(_kind, f"my_{_kind}").items():
        _file = Path(__file__).parent / "_build/new" / _kind / _path
        _file.parent.mkdir(parents=True, exist_ok=True)
        _file.write_text(_text, encoding="utf-8")
