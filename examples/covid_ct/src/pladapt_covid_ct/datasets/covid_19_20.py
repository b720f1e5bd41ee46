"""Further target E: the training cases of the COVID-19-20 challenge.

Files ``volume-covid19-A-0047_ct.nii.gz`` and ``..._seg.nii.gz``; an id with a suffix, ``0047_1``,
is another scan of patient 0047. Cases without a mask (the challenge's validation set) are left
out. There are no lung masks.
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

_CASE: Final = re.compile(r"volume-covid19-a-((\d{4})(?:_\d+)?)_(ct|seg)")
_ROLES: Final = {"ct": "image", "seg": "mask"}


def load(folder: Path | str, *, strict: bool = False, affine: Affine = "check") -> Dataset:
    """Read the cases that have a mask.

    Args:
        folder: The data set's, or one with a subfolder ``E``.
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
        raise INFO.missing(folder, "volume-covid19-A-*_seg.nii.gz with its image")
    sources = [
        NiftiCase(
            f"covid19-A-{case}",
            f"covid19-A-{case[:4]}",
            roles["image"],
            roles["mask"],
            {1: 1},
            affine=affine,
        )
        for case, roles in cases.items()
    ]
    note = f"{left_out} cases without a mask left out."
    return assemble("E", sources, INFO.classes, problems, [note])


def _identify(stem: str) -> tuple[str, str] | None:
    case = _CASE.fullmatch(stem)
    return case and (case[1], _ROLES[case[3]])


INFO: Final = DatasetInfo(
    letter="E",
    name="COVID-19-20 challenge",
    page="https://covid-segmentation.grand-challenge.org",
    licence="not confirmed: see the page",
    citation="Roth et al., Medical Image Analysis 82:102605, 2022",
    archives={"COVID-19-20_v2.zip": None},
    paper=Counts(None, None, None),
    classes={1: "infection"},
    load=load,
)
