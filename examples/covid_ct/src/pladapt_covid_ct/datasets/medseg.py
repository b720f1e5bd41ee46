"""Data set C: MedSeg's "COVID-19 CT segmentation dataset nr. 2", nine Radiopaedia volumes.

Three zips ``rp_im``, ``rp_msk`` and ``rp_lung_msk`` with ``1.nii.gz`` to ``9.nii.gz`` each, as
downloaded, bundled in one zip, or unpacked. The intensities are estimates of Hounsfield units:
web pictures mapped back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from pladapt.errors import InputError
from pladapt_covid_ct.datasets.base import Counts, DatasetInfo, Problems, assemble, locate
from pladapt_covid_ct.datasets.cases import cases_by_folder, complete, find_nifti
from pladapt_covid_ct.datasets.nifti import NiftiCase

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt_covid_ct.datasets.base import Dataset
    from pladapt_covid_ct.datasets.nifti import Affine, EightBit

_ROLES: Final = {"rp_im": "image", "rp_msk": "lesion mask", "rp_lung_msk": "lung mask"}
_EFFUSION: Final = 3
_NUMBER: Final = re.compile(r"\d+")


def load(
    folder: Path | str,
    *,
    strict: bool = False,
    effusion: Literal["drop", "keep"] = "drop",
    affine: Affine = "check",
    eight_bit: EightBit = "refuse",
) -> Dataset:
    """Read data set C.

    Args:
        folder: The data set's, or one with a subfolder ``C``.
        strict: Raise for a file that cannot be used, instead of leaving it out.
        effusion: Whether pleural effusion (label 3) is background or a lesion class. The paper
            does not say; it lies outside the lung, so by default it is background.
        affine: Whether a mask's header must agree with its image's.
        eight_bit: What becomes of volumes of 8-bit values; the published ones are not, so they
            are refused by default.

    Raises:
        MissingDataError: The folder or its images are not there.
        DataError: Nothing can be used, or something cannot and ``strict`` is set.
        InputError: ``effusion`` is neither of its values.
    """
    if effusion not in ("drop", "keep"):
        raise InputError(f"effusion is {effusion!r}; it must be 'drop' or 'keep'.")
    folder = locate(folder, INFO)
    problems = Problems(strict=strict)
    cases = cases_by_folder(find_nifti(folder, problems), _ROLES, _case_of, problems)
    if not any("image" in roles for roles in cases.values()):
        raise INFO.missing(folder, "1.nii.gz to 9.nii.gz in a folder or archive rp_im")
    labels = {1: 1, 2: 2, _EFFUSION: _EFFUSION if effusion == "keep" else 0}
    sources = [
        NiftiCase(
            id=case,
            group=case,
            image=roles["image"],
            lesion=roles["lesion mask"],
            classes=labels,
            lung=roles.get("lung mask"),
            eight_bit=eight_bit,
            affine=affine,
        )
        for case, roles in complete(cases, ["image", "lesion mask"], problems).items()
    ]
    note = f"Pleural effusion (label {_EFFUSION}): {effusion}."
    classes = {value: name for value, name in INFO.classes.items() if value in labels.values()}
    return assemble("C", sources, classes, problems, [note])


def _case_of(stem: str) -> str | None:
    return f"medseg_{stem}" if _NUMBER.fullmatch(stem) else None


INFO: Final = DatasetInfo(
    letter="C",
    name="MedSeg COVID-19 CT segmentation dataset nr. 2",
    page="https://doi.org/10.6084/m9.figshare.13521509.v2",
    licence="CC0 1.0",
    citation="MedSeg, Jenssen and Sakinis, figshare, 2021, doi:10.6084/m9.figshare.13521509",
    archives={"rp_im.zip": None, "rp_msk.zip": None, "rp_lung_msk.zip": None},
    paper=Counts(patients=9, slices=829, infected=373),
    classes={1: "ground glass", 2: "consolidation", 3: "pleural effusion"},
    load=load,
)
