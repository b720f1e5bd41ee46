"""A folder of masks: which are there, and writing the others."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from pladapt.files.folder import nothing_usable
from pladapt.files.series import files_of
from pladapt.files.writing import encode_mask, encode_probabilities
from pladapt.runs.parts import Parts
from pladapt.storage import atomic_write, read_table, to_json, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pladapt.files.folder import Files, Problem
    from pladapt.files.series import Source
    from pladapt.files.streaming import ImageMasks
    from pladapt.files.writing import Encoded, Values

MASKS: Final = pa.schema(
    [
        ("name", pa.string()),
        ("image", pa.string()),
        ("mask", pa.string()),
        ("probabilities", pa.string()),
        ("samples", pa.int64()),
        ("foreground", pa.float64()),
        ("sha256", pa.string()),
        ("image_state", pa.string()),
    ]
)
"""The columns of ``masks.parquet``."""

RUN: Final = "run.json"
_TABLE: Final = "masks.parquet"
_PARTS: Final = ".unfinished"
_PART: Final = ".part-"


class EncodedImage(NamedTuple):
    """The mask of an image as it is written.

    Args:
        row: What `MASKS` says of it, but for the names of what is written.
        mask: The mask.
        maps: The probabilities, where they are written as well.
    """

    row: dict[str, Any]
    mask: Encoded
    maps: Encoded | None

    @property
    def name(self) -> str:
        """The name of the image."""
        return str(self.row["name"])


def encoded_image(
    image: ImageMasks, files: Files, values: Values, dimensions: int | None
) -> EncodedImage:
    """Return what was predicted of an image as it is written.

    Args:
        image: The image.
        files: Those that it is of.
        values: What masks hold.
        dimensions: Of a sample, where its probabilities are written as well; else None.

    Raises:
        DataError: The image lacks what its format's masks need.
    """
    classes, maps = image.planes(image.classes, 0), None
    if dimensions is not None:
        maps = encode_probabilities(image.planes(image.maps, 1), image.shape, dimensions)
    mask = encode_mask(classes, image.source, image.shape, values)
    row = {
        "name": image.name,
        "image": files.relative(image.source),
        "samples": image.count,
        "foreground": float(np.count_nonzero(classes) / classes.size),
        "sha256": sha256(mask.content),
        "image_state": _state(image.source),
    }
    return EncodedImage(row, mask, maps)


class MaskFolder:
    """Writes masks, and knows those that are there.

    Args:
        files: The images.
        folder: Where the masks go.
        probabilities: Where the probabilities go, or None.
        notes: Where it is noted which masks there are; the folder itself, or that of a part.
    """

    def __init__(
        self,
        files: Files,
        folder: Path,
        probabilities: Path | None,
        notes: Path,
    ) -> None:
        self.files, self._folder, self._probabilities = files, folder, probabilities
        self._notes = notes
        self._joined = parts_in(folder) if notes == folder else []
        self._parts = Parts(notes / _PARTS)
        tables = [table for place in (*self._joined, notes) for table in _tables(place)]
        self._rows: dict[str, dict[str, Any]] = {
            row["name"]: row for table in tables for row in table.to_pylist()
        }

    def lacking(self) -> list[str]:
        """Return the names of images that have no mask, or have changed since."""
        return [name for name in self.files.paths if not self._is_done(name)]

    def write(self, image: EncodedImage) -> None:
        """Write what was predicted of an image."""
        row = {**image.row, "probabilities": None}
        if self._probabilities is not None and image.maps is not None:
            row["probabilities"] = self._written(self._probabilities, image.name, image.maps)
        row["mask"] = self._written(self._folder, image.name, image.mask)
        self._rows[image.name] = row
        self._parts.add(pa.Table.from_pylist([row], MASKS))
        if self._parts.due:
            self._parts.write()

    def store(self) -> None:
        """Store what is known of the masks written so far."""
        if self._parts.waits:
            self._parts.write()
        if not self._rows:  # nothing that another call would have to go on from
            (self._notes / RUN).unlink(missing_ok=True)

    def finish(self, problems: Sequence[Problem]) -> pa.Table:
        """Write the table of all masks, and return it; that of the whole takes in the parts'.

        Raises:
            DataError: There is no mask.
        """
        if not self._rows and self._notes == self._folder:
            raise nothing_usable(problems, self.files.root)
        if not self._rows:  # of a part, which leaves nothing to join
            shutil.rmtree(self._notes)
            return MASKS.empty_table()
        rows = [self._rows[name] for name in sorted(self._rows)]
        table = pa.Table.from_pylist(rows, MASKS)
        write_table(table, self._notes / _TABLE)
        self._parts.remove()
        for part in self._joined:
            shutil.rmtree(part)
        return table

    def _is_done(self, name: str) -> bool:
        row = self._rows.get(name)
        if row is None or row["image_state"] != _state(self.files.paths[name]):
            return False
        mask = self._place(self._folder, name, row["mask"])
        maps = self._probabilities and self._place(self._probabilities, name, row["probabilities"])
        return (
            mask.is_file()
            and sha256(mask.read_bytes()) == row["sha256"]
            and (maps is None or maps.is_file())
        )

    def _written(self, folder: Path, name: str, encoded: Encoded) -> str:
        written = f"{name}{encoded.extension}"
        with atomic_write(self._place(folder, name, written)) as temporary:
            temporary.write_bytes(encoded.content)
        return written

    def _place(self, folder: Path, name: str, written: str) -> Path:
        """Return where a mask lies: it is called as its image is, with which it belongs."""
        return folder / f"{self.files.true_name(name)}{written.removeprefix(name)}"


def part_of(folder: Path, number: int, count: int) -> Path:
    """Return where a part notes which masks it has written."""
    return folder / f"{_PART}{number}-of-{count}"


def parts_in(folder: Path) -> list[Path]:
    """Return where parts have noted what they have written, in order."""
    return sorted(place for place in folder.glob(f"{_PART}*") if (place / RUN).is_file())


def _tables(notes: Path) -> Iterator[pa.Table]:
    if (notes / _TABLE).exists():
        yield read_table(notes / _TABLE)
    yield from Parts(notes / _PARTS).tables()


def _state(source: Source) -> str:
    """Return what tells whether an image has changed, without reading it."""
    states = [(path.name, path.stat()) for path in files_of(source)]
    said = [[name, status.st_size, status.st_mtime_ns] for name, status in states]
    return sha256(to_json(said).encode())


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()
