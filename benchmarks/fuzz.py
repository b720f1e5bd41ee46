"""Fuzz the readers of files with atheris: ``python benchmarks/fuzz.py --seconds 600``.

Starts from a small file of each format, and counts what becomes of the mutated ones: they are read,
or refused with an error of pladapt's own. Anything else, a crash of a library or an input that
takes longer than ten seconds or more than 2 GiB is a finding, which is kept. The line of the page
on reliability is written where ``--page`` is given. Needs ``pip install atheris``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import atheris
import numpy as np

with atheris.instrument_imports(include=["pladapt"]):
    from pladapt import SourceStatistics
    from pladapt.errors import PladaptError
    from pladapt.files import ImageLayout, select_file
    from pladapt.runs import read_run
    from pladapt.storage import read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS: Final = 10
_MEGABYTES: Final = 2048
_ROOM: Final = 2**16
_SUFFIXES: Final = (
    *(".npy", ".npz", ".nii", ".nii.gz", ".mha", ".nrrd"),
    *(".tif", ".png", ".jpg", ".gif", ".bmp", ".pgm", ".dcm"),
)


def _images(path: Path) -> None:
    layout = replace(ImageLayout(), max_values=2**20)
    for item in layout.items(path.name, layout.load(path)):
        item.array.sum()


def _run_folder(path: Path) -> None:
    path.rename(path.with_name("run.json"))
    read_run(path.parent)


_OTHERS: Final[dict[str, Callable[[Path], Any]]] = {
    ".parquet": read_table,
    ".scores": lambda path: select_file(path, path.with_suffix(".csv")),
    ".statistics.npz": SourceStatistics.load,
    ".json": _run_folder,
}
_KINDS: Final = (*_SUFFIXES, *_OTHERS)


def try_one(data: bytes, folder: Path) -> str:
    """Read a mutated file, whose first byte says of which kind it is.

    Returns:
        ``read`` or ``refused``.

    Raises:
        Exception: It was neither.
    """
    if not data:
        return "refused"
    kind = _KINDS[data[0] % len(_KINDS)]
    path = folder / f"image{kind}"
    path.write_bytes(data[1:])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _OTHERS.get(kind, _images)(path)
    except PladaptError:
        return "refused"
    else:
        return "read"
    finally:
        for left in folder.iterdir():
            left.unlink()


def save_seeds(folder: Path) -> None:
    """Write a small file of each kind, with the byte that says which it is."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as own:
        for number, kind in enumerate(_KINDS):
            path = Path(own) / f"seed{kind}"
            with suppress(Exception):  # a kind that is not written here is mutated from nothing
                _seed(path, kind)
            data = path.read_bytes() if path.exists() else b""
            (folder / str(number)).write_bytes(bytes([number]) + data)


def _seed(path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (3, 8, 8)).astype(np.uint8)
    if kind == ".npy":
        np.save(path, image.astype(np.float32))
    elif kind == ".npz":
        np.savez(path, image=image)
    elif kind in (".nii", ".nii.gz", ".mha", ".nrrd"):
        import SimpleITK  # noqa: PLC0415 - in its own turn

        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image.astype(np.int16)), str(path))
    elif kind == ".tif":
        import tifffile  # noqa: PLC0415 - the same

        tifffile.imwrite(path, image)
    elif kind == ".dcm":
        _dicom(path, image[0].astype(np.uint16))
    elif kind in (".parquet", ".scores"):
        import pyarrow as pa  # noqa: PLC0415 - the same

        columns = {"id": ["a", "b"], "group": ["a", "b"], "score": [0.5, 0.7], "class": [1, 1]}
        write_table(pa.table(columns), path)
    elif kind == ".statistics.npz":
        from pladapt.types import Sample  # noqa: PLC0415 - the same

        samples = [Sample(str(n), str(n), each[None] / 255.0) for n, each in enumerate(image)]
        SourceStatistics.measure(samples).save(path)
    elif kind == ".json":
        path.write_text(json.dumps({"config": {}, "format": 2, "sha256": "0"}))
    else:
        from PIL import Image  # noqa: PLC0415 - the same

        Image.fromarray(image[0]).save(path)


def _dicom(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    import pydicom  # noqa: PLC0415 - in its own turn
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid  # noqa: PLC0415

    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, generate_uid()
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PixelRepresentation = 0
    header.PixelData = pixels.tobytes()
    header.save_as(path, enforce_file_format=True)


def fuzz(counts: Path, arguments: list[str]) -> None:
    """Fuzz in this process until it ends or something is found; note how many were tried."""
    seen = {"read": 0, "refused": 0}
    if counts.exists():
        seen |= json.loads(counts.read_text())
    with tempfile.TemporaryDirectory() as folder:

        def one(data: bytes) -> None:
            seen[try_one(data, Path(folder))] += 1
            if sum(seen.values()) % 50 == 0:
                counts.write_text(json.dumps(seen))

        atheris.Setup([sys.argv[0], *arguments], one)
        atheris.Fuzz()


def main() -> int:
    """Fuzz for some seconds, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--folder", type=Path, help="where findings are kept")
    parser.add_argument("--page", type=Path, help="the page on reliability")
    parser.add_argument("--inside", nargs="*", help=argparse.SUPPRESS)
    arguments, rest = parser.parse_known_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="fuzz-"))
    counts = folder / "counts.json"
    if arguments.inside is not None:
        fuzz(counts, [*arguments.inside, *rest])
        return 0
    folder.mkdir(exist_ok=True)
    if not (folder / "corpus").exists():
        save_seeds(folder / "corpus")
    end, found = time.monotonic() + arguments.seconds, 0
    while (left := round(end - time.monotonic())) > 1:
        options = [f"-max_total_time={left}", f"-timeout={_SECONDS}", f"-max_len={_ROOM}"]
        options += [f"-rss_limit_mb={_MEGABYTES}", f"-artifact_prefix={folder}/finding-"]
        command = [sys.executable, __file__, "--folder", str(folder), "--inside", *options]
        done = subprocess.run([*command, str(folder / "corpus")], check=False)  # noqa: S603
        if done.returncode == 0:
            break
        found += 1
    seen = json.loads(counts.read_text()) if counts.exists() else {"read": 0, "refused": 0}
    print(f"{seen['read']} read, {seen['refused']} refused, {found} findings in {folder}")
    if arguments.page is not None:
        _write(arguments.page, seen, found, arguments.seconds)
    return int(found > 0)


def _write(where: Path, seen: dict[str, int], found: int, seconds: int) -> None:
    from reliability import Row, page  # noqa: PLC0415 - a script beside this one

    row = Row("readers of files", f"mutated by atheris for {seconds // 60} minutes")
    row.ends.update({"same bytes": seen["read"], "clear error": seen["refused"]})
    row.ends.update({"other exception": found})
    where.write_text(page([row], where.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
