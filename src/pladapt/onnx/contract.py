"""What a model expects of its images, kept in its file's metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from pladapt.errors import DataError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Output: TypeAlias = Literal["probabilities", "logits"]
"""What the network's last layer gives."""

Precision: TypeAlias = Literal["fp32", "fp16", "int8"]
"""What the weights are stored in."""

METADATA_KEY: Final = "pladapt"
"""The key of the ONNX file's metadata under which the contract stands, as JSON."""

_CHANNELS_LAST: Final = (1, 3, 4)
"""The lengths of a last axis that are no image's columns."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What a model's images must be, and what the model returns.

    Args:
        channels: The ``C`` of images ``(B, C, *S)``; None if the file does not say.
        multiple_of: Each spatial length that the network is given must be a multiple of this;
            `OnnxPredictor` pads images to it.
        normalisation: How the images' values were prepared, in words.
        output: Whether the model gives ``probabilities`` or ``logits``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        version: The version of pladapt that wrote the file.

    Raises:
        InputError: A value is not one of those above.
    """

    channels: int | None = None
    multiple_of: int = 1
    normalisation: str = ""
    output: Output = "probabilities"
    precision: Precision = "fp32"
    version: str = metadata.version("pladapt")

    def __post_init__(self) -> None:
        known = {"output": ("probabilities", "logits"), "precision": ("fp32", "fp16", "int8")}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected one of {values}.")
        for name, least in (("channels", self.channels), ("multiple_of", self.multiple_of)):
            if least is not None and (not isinstance(least, int) or least < 1):
                raise InputError(f"{name} is {least!r}; expected a whole number of at least 1.")

    @classmethod
    def of(cls, given: Contract | Mapping[str, Any] | None) -> Contract | None:
        """Return a contract that is given as such, or as its values by name.

        Raises:
            InputError: A name or value is not one of those above, or it is something else.
        """
        if given is None or isinstance(given, Contract):
            return given
        names = [field.name for field in fields(cls)]
        try:
            return cls(**given)
        except TypeError as error:
            raise InputError(
                f"contract is {given!r}; expected a Contract, or a mapping of {names}."
            ) from error

    def to_metadata(self) -> str:
        """Return the JSON that an ONNX file's metadata holds under ``pladapt``."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: object) -> Self | None:
        """Return the contract in an ONNX file's metadata, or None in a file made elsewhere.

        Raises:
            DataError: There is a contract that cannot be read.
        """
        if METADATA_KEY not in metadata:
            return None
        try:
            given: dict[str, Any] = json.loads(metadata[METADATA_KEY])
            known = {field.name for field in fields(cls)}  # a later version may say more
            return cls(**{key: value for key, value in given.items() if key in known})
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"The input contract in the metadata of {source} cannot be read ({error}). Export "
                "the model again, or give contract=Contract(...)."
            ) from error

    def check(self, shape: Sequence[int], declared: Sequence[int | str | None]) -> None:
        """Refuse images of a shape that the model does not take.

        Args:
            shape: The images' shape, ``(B, C, *S)``.
            declared: The shape of the model's input; a number where the length is fixed.

        Raises:
            InputError: Another rank, number of channels or size; says what was expected.
        """
        told = f"Images have shape {tuple(shape)}; the model expects {self.expected(declared)}"
        if len(shape) != len(declared):
            axes = len(declared) - 2
            kind = "volumes" if axes == 3 else "slices"  # noqa: PLR2004 - spatial axes
            raise InputError(f"{told}. Give {kind} (--dimensions {axes}).")
        if declared[-1] in _CHANNELS_LAST and declared[1] not in _CHANNELS_LAST:
            raise InputError(
                f"{told}: it takes the channels last. Export it so that they come first, as "
                "(batch, channel, rows, columns)."
            )
        channels = declared[1] if isinstance(declared[1], int) else self.channels
        if channels is not None and shape[1] != channels:
            number = "one channel" if channels == 1 else f"{channels} channels"
            greys = {channels, shape[1]} == {1, 3}
            hint = f" (--channels {channels} where the images are grey)" if greys else ""
            raise InputError(f"{told}. Give images of {number}{self._prepared()}{hint}.")
        for length, fixed in zip(shape[2:], declared[2:], strict=True):
            if isinstance(fixed, int) and length != fixed:
                raise InputError(f"{told}. Resize the images, or export the model for their size.")
        if not all(shape[2:]):
            raise InputError(f"{told}. Give images that have pixels.")

    def expected(self, declared: Sequence[int | str | None]) -> str:
        """Return the expected shape in words, such as ``(batch, 1, 32·n, 32·n)``."""
        free = f"{self.multiple_of}·n" if self.multiple_of > 1 else "any"
        spatial = [str(size) if isinstance(size, int) else free for size in declared[2:]]
        channels = declared[1] if isinstance(declared[1], int) else self.channels or "channel"
        return f"(batch, {channels}, {', '.join(spatial)})"

    def _prepared(self) -> str:
        return f", prepared so: {self.normalisation}" if self.normalisation else ""
