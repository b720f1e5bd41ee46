"""How the data sets differ in looks, after Fig. 2 of the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pladapt.reports import figures
from pladapt.reports.document import Figure, Gallery
from pladapt.reports.galleries import TRUTH
from pladapt.reports.overlays import overlay
from pladapt_covid_ct.lungs import find_lung
from pladapt_covid_ct.slices import Intensity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from pladapt import LabelledSample
    from pladapt.reports.document import Block
    from pladapt.typing import Samples
    from pladapt_covid_ct.domains import Domain
    from pladapt_covid_ct.slices import Slice, Slices

_MOST_SLICES: Final = 24  # a histogram needs no more, and they have to be decoded
_WINDOW: Final = (-1000, 400)  # Hounsfield units: what a radiologist looks at lungs with


def appearance(domains: Mapping[str, Domain]) -> Iterator[Block]:
    """Yield a slice of each data set, and the histograms of all before and after preparation.

    Args:
        domains: The data sets, by letter.
    """
    shown = tuple(_example(letter, domain.dataset.slices) for letter, domain in domains.items())
    yield Gallery("A slice of each data set; dashed: its lesions", shown)
    stored = {letter: _stored(domain.dataset.slices) for letter, domain in domains.items()}
    prepared = {letter: _prepared(domain.samples) for letter, domain in domains.items()}
    kinds = sorted({kind for values in stored.values() for kind in values})
    charts = [
        *(
            _histograms(
                {k: v[kind] for k, v in stored.items() if kind in v},
                f"intensity as stored ({kind})",
            )
            for kind in kinds
        ),
        _histograms(prepared, "intensity as the network sees it"),
    ]
    yield Gallery("The intensities in the lungs of the data sets", tuple(charts))


def _example(letter: str, slices: Slices) -> Figure:
    """Show the slice with the largest lesion."""
    place = max(range(len(slices)), key=lambda index: slices.rows[index].lesion_pixels or 0)
    chosen = slices[place]
    image = np.asarray(chosen.image, np.float32)
    if chosen.intensity is Intensity.HU:
        image = image.clip(*_WINDOW)
    outlines = {} if chosen.lesion is None else {TRUTH: chosen.lesion}
    caption = f"{letter}: {chosen.id}, {image.shape[1]} x {image.shape[0]} pixels"
    return Figure(overlay(image[np.newaxis], outlines), f"CT slice of {caption}", caption)


def _histograms(domains: Mapping[str, NDArray[np.floating]], name: str) -> Figure:
    medians = ", ".join(f"{letter} {np.median(values):.3g}" for letter, values in domains.items())
    said = f"the {name}; medians: {medians}."
    return Figure(
        figures.intensity_histograms(domains, name=name), f"Histograms of {said}", f"The{said[3:]}"
    )


def _stored(slices: Slices) -> dict[Intensity, NDArray[np.floating]]:
    """Return the intensities in the lung of some slices, by what their numbers are."""
    chosen = [slices[int(place)] for place in figures.subsample(len(slices), _MOST_SLICES)]
    return {
        kind: _joined([_in_lung(slice_) for slice_ in chosen if slice_.intensity is kind])
        for kind in dict.fromkeys(slice_.intensity for slice_ in chosen)
    }


def _in_lung(slice_: Slice) -> NDArray[np.float32]:
    known = slice_.lung is not None or slice_.intensity is Intensity.HU
    lung = find_lung(slice_, "files-or-threshold" if known else "none")
    return np.asarray(slice_.image if lung is None else slice_.image[lung], np.float32).reshape(-1)


def _prepared(samples: Samples[LabelledSample]) -> NDArray[np.floating]:
    """Return the intensities of some slices without their background, which is one number."""
    chosen = (samples[int(place)] for place in figures.subsample(len(samples), _MOST_SLICES))
    images = [np.asarray(sample.image, np.float32) for sample in chosen]
    return _joined([image[image != image.flat[0]] for image in images])


def _joined(parts: list[NDArray[np.float32]]) -> NDArray[np.floating]:
    return np.concatenate([np.empty(0, np.float32), *parts])
