"""Data set A: COVID-19-CT-Seg of Ma et al., the ten ``coronacases`` patients.

Read as downloaded from Zenodo (four zips, or one zip of the four, or unpacked) or from Kaggle,
whose folders and image names differ. The ten ``radiopaedia_*`` volumes of the same archives are
not part of the paper's data set A: they are 8-bit, of another matrix size, two of one patient.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pladapt_covid_ct.datasets.base import Counts, DatasetInfo, Problems, assemble, locate
from pladapt_covid_ct.datasets.cases import cases_by_folder, complete, find_nifti
from pladapt_covid_ct.datasets.nifti import NiftiCase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pladapt_covid_ct.datasets.base import Dataset
    from pladapt_covid_ct.datasets.cases import Cases
    from pladapt_covid_ct.datasets.nifti import Affine, EightBit

_ROLES: Final = {
    "covid-19-ct-seg_20cases": "image",
    "ct_scans": "image",
    "20_ncov_scan": "image",
    "lung_mask": "lung mask",
    "infection_mask": "infection mask",
    "infection": "infection mask",
    "lung_and_infection_mask": "combined mask",
    "lung_infection": "combined mask",
}
_INFECTION: Final = {1: 1}
_COMBINED: Final = {1: 0, 2: 0, 3: 1}  # 1 and 2 are the left and the right lung
_CASE: Final = re.compile(r"(?:coronacases_(?:org_)?)?(?:case)?(\d{3})")
_OTHER: Final = "radiopaedia"


def load(
    folder: Path | str,
    *,
    strict: bool = False,
    affine: Affine = "check",
    eight_bit: EightBit = "keep",
) -> Dataset:
    """Read data set A.

    The lesion mask is ``Infection_Mask`` or, where it is missing, label 3 of
    ``Lung_and_Infection_Mask``, which also stands in for a missing ``Lung_Mask``.

    Args:
        folder: The data set's, or one with a subfolder ``A``.
        strict: Raise for a file that cannot be used, instead of leaving it out.
        affine: Whether a mask's header must agree with its image's.
        eight_bit: What becomes of volumes of 8-bit values.

    Raises:
        MissingDataError: The folder or its images are not there.
        DataError: Nothing can be used, or something cannot and ``strict`` is set.
    """
    folder = locate(folder, INFO)
    problems = Problems(strict=strict)
    files = find_nifti(folder, problems)
    own = [file for file in files if not file.name.startswith(_OTHER)]
    cases = cases_by_folder(own, _ROLES, _case_of, problems)
    if not any("image" in roles for roles in cases.values()):
        raise INFO.missing(
            folder,
            "coronacases_*.nii(.gz) in a folder or archive COVID-19-CT-Seg_20cases or ct_scans",
        )
    sources = list(_pair(cases, problems, affine, eight_bit))
    notes = [f"{len(files) - len(own)} radiopaedia_* files left out: not part of data set A."]
    return assemble("A", sources, INFO.classes, problems, notes if len(own) < len(files) else ())


def _case_of(stem: str) -> str | None:
    number = _CASE.fullmatch(stem)
    return number and f"coronacases_{number[1]}"


def _pair(
    cases: Cases, problems: Problems, affine: Affine, eight_bit: EightBit
) -> Iterator[NiftiCase]:
    for case, files in complete(cases, ["image"], problems).items():
        combined = files.get("combined mask")
        lesion = files.get("infection mask", combined)
        if lesion is None:
            problems.skip(files["image"].path, f"Case {case} has no infection mask.")
            continue
        yield NiftiCase(
            id=case,
            group=case,
            image=files["image"],
            lesion=lesion,
            classes=_COMBINED if lesion is combined else _INFECTION,
            lung=files.get("lung mask", combined),
            eight_bit=eight_bit,
            affine=affine,
        )


INFO: Final = DatasetInfo(
    letter="A",
    name="COVID-19-CT-Seg (coronacases)",
    page="https://zenodo.org/records/3757476",
    licence="CC BY 4.0 or CC BY-NC-SA: sources disagree, so treat it as non-commercial",
    citation="Ma et al., Medical Physics 48(3):1197-1210, 2021, doi:10.1002/mp.14676",
    archives={
        "COVID-19-CT-Seg_20cases.zip": (
            "a5060480eff9315b069b086312dac4872777901fb80d268a5a83edd9f4e7b440"
        ),
        "Lung_Mask.zip": "f060b0d0299939a6d95ddefdbfa281de1a779c4d230a5adbd32414711d6d8187",
        "Infection_Mask.zip": "87901c73fdd2230260e61d2dbc57bf56026efc28264006b8ea2bf411453c1694",
        "Lung_and_Infection_Mask.zip": (
            "34f5a573cb8fb53cb15abe81868395d9addf436854826a6fd6e70c2b294f19c3"
        ),
    },
    paper=Counts(patients=10, slices=2581, infected=1351),
    classes={1: "infection"},
    load=load,
)
