"""Arrays of numpy: NPY, and NPZ with one array or a named one."""

from __future__ import annotations

import threading
import zipfile
from math import prod
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import numpy as np

from pladapt.errors import DataError
from pladapt.files.stored import Stored

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.files.stored import Decoding

_ZIP: Final = b"PK\x03\x04"
# numpy parses a header as Python, and Python 3.11 may fail where two threads do that at once:
# "AST constructor recursion depth mismatch"
_PARSING: Final = threading.Lock()
_HEADERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(path: Path, how: Decoding) -> Stored:
    """Read an array, or the one of an archive: the content decides, not the name.

    Raises:
        DataError: It is too large, or the archive has several arrays and none was named.
    """
    with path.open("rb") as file:
        archive = file.read(len(_ZIP)) == _ZIP
        file.seek(0)
        return Stored(_member(path, how) if archive else _array(file, how), "", certain=False)


def _member(path: Path, how: Decoding) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name[-4:] == ".npy"]
        wanted = names if how.key is None else [name for name in names if name == how.key]
        if len(wanted) != 1:
            raise DataError(
                f"It is an archive with the arrays {names[:20]}; expected one. Say which with key "
                f"(--key), which is {how.key!r}."
            )
        with archive.open(f"{wanted[0]}.npy") as file:
            return _array(file, how)


def _array(file: IO[bytes], how: Decoding) -> NDArray[Any]:
    shape, fortran, dtype = _header(file)
    how.check_size(*_planes(shape))
    return _read(file, shape, dtype, "F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise DataError(f"It is of version {version} of NPY, which is for records of numbers.")
    with _PARSING:
        return _HEADERS[version](file)


def _planes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Return a plane, since nothing says which axes are rows and columns, as all there is."""
    return (1, 1), prod(shape)


def _read(
    file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], order: Literal["C", "F"]
) -> NDArray[Any]:
    if dtype.hasobject:
        raise DataError("It cannot be read: it holds Python objects, which run code then.")
    data = bytearray(prod(shape) * dtype.itemsize)
    if (found := file.readinto(data)) < len(data):  # type: ignore[attr-defined]  # both kinds have it
        raise DataError(f"It cannot be read: it ends after {found} of {len(data)} bytes.")
    array: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape, order=order)
    return array
