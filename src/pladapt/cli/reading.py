"""How files become samples, as the options of several commands say."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Self

import typer

from pladapt.cli.logs import LOG
from pladapt.cli.options import Options, errors_of, spacing_of
from pladapt.data.tolerance import Tolerance
from pladapt.errors import DataError, InputError
from pladapt.storage import read_json, to_json

if TYPE_CHECKING:
    from pladapt.files import (
        Files,
        FileSamples,
        Grouping,
        ImageLayout,
        MaskLayout,
        Pairing,
        Problem,
        Pseudonyms,
        TrueFileSamples,
    )
    from pladapt.types import Progress

_OF_MASKS: Final = {"mask", "masks", "label", "labels", "truth", "gt", "annotations"}
_NAME: Final = "reading.json"
_RECORDED: Final = (
    "dimensions",
    "axes",
    "window",
    "channels",
    "key",
    "max_values",
    "resample",
    "neighbours",
    "group_by",
    "pseudonyms",
    "pseudonym_key",
)


@dataclass(frozen=True, kw_only=True)
class Reading(Options):
    """How files become samples.

    Raises:
        InputError: ``max_errors`` is no number of files, and no percentage.
    """

    dimensions: Annotated[
        Literal["2", "3"], typer.Option(help="Whether a sample is a slice (2) or a volume (3).")
    ] = "2"
    axes: Annotated[
        str | None,
        typer.Option(
            help="The axes of NPY, NIfTI, NRRD and TIFF arrays, of T (times), Z (slices), "
            "C (channels), Y and X."
        ),
    ] = None
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(help="What becomes 0 and what becomes 1, such as -1000 400 for CT."),
    ] = None
    scale: Annotated[
        float | None,
        typer.Option(
            help="What probability 1 is stored as, such as 100 for percent.  [default: 1, or the "
            "largest value of an integer type]"
        ),
    ] = None
    channels: Annotated[
        Literal["1", "3"] | None,
        typer.Option(
            help="Make three equal channels of greys (3), or one of three equal ones (1)."
        ),
    ] = None
    key: Annotated[
        str | None, typer.Option(help="Which array of NPZ files, if they have several.")
    ] = None
    max_values: Annotated[
        int | None,
        typer.Option(
            help="How many values a file may hold.  [default: 2^29, and 89 million in a slice]",
            min=1,
        ),
    ] = None
    resample: Annotated[
        str | None,
        typer.Option(
            metavar="MM,...",
            help="Resample images to pixels of this size along Z, Y and X, or Y and X, such as "
            "3,0.8,0.8; masks come back to the images' own.",
        ),
    ] = None
    neighbours: Annotated[
        int,
        typer.Option(
            help="How many slices on each side a slice is given as further channels (2.5-D).",
            min=0,
        ),
    ] = 0
    group_by: Annotated[
        str,
        typer.Option(
            help="file, folder, or a regular expression whose first group is the patient."
        ),
    ] = "file"
    groups: Annotated[
        Path | None, typer.Option(help="A CSV with the columns name and group, for --group-by.")
    ] = None
    pseudonyms: Annotated[
        Literal["identifiers", "all", "none"],
        typer.Option(
            help="What of the names of files, folders and groups becomes salted hashes in all that "
            "is written: DICOM UIDs and names such as DOE^JANE, every name, or none."
        ),
    ] = "identifiers"
    pseudonym_key: Annotated[
        Path | None,
        typer.Option(
            help="The file of their key, made where there is none.  [default: "
            "pladapt/pseudonyms.key in ~/.config]"
        ),
    ] = None
    readers: Annotated[int, typer.Option(help="How many files are read at once.", min=1)] = 2
    on_error: Annotated[
        Literal["skip", "raise"],
        typer.Option(help="Leave out and list what cannot be used, or stop at the first."),
    ] = "skip"
    max_errors: Annotated[
        str,
        typer.Option(
            help="How many may be left out: a number, or a percentage. More end the command."
        ),
    ] = "5%"
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="How many seconds a batch may take; then its images are tried one by one, and "
            "those that still take longer are left out.  [default: no limit]"
        ),
    ] = None

    def __post_init__(self) -> None:
        _ = self.tolerance

    @property
    def tolerance(self) -> Tolerance:
        """What may be left out."""
        return Tolerance(self.on_error, errors_of(self.max_errors), self.time_limit)

    def record(self, folder: Path) -> None:
        """Note in a folder how images are read, for those of the same kind that come later."""
        values = {name: getattr(self, name) for name in _RECORDED}
        (folder / _NAME).write_text(to_json(values), encoding="utf-8")

    def recorded(self, folder: Path) -> Self:
        """Return this with what `record` noted in a folder, where it was not given.

        Raises:
            DataError: The record is damaged.
        """
        if not (folder / _NAME).is_file():
            return self
        told = read_json(folder / _NAME)
        if not isinstance(told, dict):
            raise DataError(f"{folder / _NAME} is no whole record of options; remove it.")
        found: dict[str, Any] = {n: told[n] for n in _RECORDED if told.get(n) is not None}
        found |= {"window": tuple(found["window"])} if "window" in found else {}
        found |= {n: Path(found[n]) for n in ("pseudonym_key",) if n in found}
        return replace(self, **{n: v for n, v in found.items() if n not in self.given})

    def find(self, folder: Path) -> Files:
        """Find the images or masks in a folder."""
        from pladapt.files import Files  # noqa: PLC0415 - for help

        return Files.find(folder, self.hiding())

    def hiding(self) -> Pseudonyms:
        """Return what hides in names whose an image is."""
        from pladapt.files import Pseudonyms  # noqa: PLC0415 - for help

        return Pseudonyms(self.pseudonyms, self.pseudonym_key)

    def image_layout(self, *, probabilities: bool = False) -> ImageLayout:
        """Return how images, or maps of probabilities, are read."""
        from pladapt.files import ImageLayout  # noqa: PLC0415 - help must not wait for it

        return ImageLayout(
            window=self.window,
            probabilities=probabilities,
            scale=self.scale,
            channels=None if self.channels is None else int(self.channels),
            axes=self.axes,
            neighbours=0 if probabilities else self.neighbours,
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

        LOG.debug("%d files in %s are read as %s.", len(images.paths), images.root, self)
        _warn_of_masks(images)
        return read_samples(
            images,
            layout=self.image_layout(),
            grouping=self.grouping(),
            readers=self.readers,
            on_error=self.on_error,
            max_errors=self.tolerance.max_errors,
            progress=progress,
        )

    def labelled(self, samples: FileSamples, truth: Truth) -> tuple[TrueFileSamples, list[Problem]]:
        """Match the images with the masks, of which some may be missing."""
        from pladapt.files import read_truth  # noqa: PLC0415 - for help

        return read_truth(
            samples, truth.files, layout=truth.layout, pairing=truth.pairing, on_error=self.on_error
        )

    def few(
        self, images: Files, truth: Truth, progress: Progress
    ) -> tuple[TrueFileSamples, list[Problem]]:
        """Read those images that have a mask, among others that may have none."""
        samples, unread = self.samples(images, progress)
        labelled, problems = replace(self, on_error="skip").labelled(samples, truth)
        names = {place.name for place in samples.places}
        known = {**samples.true_names, **truth.files.true_names}
        without = names - truth.pairing.match_names(names, truth.files.paths, known)[0].keys()
        return labelled, [*unread, *(each for each in problems if each.name not in without)]

    def _shared(self) -> dict[str, Any]:
        dimensions = 3 if self.dimensions == "3" else 2
        shared = {"dimensions": dimensions, "key": self.key, "max_values": self.max_values}
        return shared | {"resample": spacing_of(self.resample, "--resample")}


def _warn_of_masks(images: Files) -> None:
    """Warn where some of the images are in folders that are called as those of masks are."""
    files = [path for path in images.paths.values() if isinstance(path, Path)]
    within = [path.relative_to(images.root) for path in files if images.root in path.parents]
    found = [path for path in within if _OF_MASKS.intersection(map(str.lower, path.parts[:-1]))]
    if found:
        warnings.warn(
            f"{len(found)} of {len(images.paths)} images are in folders called as those of masks "
            f"are, such as {found[0]}. If they are masks, give the folder of the images alone.",
            stacklevel=2,
        )


class Truth(NamedTuple):
    """True masks, how they are read, and whose they are."""

    files: Files
    layout: MaskLayout
    pairing: Pairing


@dataclass(frozen=True, kw_only=True)
class TrueMasks(Options):
    """How true masks are read, and whose they are."""

    truth_label: Annotated[
        list[int] | None,
        typer.Option(help="A class's value in the true masks; repeat in order.  [default: 1]"),
    ] = None
    binary: Annotated[
        bool, typer.Option("--binary", help="Whatever is not 0 in a mask is foreground.")
    ] = False
    ignore: Annotated[
        int | None, typer.Option(help="The value of pixels of the truth to leave out.")
    ] = None
    match: Annotated[
        str | None,
        typer.Option(
            help="A regular expression whose first group is what the names of a pair share, such "
            "as '^(.+?)(?:_mask)?$'.  [default: the names are equal]"
        ),
    ] = None
    pairs: Annotated[
        Path | None,
        typer.Option(help="A CSV with the columns name and truth, in place of --match."),
    ] = None
    as_stored: Annotated[
        bool,
        typer.Option("--as-stored", help="Compare voxel by voxel, whatever places the files give."),
    ] = False

    def pairing(self) -> Pairing:
        """Return what --match and --pairs say."""
        from pladapt.files import Pairing  # noqa: PLC0415 - help must not wait for it

        return Pairing(self.match) if self.pairs is None else Pairing.from_csv(self.pairs)

    def truth(self, folder: Path, images: Path, reading: Reading) -> Truth:
        """Find the true masks of images.

        Raises:
            InputError: One folder lies in the other, so that masks would be taken for images.
        """
        _keep_apart(images, folder)
        layout = reading.mask_layout(
            self.truth_label, ignore=self.ignore, binary=self.binary, as_stored=self.as_stored
        )
        return Truth(reading.find(folder), layout, self.pairing())


def _keep_apart(images: Path, truth: Path) -> None:
    one, other = images.resolve(), truth.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise InputError(
            f"The images are in {images} and the truth in {truth}; keep the masks in a folder "
            "apart, or they would be taken for images."
        )
