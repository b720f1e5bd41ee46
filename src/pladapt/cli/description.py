"""A run description: a TOML file that says what a run is made of."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING, Any, Literal, Self

from pladapt.errors import InputError, MissingDataError
from pladapt.optional import needs

with needs("files", "pydantic"):
    from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic_core import ErrorDetails


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Part(BaseModel):
    """A part by its name, and what it is made with: whatever other keys there are."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="As `pladapt plugins` lists it.")

    @property
    def parameters(self) -> dict[str, Any]:
        """The other keys."""
        return dict(self.model_extra or {})


class Network(_Table):
    """A network, as the command adapt takes it."""

    name: str = Field(description="What makes it, or what a library saved: MODEL of the command.")
    weights: Path | None = Field(None, description="A file of weights.")
    arguments: dict[str, Any] = Field(default={}, description="Of what makes it.")
    activation: Literal["auto", "none", "sigmoid", "softmax"] = "auto"
    channel: int | None = Field(None, ge=0, description="The only channel of the output to use.")
    device: str = "auto"


class Images(_Table):
    """The target's images, and how they are read."""

    folder: Path = Field(description="A folder of unlabelled images, or one.")
    dimensions: Literal[2, 3] = Field(2, description="Whether a sample is a slice or a volume.")
    axes: str | None = None
    window: tuple[float, float] | None = Field(None, description="What becomes 0 and 1.")
    channels: Literal[1, 3] | None = None
    key: str | None = None
    group_by: str = "file"
    groups: Path | None = None
    pseudonyms: Literal["identifiers", "all", "none"] = "identifiers"
    pseudonym_key: Path | None = None
    readers: int = Field(2, ge=1)


class Truth(_Table):
    """True masks, for evaluation and nothing else."""

    folder: Path
    labels: list[int] = Field(default=[1], min_length=1)
    ignore: int | None = None
    binary: bool = False


class Description(_Table):
    """A run: what adapts what to which images, with a recipe or with parts."""

    output: Path = Field(description="The run folder; an interrupted run continues in it.")
    plugins: list[Path] = Field(default=[], description="Files of plugins that are not installed.")
    network: Network | None = None
    predictor: Part | None = Field(None, description="In place of a network.")
    images: Images
    truth: Truth | None = None
    source: Path | None = Field(None, description="What pladapt source wrote.")
    cutoff: float | None = Field(None, gt=0, lt=1, description="The source's cut-off.")
    batch_size: int = Field(8, ge=1)
    recipe: Part | None = Field(None, description="How to adapt; or a selector and a retrainer.")
    selector: Part | None = None
    retrainer: Part | None = None
    recalibrator: Part | None = None
    gates: list[Part] = []
    rounds: int = Field(1, ge=0)
    evaluators: dict[str, Part] = Field(
        default={}, description="Beside overlap: each is given the samples of the truth."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.network is None) == (self.predictor is None):
            raise ValueError("give either a table [network] or a table [predictor]")
        parts = {"selector", "retrainer", "recalibrator", "gates", "rounds"} & self.model_fields_set
        if self.recipe is not None and parts:
            raise ValueError(f"give either a [recipe] or {sorted(parts)}")
        if self.recipe is None and (self.selector is None or self.retrainer is None):
            raise ValueError("give either a [recipe], or a [selector] and a [retrainer]")
        if self.evaluators and self.truth is None:
            raise ValueError("the evaluators need a table [truth]")
        return self


def read_description(path: Path) -> Description:
    """Read a run description.

    Raises:
        MissingDataError: There is no such file.
        InputError: It is no TOML, or no description of a run; says the line.
    """
    if not path.is_file():
        raise MissingDataError(f"There is no run description {path}.")
    text = path.read_text(encoding="utf-8")
    try:
        return Description.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is no TOML: {error}.") from error
    except ValidationError as error:
        found = [f"{place(path, text, each['loc'])}{_said(each)}" for each in error.errors()]
        raise InputError("\n".join(found)) from error


def place(path: Path, text: str, location: Sequence[int | str]) -> str:
    """Return ``run.toml, line 7: `` for a key; without the line where the key is not there."""
    keys = [str(key) for key in location if isinstance(key, str)]
    header: list[str] = []
    best, line = 0, None
    for number, row in enumerate(text.splitlines(), start=1):
        if table := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", row):
            header = _words(table[1])
            found = header
        elif key := re.match(r"\s*([\w\"'.-]+)\s*=", row):
            found = [*header, *_words(key[1])]
        else:
            continue
        if found == keys[: len(found)] and len(found) > best:
            best, line = len(found), number
    return f"{path}: " if line is None else f"{path}, line {line}: "


def _words(dotted: str) -> list[str]:
    return [word.strip(" \"'") for word in dotted.split(".")]


def _said(error: ErrorDetails) -> str:
    """Return what pydantic found in words: what was given, and what is expected."""
    where = [key for key in error["loc"] if isinstance(key, str)]
    name = ".".join(where)
    if error["type"] == "extra_forbidden":
        return no_such_key(where[-1], _keys_of(where[:-1]), ".".join(where[:-1]))
    if error["type"] == "missing":
        return f"the key {name!r} is missing."
    if not where:
        return f"{error['msg'].removeprefix('Value error, ')}."
    return f"{name} is {error['input']!r}; {error['msg'][0].lower()}{error['msg'][1:]}."


def no_such_key(key: str, known: Iterable[str], table: str) -> str:
    """Say that a table has no such key, and which is the nearest."""
    names = list(known)
    nearest = difflib.get_close_matches(key, names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    owner = f"[{table}]" if table else "a run"
    return f"{owner} has no key {key!r}.{hint} Known: {', '.join(names)}."


def _keys_of(where: Sequence[str]) -> Mapping[str, Any]:
    tables: dict[str, type[BaseModel]] = {"network": Network, "images": Images, "truth": Truth}
    table = tables[where[0]] if where else Description
    return table.model_fields
