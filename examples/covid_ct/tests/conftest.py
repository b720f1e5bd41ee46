"""Small CT files, written by hand so that the loaders are checked against something else."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from pladapt_covid_ct.phantoms import write_phantoms

SHAPE = (2, 5, 6)  # z, y, x: no axis can be taken for another


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """Keep the key of pseudonyms apart from that of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """A folder with small phantoms of A, B and C."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 0, patients={"A": 2, "B": 3, "C": 2}, slices=6, size=64)
    return folder


@pytest.fixture(scope="session")
def real_data():
    """The folder of real CT slices that the environment names."""
    folder = os.environ.get("PLADAPT_DATA")
    if not folder:
        pytest.skip("PLADAPT_DATA is not set: it names a folder with covid_ct/ and ct_dicom_hu/")
    return Path(folder)


@pytest.fixture
def ct():
    """Hounsfield units in display order, every voxel different."""
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) * 10 - 900


@pytest.fixture
def lesion():
    """A lesion of three voxels in the upper slice, near the patient's left back."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 3:5, 5] = mask[1, 4, 4] = 1
    return mask


@pytest.fixture
def write_nifti():
    return _write_nifti


@pytest.fixture
def write_dicom():
    return _write_dicom


def _write_nifti(path, display, codes="LAS", shift=0.0):
    """Store ``(z, y, x)`` of radiological display in the orientation ``codes``, by hand."""
    axes = {"L": (2, 1), "R": (2, -1), "P": (1, 1), "A": (1, -1), "S": (0, 1), "I": (0, -1)}
    ras = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    stored = display.transpose([axes[code][0] for code in codes])
    stored = stored[tuple(slice(None, None, axes[code][1]) for code in codes)]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, code in enumerate(codes):
        row, sign = ras[code]
        affine[row, column] = sign * (1.5 + column)
    affine[0, 3] = shift
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(stored, affine), path)


def _write_dicom(path, hu, *, intercept=-1024, **tags):
    """Write one CT slice; a tag given as None is left out."""
    header = pydicom.Dataset()
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = generate_uid()
    header.StudyInstanceUID = header.SeriesInstanceUID = "1.2.3"
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.ImagePositionPatient = [0, 0, 0]
    if intercept is not None:
        header.RescaleSlope, header.RescaleIntercept = 1, intercept
    for tag, value in tags.items():
        if value is None:
            del header[tag]
        else:
            setattr(header, tag, value)
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stored = (np.asarray(hu, np.int32) - (intercept or 0)).astype(np.int16)
    header.set_pixel_data(stored, "MONOCHROME2", 16)
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
