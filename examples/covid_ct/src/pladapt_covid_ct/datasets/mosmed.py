"""Further target D: MosMedData, the fifty studies that have a lesion mask.

One study is one patient. The masks cover ground glass and consolidation; there are no lung
masks. Studies lie in ``studies/CT-1/`` and the like, or at the root, masks in ``masks/`` or
anywhere: the names tell them apart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pladapt_covid_ct.datasets.base import Counts, DatasetInfo, Problems, assemble, locate
from pladapt_covid_ct.datasets.cases import find_nifti, masked
from pladapt_covid_ct.datasets.nifti import NiftiCase

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt_covid_ct.datasets.base import Dataset
    from pladapt_covid_ct.datasets.nifti import Affine

_STUDY: Final = re.compile(r"(study_\d{4})(_mask)?")


def load(folder: Path | str, *, strict: bool = False, affine: Affine = "check") -> Dataset:
    """Read the studies that have a mask.

    Args:
        folder: The data set's, or one with a subfolder ``D``.
        strict: Raise for a file that cannot be used, instead of leaving it out.
        affine: Whether a mask's header must agree with its image's.

    Raises:
        MissingDataError: The folder or its masks are not there.
        DataError: Nothing can be used, or something cannot and ``strict`` is set.
    """
    folder = locate(folder, INFO)
    problems = Problems(strict=strict)
    cases, left_out = masked(find_nifti(folder, problems), _identify, problems)
    if not cases:
        raise INFO.missing(folder, "study_*_mask.nii.gz with its image")
    sources = [
        NiftiCase(case, case, roles["image"], roles["mask"], {1: 1}, affine=affine)
        for case, roles in cases.items()
    ]
    note = f"{left_out} studies without a mask left out."
    return assemble("D", sources, INFO.classes, problems, [note])


def _identify(stem: str) -> tuple[str, str] | None:
    study = _STUDY.fullmatch(stem)
    return study and (study[1], "mask" if study[2] else "image")


INFO: Final = DatasetInfo(
    letter="D",
    name="MosMedData COVID19_1110",
    page="https://mosmed.ai/en/datasets/covid191110",
    licence="CC BY-NC-ND 3.0",
    citation="Morozov et al., medRxiv 2020.05.20.20100362",
    archives={"COVID19_1110": None},
    paper=Counts(None, None, None),
    classes={1: "infection"},
    load=load,
)
