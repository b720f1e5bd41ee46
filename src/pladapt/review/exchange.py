"""A run's masks for the tools that people have, and what they made of them."""

from __future__ import annotations

import gzip
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.files.folder import Files
from pladapt.files.pseudonyms import Pseudonyms
from pladapt.files.reading import MaskLayout
from pladapt.files.samples import read_truth
from pladapt.files.spacing import scaled
from pladapt.files.stored import EXTRA
from pladapt.optional import needs
from pladapt.review.annotations import IMAGES, Coco, Cvat, Item, LabelStudio
from pladapt.review.pictures import picture, png, read_png, value_range
from pladapt.runs.manifest import fingerprint
from pladapt.storage import atomic_write, read_sealed, write_sealed
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.files.samples import FileSamples, Place
    from pladapt.review.annotations import Format
    from pladapt.review.reviewing import Review

Kind: TypeAlias = Literal["label-studio", "cvat", "coco", "nifti", "png"]
"""Where masks go."""

_FORMATS: Final[Mapping[str, Format]] = {
    "label-studio": LabelStudio(),
    "cvat": Cvat(),
    "coco": Coco(),
}
_RECORD: Final = "export.json"
_MASKS: Final = "masks"
_PLANE: Final = 2
_SHADES: Final = (0, 0, 0, 230, 159, 0, 86, 180, 233, 0, 158, 115, 240, 228, 66, 204, 121, 167)
"""Red, green and blue of the first values: Okabe and Ito's, which all can tell apart."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export noted for the way back.

    Args:
        kind: Of its files.
        names: Of the values, by value.
        files: Each sample's id, by the name of its picture.
        masks: What each sample's mask was, by its id: its `fingerprint`.
    """

    kind: Kind
    names: dict[int, str]
    files: dict[str, str]
    masks: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the note."""
        write_sealed(asdict(self), folder / _RECORD)

    @classmethod
    def read(cls, folder: Path) -> Exported:
        """Read the note.

        Raises:
            MissingDataError: There is none.
            DataError: It is damaged.
        """
        path = folder / _RECORD
        if not path.is_file():
            raise MissingDataError(
                f"{folder} has no {_RECORD}, which says whose the masks are; give the folder that "
                "`pladapt labels export` wrote, with the tool's files in it."
            )
        said = read_sealed(path, "note of an export", "export anew")
        return cls(**said | {"names": {int(value): name for value, name in said["names"].items()}})


def export_masks(
    review: Review,
    samples: FileSamples,
    folder: Path,
    kind: Kind,
    *,
    ids: Sequence[str],
    names: Sequence[str] = (),
) -> Exported:
    """Write some samples' masks, as they are now, for another tool.

    Args:
        review: Of the run.
        samples: The run's images.
        folder: A new or empty one.
        kind: ``nifti`` writes each image's file as one, for 3D Slicer or ITK-SNAP; the others a
            picture for each sample.
        ids: The samples; with ``nifti`` the files are written that they are in.
        names: Of the classes, in order; by default ``foreground``, or ``class 1`` and so on.

    Raises:
        InputError: The folder holds something, or a picture was asked for of a volume.
        MissingDataError: A sample's image is not there.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds something; give another folder.")
    positions = _positions(samples, ids)
    masks = {id_: review.mask(id_) for id_ in ids}
    if kind == "nifti":
        volumes = {samples.places[position].name for position in positions}
        files, masks = _write_volumes(review, samples, folder, volumes)
        return _noted(folder, kind, _named(masks.values(), names), files, masks)
    flat = next((id_ for id_, mask in masks.items() if mask.ndim != _PLANE), None)
    if flat is not None:
        raise InputError(f"{flat!r} is a volume, and {kind} takes pictures; give nifti.")
    files = {f"{number:04}.png": id_ for number, id_ in enumerate(ids, start=1)}
    for file, position in zip(files, positions, strict=True):
        image = samples[position].image
        _write(folder / IMAGES / file, png(picture(image, value_range(image))))
    named = _named(masks.values(), names)
    items = [Item(file, masks[id_]) for file, id_ in files.items()]
    if kind == "png":
        for item in items:
            _write(folder / _MASKS / item.file, png(item.mask, [*_SHADES]))
    else:
        _FORMATS[kind].write(items, named, folder)
    return _noted(folder, kind, named, files, masks)


def import_masks(
    review: Review,
    samples: FileSamples,
    folder: Path,
    *,
    unchanged: bool = False,
    seconds: float = 0,
) -> dict[str, str]:
    """Take the masks that a tool made of an export: those that it changed are corrected.

    What somebody has said of the others since stays.

    Args:
        review: Of the run.
        samples: The run's images.
        folder: That of the export.
        unchanged: Whether masks that were not changed are accepted; else nothing is said of them.
        seconds: How long they took in all; each is noted with its part.

    Returns:
        The decision by the sample's id.

    Raises:
        MissingDataError: The folder is none of an export.
        DataError: A file cannot be read, or has a mask of another size or with other values.
        BusyError: Somebody else is at a sample.
    """
    said: dict[str, str] = {}
    total = sum(1 for _ in _answers(review, samples, folder, unchanged=unchanged)) if seconds else 1
    each = seconds / max(1, total)
    for id_, mask in _answers(review, samples, folder, unchanged=unchanged):
        if mask is None:
            review.accept(id_, seconds=each)
        else:
            review.correct(id_, mask, seconds=each)
        said[id_] = "accepted" if mask is None else "corrected"
    return said


def _answers(
    review: Review, samples: FileSamples, folder: Path, *, unchanged: bool
) -> Iterator[tuple[str, NDArray[np.uint8] | None]]:
    """Yield each sample that something is said of, with the mask where it was changed."""
    exported = Exported.read(folder)
    for id_, mask in _imported(exported, samples, folder):
        now = review.mask(id_)
        whole = np.zeros_like(now) if mask.size == 0 else mask
        if whole.shape != now.shape:
            raise DataError(
                f"The mask of {id_!r} in {folder} has the shape {whole.shape}; expected "
                f"{now.shape}. Export it at the size of the image."
            )
        _check_values(id_, whole, exported)
        changed = fingerprint(whole) != exported.masks.get(id_, fingerprint(now))
        if changed or unchanged:
            yield id_, whole if changed else None


def _check_values(id_: str, mask: NDArray[np.uint8], exported: Exported) -> None:
    """Refuse values that are no classes, and 255 where it was surely meant as foreground."""
    values = {int(value) for value in np.unique(mask)} - {0}
    classes = {value: name for value, name in exported.names.items() if value != IGNORE}
    if unknown := sorted(values - {*classes, IGNORE}):
        raise DataError(
            f"The mask of {id_!r} has the values {unknown}, and those of the export are 0 and "
            f"{classes}. Write these; where there are more classes, name them in the export "
            "(--name)."
        )
    if values == {IGNORE} and IGNORE not in exported.names:
        raise DataError(
            f"The mask of {id_!r} has no values but 0 and {IGNORE}, which is for pixels of which "
            f"nothing is said; foreground is {classes}. Write these values."
        )


def _imported(
    exported: Exported, samples: FileSamples, folder: Path
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    if exported.kind == "nifti":
        yield from _read_volumes(exported, samples, folder)
    elif exported.kind == "png":
        for file, id_ in exported.files.items():
            yield id_, read_png((folder / _MASKS / file).read_bytes())
    else:
        for item in _FORMATS[exported.kind].read(folder, exported.names):
            file = item.file.rpartition("/")[2]
            if file not in exported.files:
                raise DataError(f"{folder} has a mask of {file!r}, which was not exported.")
            yield exported.files[file], item.mask


def _positions(samples: FileSamples, ids: Sequence[str]) -> list[int]:
    known = {place.id: position for position, place in enumerate(samples.places)}
    if lacking := [id_ for id_ in ids if id_ not in known]:
        raise MissingDataError(
            f"There is no image of {lacking[0]!r}, nor of {len(lacking) - 1} others; give the "
            "images that the run was made with."
        )
    return [known[id_] for id_ in ids]


def _named(masks: Any, given: Sequence[str]) -> dict[int, str]:
    """Return the names of the values, 255 among them where it is there."""
    values = {int(value) for mask in masks for value in np.unique(mask)}
    count = max([len(given), *(value for value in values if value != IGNORE)], default=0)
    if given and len(given) < count:
        raise InputError(f"There are {count} classes and {len(given)} names, {list(given)}.")
    own = ["foreground"] if count <= 1 else [f"class {n}" for n in range(1, count + 1)]
    names = dict(enumerate(given or own, start=1))
    return names | ({IGNORE: "ignore"} if IGNORE in values else {})


def _noted(
    folder: Path,
    kind: Kind,
    names: dict[int, str],
    files: dict[str, str],
    masks: Mapping[str, NDArray[np.uint8]],
) -> Exported:
    known = {id_: fingerprint(mask) for id_, mask in masks.items()}
    exported = Exported(kind=kind, names=names, files=files, masks=known)
    exported.write(folder)
    return exported


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


# volumes


def _write_volumes(
    review: Review, samples: FileSamples, folder: Path, names: set[str]
) -> tuple[dict[str, str], dict[str, NDArray[np.uint8]]]:
    known, masks = {*review.masks.ids}, {}
    by_name: dict[str, list[Place]] = {}
    for place in samples.places:
        if place.name in names:
            by_name.setdefault(place.name, []).append(place)
    for name, places in by_name.items():
        outline = samples.outlines[places[0].path]
        shape = outline.array.shape[0], *outline.array.shape[2:]
        seen = samples[samples.places.index(places[0])].image.shape[1:]
        planes = np.zeros((*shape[: 3 - len(seen)], *seen), np.uint8)  # as it was resampled
        for place in places:
            if place.id in known:  # what could not be used has no mask
                masks[place.id] = mask = review.mask(place.id)
                planes[place.number if mask.ndim == _PLANE else ...] = mask
        affine = None if outline.affine is None else scaled(outline.affine, shape, planes.shape)
        _write(folder / _MASKS / f"{name}.nii.gz", _nifti(planes, affine))
    return {name: name for name in by_name}, masks


def _nifti(planes: NDArray[np.uint8], affine: NDArray[np.float64] | None) -> bytes:
    with needs(EXTRA, "nibabel"):
        import nibabel  # noqa: PLC0415 - an extra
    image: Any = nibabel.Nifti1Image(planes.T, np.eye(4) if affine is None else affine)
    return gzip.compress(image.to_bytes(), mtime=0)


def _read_volumes(
    exported: Exported, samples: FileSamples, folder: Path
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    values = tuple(value for value in exported.names if value != IGNORE)
    layout = MaskLayout(values or (1,), IGNORE, 2 if samples[0].image.ndim == 1 + _PLANE else 3)
    truth = Files.find(folder / _MASKS, Pseudonyms("none"))
    masks, problems = read_truth(samples, truth, layout=layout)
    for name, reason in problems:
        if name in exported.files:
            raise DataError(f"{folder / _MASKS}, {name}: {reason}")
    known = {place.id for place in samples.places if place.name in exported.files}
    for index in range(len(masks)):
        sample = masks[index]
        if sample.id in known:
            yield sample.id, np.asarray(sample.mask)
