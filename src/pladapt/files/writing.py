"""Masks and probabilities as bytes, in the format and the geometry of the image they are of."""

from __future__ import annotations

import gzip
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from pladapt.files.dicom import read_dicom
from pladapt.files.formats import decoder_of, extension
from pladapt.files.itk import read_itk
from pladapt.files.nifti import read_nifti
from pladapt.files.npy import read_npy
from pladapt.files.segmentation import encode_segmentation
from pladapt.files.series import Series
from pladapt.files.stored import EXTRA
from pladapt.files.tiff import read_tiff
from pladapt.optional import needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pladapt.files.reading import Loaded
    from pladapt.files.series import Source

_ITK: Final = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}
_RESOLUTION: Final = (282, 283, 296)  # in x, in y, of which unit
_SPATIAL: Final = 3


class Encoded(NamedTuple):
    """A file that is to be written.

    Args:
        extension: Of its name.
        content: Its bytes.
    """

    extension: str
    content: bytes


class Values(NamedTuple):
    """What masks hold.

    Args:
        names: The names of the F classes, for DICOM-SEG.
        labels: The value of each class; None for 1 to F, and bitmaps of one class in pictures.
        model: What tells the model from others.
    """

    names: Sequence[str]
    labels: Sequence[int] | None
    model: str

    def of(self, classes: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the values of classes 0 to F, in the smallest type that holds them."""
        values = [0, *(self.labels or range(1, len(self.names) + 1))]
        table = np.array(values, np.min_scalar_type(max(values)))
        found: NDArray[Any] = table[classes]
        return found

    def picture_of(self, classes: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the same for a picture: of one class that has no value, what is set."""
        return classes > 0 if self.labels is None and len(self.names) == 1 else self.of(classes)


def is_dicom(source: Source) -> bool:
    """Tell whether an image is DICOM, whose masks are DICOM-SEG."""
    return isinstance(source, Series) or decoder_of(source) is read_dicom


def encode_mask(
    classes: NDArray[np.uint8], source: Source, outline: Loaded, values: Values
) -> Encoded:
    """Return the mask of an image as a file.

    NIfTI, MGH, NRRD and MetaImage stay what they are and keep their header and place; so do TIFF
    and NPY, the latter also for NPZ. A DICOM file or series becomes a DICOM-SEG, and any other
    picture a PNG, or a TIFF of as many pages as it has frames.

    Args:
        classes: ``(Z, Y, X)``, 0 to F, with a plane for each of the image's slices.
        source: The image.
        outline: What was read of it; its values do not count.
        values: What the masks hold.

    Raises:
        DataError: The image lacks what its format's masks need.
        MissingDependencyError: An extra is not installed.
    """
    if isinstance(source, Series) or is_dicom(source):
        return Encoded(".dcm", encode_segmentation(classes, source, values.names, values.model))
    array, axes = _as_stored(classes, outline)
    decoder, ending = decoder_of(source), extension(source)
    if decoder is read_nifti:
        return Encoded(ending, _nifti(values.of(array), source))
    if decoder is read_itk:
        return Encoded(_ITK[ending], _itk(values.of(array), source, _ITK[ending]))
    if decoder is read_npy:
        return Encoded(".npy", _npy(values.of(array)))
    return _picture(values.picture_of(array), axes, source)


def encode_probabilities(maps: NDArray[np.float32], outline: Loaded, dimensions: int) -> Encoded:
    """Return probabilities as NIfTI where the image has a place, else as NPY.

    Args:
        maps: ``(Z, K, Y, X)``, with a plane for each of the image's slices.
        outline: What was read of the image.
        dimensions: 3 where they are of volumes: then NPY has ``(K, Z, Y, X)``.
    """
    if outline.affine is not None:
        return Encoded(".nii.gz", _placed(maps, outline.affine))
    if dimensions == _SPATIAL:
        volume = maps.swapaxes(0, 1)
        return Encoded(".npy", _npy(volume if len(volume) > 1 else volume[0]))
    if outline.stacked:
        return Encoded(".npy", _npy(maps))
    return Encoded(".npy", _npy(maps[0] if maps.shape[1] > 1 else maps[0, 0]))


def _as_stored(planes: NDArray[Any], outline: Loaded) -> tuple[NDArray[Any], str]:
    """Return planes ``(Z, Y, X)`` in the order of the file's own axes, without its channels."""
    lengths = dict(zip(outline.axes, outline.shape, strict=True))
    every = "TZYX"
    whole = planes.reshape(lengths.get("T", 1), lengths.get("Z", 1), *planes.shape[1:])
    axes = outline.axes.replace("C", "")
    array = whole.squeeze(tuple(at for at, axis in enumerate(every) if axis not in axes))
    kept = [axis for axis in every if axis in axes]
    return array.transpose([kept.index(axis) for axis in axes]), axes


def _nifti(array: NDArray[Any], source: Path) -> bytes:
    with needs(EXTRA, "nibabel"):
        import nibabel  # noqa: PLC0415 - an extra
    image: Any = nibabel.load(source)
    header = image.header.copy()
    header.set_data_dtype(array.dtype)
    if isinstance(header, nibabel.Nifti1Header):
        header.set_intent("none")
        header["cal_min"] = header["cal_max"] = 0
    content: bytes = type(image)(array, None, header).to_bytes()  # the header has the affine
    packed = source.name.lower().endswith((".gz", ".mgz"))
    return gzip.compress(content, mtime=0) if packed else content


def _placed(maps: NDArray[np.float32], affine: NDArray[np.float64]) -> bytes:
    with needs(EXTRA, "nibabel"):
        import nibabel  # noqa: PLC0415 - an extra
    array = maps.transpose(3, 2, 0, 1)
    image: Any = nibabel.Nifti1Image(array if maps.shape[1] > 1 else array[..., 0], affine)
    return gzip.compress(image.to_bytes(), mtime=0)


def _itk(array: NDArray[Any], source: Path, ending: str) -> bytes:
    with needs(EXTRA, "SimpleITK"):
        import SimpleITK  # noqa: PLC0415 - an extra
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(source))
    reader.ReadImageInformation()
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array), isVector=False)
    rank, own = image.GetDimension(), reader.GetDimension()
    image.SetSpacing(reader.GetSpacing()[:rank])
    image.SetOrigin(reader.GetOrigin()[:rank])
    image.SetDirection(np.reshape(reader.GetDirection(), (own, own))[:rank, :rank].ravel().tolist())
    with tempfile.TemporaryDirectory() as folder:  # it takes the format from the name
        path = Path(folder, f"mask{ending}")
        SimpleITK.WriteImage(image, str(path), useCompression=True)
        return path.read_bytes()


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array))
    return file.getvalue()


def _picture(array: NDArray[Any], axes: str, source: Path) -> Encoded:
    if decoder_of(source) is read_tiff:
        return Encoded(source.suffix, _tiff(array, axes, _resolution(source)))
    if len(axes) > len("YX"):
        return Encoded(".tif", _tiff(array, axes, {}))
    return Encoded(".png", _png(array))


def _png(array: NDArray[Any]) -> bytes:
    with needs(EXTRA, "PIL"):
        from PIL import Image  # noqa: PLC0415 - an extra
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def _tiff(array: NDArray[Any], axes: str, resolution: dict[str, Any]) -> bytes:
    with needs(EXTRA, "tifffile"):
        import tifffile  # noqa: PLC0415 - an extra
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.ascontiguousarray(array),
        photometric="minisblack",
        compression="zlib",
        metadata={"axes": axes},
        **resolution,
    )
    return file.getvalue()


def _resolution(source: Path) -> dict[str, Any]:
    """Return how many pixels of a TIFF are an inch or a centimetre, where it says that."""
    with needs(EXTRA, "tifffile"):
        import tifffile  # noqa: PLC0415 - an extra
    try:
        with tifffile.TiffFile(source) as file:
            x, y, unit = (file.pages.first.tags.valueof(tag) for tag in _RESOLUTION)
    except tifffile.TiffFileError:  # a picture by that name
        return {}
    return {} if None in (x, y, unit) else {"resolution": (x, y), "resolutionunit": unit}
