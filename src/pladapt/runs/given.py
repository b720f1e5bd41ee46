"""What a run is given, looked at before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import InputError

if TYPE_CHECKING:
    from pladapt.runs.usable import Usable
    from pladapt.typing import Selector

_HELD: Final = ("id", "group", "image")


def check_part(name: str, part: object, *methods: str) -> None:
    """Refuse what lacks the methods of a part.

    Args:
        name: What it is given as.
        part: The object.
        *methods: What it must have.

    Raises:
        InputError: It lacks one; of a torch module, says what makes a predictor of it.
    """
    lacking = [method for method in methods if not callable(getattr(part, method, None))]
    if not lacking and not isinstance(part, type):
        return
    given = f"the class {part.__name__}" if isinstance(part, type) else f"a {type(part).__name__}"
    module = name == "predictor" and hasattr(part, "state_dict")
    hint = (
        "Wrap the module: pladapt.torch.TorchPredictor(module)."
        if module
        else f"Give an object with {' and '.join(map(repr, methods))}."
    )
    raise InputError(f"The {name} is {given}, without {methods[0]!r}. {hint}")


def check_target(target: Any) -> None:
    """Refuse what holds no samples that can be counted and asked for by number.

    Raises:
        InputError: It is a generator, a mapping or an array, say, or is empty.
    """
    countable = hasattr(target, "__len__") and hasattr(target, "__getitem__")
    if not countable or isinstance(target, Mapping | str):
        raise InputError(
            f"The target is a {type(target).__name__}; give a list of pladapt.Sample(id, group, "
            "image), or any object that has a length and gives samples by number. Of a generator "
            "make a list, of a mapping one of its values."
        )
    if len(target) == 0:
        raise InputError("The target is empty; give at least one unlabelled sample.")


def check_first(target: Usable) -> None:
    """Refuse a target of labelled samples, or of anything but samples, before any work.

    Raises:
        LabelledTargetError: The first sample has a mask.
        InputError: It is no sample.
        Exception: It cannot be read, and is not to be left out.
    """
    try:
        first: Any = target[0]
    except Exception as error:
        if not target.tolerance.skips(error):
            raise
        return
    if lacking := [name for name in _HELD if not hasattr(first, name)]:
        raise InputError(
            f"The target's first sample is a {type(first).__name__} without {lacking[0]!r}; give "
            "pladapt.Sample(id, group, image), the image (channel, *spatial) and floating point."
        )
    if not isinstance(first.id, str) or not isinstance(first.group, str):
        raise InputError(
            f"The target's first sample has the id {first.id!r} and the group {first.group!r}; "
            "both must be strings: str(...)."
        )


def check_folder(workdir: str | Path | None) -> None:
    """Refuse a run folder that is a file.

    Raises:
        InputError: It is.
    """
    if workdir is not None and Path(workdir).is_file():
        raise InputError(f"The run folder {workdir} is a file; give a folder, or a new name.")


def per_round(selector: Selector | Sequence[Selector], rounds: int) -> Sequence[Selector]:
    """Return the selector of each round.

    Raises:
        InputError: There are more or fewer than rounds.
    """
    if not isinstance(selector, Sequence):
        return [selector] * max(1, rounds)
    if len(selector) != max(1, rounds):
        raise InputError(
            f"There are {len(selector)} selectors and rounds is {rounds}; give one selector for "
            "every round, or one for each."
        )
    return selector
