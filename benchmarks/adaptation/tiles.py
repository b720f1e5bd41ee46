"""Photographs in grey: nuclei under microscopes, and cracks in pavement and concrete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from families import SmallUNet
from PIL import Image

from pladapt import LabelledSample
from pladapt.errors import MissingDataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from families import Config
    from numpy.typing import NDArray

_HALF: Final = 2


class Tiles(SmallUNet):
    """Tiles ``DOMAIN/images/GROUP-NUMBER.png`` with masks {0, 255} beside them in ``masks``."""

    folder: str
    axes = (-2, -1)

    def load(self, name: str) -> list[LabelledSample]:
        """Read a domain's tiles, cut to the middle.

        Raises:
            MissingDataError: There are none.
        """
        images = self.config.folder(self.folder) / name / "images"
        paths = sorted(images.glob("*.png"))
        if not paths:
            raise MissingDataError(f"{images} has no PNG files; give another folder as --data.")
        return [_read(path, name, self.config) for path in paths]

    def pieces(self, samples: Sequence[LabelledSample]) -> Sequence[LabelledSample]:
        """Return the images' quarters: as many steps again in a fraction of the time."""
        return [piece for sample in samples for piece in quarters(sample)]


class Nuclei(Tiles):
    """Cell nuclei: fluorescence (bright on dark) and stained tissue (dark on bright)."""

    folder = "nuclei"


class Cracks(Tiles):
    """Cracks: thin objects, and few pixels of them."""

    folder = "crack"
    min_dsc = 0.5


def _read(path: Path, domain: str, config: Config) -> LabelledSample:
    image, mask = (_middle(each, config.size) for each in (path, _mask_of(path)))
    group, _, _ = path.stem.rpartition("-")
    scaled = ((image / 255 - 0.5) / 0.25).astype(np.float32)  # one scale for all: polarity shows
    return LabelledSample(
        f"{domain}/{path.stem}", f"{domain}/{group}", scaled[None], (mask > 0).astype(np.uint8)
    )


def _mask_of(path: Path) -> Path:
    return path.parents[1] / "masks" / path.name


def _middle(path: Path, size: int) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    top, left = ((length - size) // _HALF for length in pixels.shape)
    return pixels[top : top + size, left : left + size]


def quarters(sample: LabelledSample) -> list[LabelledSample]:
    """Return the four quarters of a sample, each of half its height and width."""
    height, width = (length // _HALF for length in sample.mask.shape)
    return [
        replace(
            sample,
            id=f"{sample.id}@{top},{left}",
            image=np.asarray(sample.image)[:, top : top + height, left : left + width],
            mask=np.asarray(sample.mask)[top : top + height, left : left + width],
        )
        for top in (0, height)
        for left in (0, width)
    ]
