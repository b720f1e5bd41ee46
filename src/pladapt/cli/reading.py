"""How files become samples, as the options of several commands say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pladapt.cli.files import grouping_of

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.files import Files, FileSamples, MaskLayout, Problem, TrueFileSamples
    from pladapt.types import Progress


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files become samples; the options of the same names."""

    dimensions: Literal["2", "3"]
    axes: str | None
    window: tuple[float, float] | None
    group_by: str = "file"
    groups: Path | None = None
    readers: int
    strict: bool

    @property
    def _size(self) -> Literal[2, 3]:
        return 3 if self.dimensions == "3" else 2

    def samples(self, images: Path, progress: Progress) -> tuple[FileSamples, list[Problem]]:
        """Read the images."""
        from pladapt.files import (  # noqa: PLC0415 - help must not wait for it
            Files,
            ImageLayout,
            read_samples,
        )

        return read_samples(
            Files.find(images),
            layout=ImageLayout(self._size, self.axes, self.window),
            grouping=grouping_of(self.group_by, self.groups),
            readers=self.readers,
            strict=self.strict,
            progress=progress,
        )

    def masks(
        self, truth: Path, labels: list[int] | None, ignore: int | None
    ) -> tuple[Files, MaskLayout]:
        """Find the masks."""
        from pladapt.files import Files, MaskLayout  # noqa: PLC0415 - for help

        axes = None if self.axes is None else self.axes.replace("C", "")
        return Files.find(truth), MaskLayout(tuple(labels or [1]), ignore, self._size, axes)

    def labelled(
        self, samples: FileSamples, masks: tuple[Files, MaskLayout]
    ) -> tuple[TrueFileSamples, list[Problem]]:
        """Match the images with the masks, of which some may be missing."""
        from pladapt.files import read_truth  # noqa: PLC0415 - for help

        return read_truth(samples, masks[0], layout=masks[1], strict=self.strict)
