"""The images of a folder as samples, for what looks at each of them many times."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import asdict
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pladapt.data.prefetch import prefetch
from pladapt.data.tolerance import MAX_ERRORS, LeavingOut, Tolerance
from pladapt.errors import DataError
from pladapt.files.folder import Problem, nothing_usable
from pladapt.files.pairing import Pairing, likely_pattern
from pladapt.files.places import outline, turned_onto
from pladapt.files.series import files_of
from pladapt.types import LabelledSample, Sample, Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from pladapt.data.tolerance import OnError
    from pladapt.files.folder import Files, Grouping
    from pladapt.files.reading import ImageLayout, Loaded, MaskLayout
    from pladapt.files.series import Source
    from pladapt.types import Progress

MEMORY: Final = 2**31
"""How many bytes of decoded images are kept, about, so that files are not decoded again."""


class Place(NamedTuple):
    """Where a sample is.

    Args:
        id: The sample's name.
        group: Its group.
        name: The file's name: its path below the folder without the extension.
        path: The file, or the files of a DICOM series.
        number: The sample's place in the file, from 0.
    """

    id: str
    group: str
    name: str
    path: Source
    number: int


class FileSamples(Samples[Sample]):
    """Unlabelled samples whose images are read when they are asked for; made by `read_samples`.

    Args:
        places: Where each sample is.
        layout: How the files are read.
        kept: How many files' images are kept in memory.
        outlines: Where the files' volumes lie, without their values.
        true_names: As of `pladapt.files.Files`.
    """

    def __init__(
        self,
        places: Sequence[Place],
        layout: ImageLayout,
        kept: int,
        outlines: Mapping[Source, Loaded],
        true_names: Mapping[str, str],
    ) -> None:
        self.places, self.outlines, self.layout = places, outlines, layout
        self.true_names = true_names
        self._kept, self._images = kept, _arrays(layout, kept)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be sent to another process without the images, which reads them itself."""
        told = self.places, self.layout, self._kept, self.outlines, self.true_names
        return type(self), told

    @property
    def ids(self) -> list[str]:
        """The samples' names, in order; no file is read for them."""
        return [place.id for place in self.places]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int, /) -> Sample:
        place = self.places[range(len(self))[index]]
        return Sample(place.id, place.group, self._images(place.path)[place.number])


class TrueFileSamples(Samples[LabelledSample]):
    """Samples with masks, both read when they are asked for; made by `read_truth`.

    Args:
        samples: All samples.
        positions: Where in ``samples`` those with a mask stand.
        masks: The files of the masks, by the names of the images' files.
        layout: How masks are read; they are turned onto the images' axes.
    """

    def __init__(
        self,
        samples: FileSamples,
        positions: Sequence[int],
        masks: Mapping[str, Source],
        layout: MaskLayout,
    ) -> None:
        self._samples, self._positions, self._paths = samples, positions, masks
        self._layout, self._masks = layout, _masks(samples, masks, layout, kept=8)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be sent to another process without what was decoded."""
        return type(self), (self._samples, self._positions, self._paths, self._layout)

    @property
    def ids(self) -> list[str]:
        """The samples' names, in order; no file is read for them."""
        return [self._samples.places[position].id for position in self._positions]

    @property
    def spacing(self) -> tuple[float, ...] | dict[str, tuple[float, ...]] | None:
        """The size of a pixel in mm along Z, Y and X, or Y and X.

        One for all samples, or one by the id of each; None where not every file says it.
        """
        places = [self._samples.places[position] for position in self._positions]
        own = self._samples.layout.resample
        each = {place.id: own or self._samples.outlines[place.path].spacing for place in places}
        known = {id_: spacing for id_, spacing in each.items() if spacing is not None}
        if len(known) < len(each):
            return None
        different = {*known.values()}
        return different.pop() if len(different) == 1 else known

    def describe(self) -> dict[str, Any]:
        """Return what the masks depend on: the samples they are of, the files' bytes, the labels.

        The images are those of the target, which a run checks itself.
        """
        digest = hashlib.sha256(json.dumps(asdict(self._layout)).encode())
        places = [self._samples.places[position] for position in self._positions]
        digest.update(json.dumps([(place.id, place.group) for place in places]).encode())
        for name in dict.fromkeys(place.name for place in places):
            for path in files_of(self._paths[name]):
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return {"samples": len(self), "sha256": digest.hexdigest()}

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int, /) -> LabelledSample:
        position = self._positions[range(len(self))[index]]
        sample, place = self._samples[position], self._samples.places[position]
        mask = self._masks(place.name, place.path)[place.number]
        return LabelledSample(sample.id, sample.group, sample.image, mask)


def read_samples(
    files: Files,
    *,
    layout: ImageLayout,
    grouping: Grouping,
    readers: int = 2,
    on_error: OnError = "skip",
    max_errors: float = MAX_ERRORS,
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> tuple[FileSamples, list[Problem]]:
    """Find the samples in files, of which each is decoded once to see that it can be used.

    Args:
        files: The images.
        layout: How they are read.
        grouping: What a file belongs to.
        readers: How many files are read at once.
        on_error: What becomes of a file that cannot be used: ``skip`` leaves it out, ``raise`` ends
            the call.
        max_errors: How many files may be left out: a number from 0 as an integer, or a fraction in
            [0, 1] as a float.
        memory: How many bytes of decoded images are kept later on, about.
        progress: Called as files are finished.

    Returns:
        The samples, in the order of the files' names, and what was left out.

    Raises:
        DataError: Nothing can be used, or more files than ``max_errors`` cannot.
    """
    files = layout.arranged(files)
    places: list[Place] = []
    leaving_out = LeavingOut(Tolerance(on_error, max_errors), len(files.paths), what="files")
    outlines: dict[Source, Loaded] = {}
    size = 0

    def read(item: tuple[str, Source]) -> tuple[list[Place], int]:
        name, path = item
        loaded = layout.load(path)
        found = list(layout.items(name, loaded))
        group = files.group(name, grouping)
        outlines[path] = outline(loaded)
        each = [Place(one.id, group, name, path, index) for index, one in enumerate(found)]
        return each, sum(one.array.nbytes for one in found)

    calls = (partial(read, item) for item in files.paths.items())
    with closing(prefetch(calls, readers)) as each:
        for done, (name, result) in enumerate(zip(files.paths, each, strict=True), start=1):
            try:
                found, read_bytes = result()
                places += found
                size += read_bytes
            except DataError as error:
                if on_error == "raise":
                    raise DataError(f"{name}: {error}") from error
                leaving_out.leave_out(done, name, error)
            if progress is not None:
                progress("read", done, len(files.paths))
    problems = [Problem(each.id, each.reason) for each in leaving_out.found]
    if not places:
        raise nothing_usable(problems, files.root)
    kept = max(1, len(files.paths) * memory // max(1, size))
    return FileSamples(places, layout, kept, outlines, files.true_names), problems


def read_truth(
    samples: FileSamples,
    truth: Files,
    *,
    layout: MaskLayout,
    pairing: Pairing | None = None,
    on_error: OnError = "skip",
) -> tuple[TrueFileSamples, list[Problem]]:
    """Match samples with the true masks of the same names: for evaluators and reports alone.

    Args:
        samples: What `read_samples` returned.
        truth: The masks' files; each is decoded once to see that it fits.
        layout: How masks are read.
        pairing: Which truth belongs to an image, where their names differ.
        on_error: What becomes of what cannot be used: ``skip`` leaves it out, ``raise`` ends the
            call.

    Returns:
        The samples that have a mask, and what was left out on either side.

    Raises:
        DataError: Nothing can be used, or something cannot and ``on_error`` is ``raise``.
    """
    truth = layout.arranged(truth)
    by_file: dict[str, list[int]] = {}
    for position, place in enumerate(samples.places):
        by_file.setdefault(place.name, []).append(position)
    true_names = {**samples.true_names, **truth.true_names}
    pairs, unpaired = (pairing or Pairing()).match_names(by_file, truth.paths, true_names)
    problems: list[Problem] = []
    for name, is_image, reason in unpaired:
        error = DataError(
            reason
            or (
                f"There is no truth of this name in {truth.root}."
                if is_image
                else "There is a truth, and no image of this name that can be used."
            )
        )
        _leave_out(problems, name, error, on_error=on_error)
    masks = {name: truth.paths[other] for name, other in pairs.items()}
    read = _masks(samples, masks, layout, kept=1)
    positions: list[int] = []
    for name in pairs:
        try:
            positions += _matched(samples, by_file[name], read)
        except DataError as error:
            _leave_out(problems, name, error, on_error=on_error)
    if not positions:
        pattern = None if pairs else likely_pattern(by_file, truth.paths)
        hint = f"These names would pair with --match '{pattern}'." if pattern else ""
        raise nothing_usable(problems, truth.root, hint=hint)
    return TrueFileSamples(samples, sorted(positions), masks, layout), sorted(problems)


def _matched(
    samples: FileSamples, positions: list[int], read: Callable[[str, Source], list[NDArray[Any]]]
) -> list[int]:
    """Return the positions of a file's samples, if their masks fit them."""
    place = samples.places[positions[0]]
    masks = read(place.name, place.path)
    shapes = [samples[position].image.shape[1:] for position in positions]
    if shapes != [mask.shape for mask in masks]:
        raise DataError(
            f"The image has {len(shapes)} samples, the first of shape {shapes[0]}, and the truth "
            f"{len(masks)}, the first of shape {masks[0].shape}; they must agree."
        )
    return positions


def _leave_out(problems: list[Problem], name: str, error: DataError, *, on_error: OnError) -> None:
    if on_error == "raise":
        raise DataError(f"{name}: {error}") from error
    problems.append(Problem(name, str(error)))


def _arrays(layout: ImageLayout, kept: int) -> Callable[[Source], list[NDArray[Any]]]:
    """Return what decodes a file into its samples' arrays, and remembers the last few files."""

    @lru_cache(maxsize=kept)
    def decoded(path: Source) -> list[NDArray[Any]]:
        return [item.array for item in layout.items(path.name, layout.load(path))]

    return decoded


def _masks(
    samples: FileSamples, masks: Mapping[str, Source], layout: MaskLayout, kept: int
) -> Callable[[str, Source], list[NDArray[Any]]]:
    """Return the same for the masks of images, by the image's name and file."""

    @lru_cache(maxsize=kept)
    def decoded(name: str, image: Source) -> list[NDArray[Any]]:
        outline = samples.outlines[image]
        loaded = turned_onto(layout.load(masks[name]), outline)
        loaded = loaded._replace(spacing=outline.spacing or loaded.spacing)
        return [item.array for item in layout.items(name, loaded)]

    return decoded
