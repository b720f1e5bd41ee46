"""The data sets of the paper (A, B, C) and two further targets (D, E), each with its loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pladapt_covid_ct.datasets import covid_19_20, covid_ct_rate, ma, medseg, mosmed
from pladapt_covid_ct.datasets.base import Counts, Dataset, DatasetInfo, Problem
from pladapt_covid_ct.datasets.dicom import load_series

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DATASETS", "Counts", "Dataset", "DatasetInfo", "Problem", "load_series"]

DATASETS: Final[Mapping[str, DatasetInfo]] = {
    module.INFO.letter: module.INFO for module in (ma, covid_ct_rate, medseg, mosmed, covid_19_20)
}
"""What is known of each data set, by its letter."""
