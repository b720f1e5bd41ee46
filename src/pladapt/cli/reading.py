"""How files become samples, as the options of several commands say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pladapt.data.tolerance import MAX_ERRORS
from pladapt.errors import DataError, InputError
from pladapt.storage import read_json, to_json

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.data.tolerance import OnError
    from pladapt.files import (
        Files,
        FileSamples,
        Grouping,
        ImageLayout,
        MaskLayout,
        Pairing,
        Problem,
        TrueFileSamples,
    )
    from pladapt.types import Progress

_NAME: Final = "reading.json"
_RECORDED: Final = ("dimensions", "axes", "window", "channels", "key", "max_values", "group_by")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files become samples; the options of the same names."""

    dimensions: Literal["2", "3"] = "2"
    axes: str | None = None
    window: tuple[float, float] | None = None
    scale: float | None = None
    channels: Literal["1", "3"] | None = None
    key: str | None = None
    max_values: int | None = None
    group_by: str = "file"
    groups: Path | None = None
    readers: int = 2
    on_error: OnError = "skip"
    max_errors: float = MAX_ERRORS

    def record(self, folder: Path) -> None:
        """Note in a folder how images are read, for those of the same kind that come later."""
        values = {name: getattr(self, name) for name in _RECORDED}
        (folder / _NAME).write_text(to_json(values), encoding="utf-8")

    @staticmethod
    def recorded(folder: Path) -> dict[str, Any]:
        """Return what `record` noted, as far as it was given; nothing where it did not.

        Raises:
            DataError: It is damaged.
        """
        if not (folder / _NAME).is_file():
            return {}
        told = read_json(folder / _NAME)
        if not isinstance(told, dict):
            raise DataError(f"{folder / _NAME} is no whole record of options; remove it.")
        found: dict[str, Any] = {n: told[n] for n in _RECORDED if told.get(n) is not None}
        return found | ({"window": tuple(found["window"])} if "window" in found else {})

    def image_layout(self, *, probabilities: bool = False) -> ImageLayout:
        """Return how images, or maps of probabilities, are read."""
        from pladapt.files import ImageLayout  # noqa: PLC0415 - help must not wait for it

        return ImageLayout(
            window=self.window,
            probabilities=probabilities,
            scale=self.scale,
            channels=None if self.channels is None else int(self.channels),
            axes=self.axes,
            **self._shared(),
        )

    def mask_layout(self, labels: list[int] | None, **options: Any) -> MaskLayout:
        """Return how masks are read; see `pladapt.files.MaskLayout` for what else there is."""
        from pladapt.files import MaskLayout  # noqa: PLC0415 - for help

        axes = None if self.axes is None else self.axes.replace("C", "")
        given = {"axes": axes, **self._shared(), **options}
        return MaskLayout(tuple(labels or [1]), **given)

    def grouping(self) -> Grouping:
        """Return what --group-by and --groups say."""
        from pladapt.files import Grouping  # noqa: PLC0415 - for help

        return Grouping(self.group_by) if self.groups is None else Grouping.from_csv(self.groups)

    def samples(self, images: Files, progress: Progress) -> tuple[FileSamples, list[Problem]]:
        """Read the images."""
        from pladapt.files import read_samples  # noqa: PLC0415 - for help

        return read_samples(
            images,
            layout=self.image_layout(),
            grouping=self.grouping(),
            readers=self.readers,
            on_error=self.on_error,
            max_errors=self.max_errors,
            progress=progress,
        )

    def labelled(self, samples: FileSamples, truth: Truth) -> tuple[TrueFileSamples, list[Problem]]:
        """Match the images with the masks, of which some may be missing."""
        from pladapt.files import read_truth  # noqa: PLC0415 - for help

        return read_truth(
            samples, truth.files, layout=truth.layout, pairing=truth.pairing, on_error=self.on_error
        )

    def _shared(self) -> dict[str, Any]:
        dimensions = 3 if self.dimensions == "3" else 2
        return {"dimensions": dimensions, "key": self.key, "max_values": self.max_values}


class Truth(NamedTuple):
    """True masks, how they are read, and whose they are."""

    files: Files
    layout: MaskLayout
    pairing: Pairing


def pairing_of(pattern: str | None, table: Path | None) -> Pairing:
    """Return what --match and --pairs say."""
    from pladapt.files import Pairing  # noqa: PLC0415 - help must not wait for it

    return Pairing(pattern) if table is None else Pairing.from_csv(table)


def keep_masks_apart(images: Path, truth: Path) -> None:
    """Refuse masks that would be taken for images.

    Raises:
        InputError: One folder lies in the other.
    """
    one, other = images.resolve(), truth.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise InputError(
            f"The images are in {images} and the truth in {truth}; keep the masks in a folder "
            "apart, or they would be taken for images."
        )
