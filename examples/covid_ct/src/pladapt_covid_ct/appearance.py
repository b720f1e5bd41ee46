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

    from pladapt import LabelledSample, Samples
    from pladapt.reports.document import Block
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
    yield Gallery("A slice of each data set; dashed: its lesions", shown, small=True)
    stored = {letter: _lung_hu(domain.dataset.slices) for letter, domain in domains.items()}
    prepared = {letter: _prepared(domain.samples) for letter, domain in domains.items()}
    charts = [
        _histograms(stored, "Hounsfield units in the lung", "as stored"),
        _histograms(prepared, "normalised intensity in the lung", "as the network sees them"),
    ]
    yield Gallery("The intensities of the data sets", tuple(chart for chart in charts if chart))


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


def _histograms(domains: Mapping[str, NDArray[np.floating]], name: str, when: str) -> Figure | None:
    drawn = {letter: values for letter, values in domains.items() if values.size}
    if not drawn:
        return None
    medians = ", ".join(f"{letter} {np.median(values):.3g}" for letter, values in drawn.items())
    without = ", ".join(domains.keys() - drawn.keys())
    return Figure(
        figures.intensity_histograms(drawn, name=name),
        f"Histograms of the {name}, {when}; medians: {medians}.",
        f"{name[0].upper()}{name[1:]}, {when}; medians: {medians}."
        + (f" Not in Hounsfield units: {without}." if without else ""),
    )


def _lung_hu(slices: Slices) -> NDArray[np.floating]:
    """Return the Hounsfield units in the lung of some slices; none on another scale."""
    chosen = (slices[int(place)] for place in figures.thinned(len(slices), _MOST_SLICES))
    return _joined([_in_lung(slice_) for slice_ in chosen if slice_.intensity is Intensity.HU])


def _in_lung(slice_: Slice) -> NDArray[np.float32]:
    lung = find_lung(slice_, "files-or-threshold")
    return np.asarray(slice_.image if lung is None else slice_.image[lung], np.float32).reshape(-1)


def _prepared(samples: Samples[LabelledSample]) -> NDArray[np.floating]:
    """Return the intensities of some slices without their background, which is one number."""
    chosen = (samples[int(place)] for place in figures.thinned(len(samples), _MOST_SLICES))
    images = [np.asarray(sample.image, np.float32) for sample in chosen]
    return _joined([image[image != image.flat[0]] for image in images])


def _joined(parts: list[NDArray[np.float32]]) -> NDArray[np.floating]:
    return np.concatenate([np.empty(0, np.float32), *parts])
