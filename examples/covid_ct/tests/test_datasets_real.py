"""Real slices of A and C, where a folder with them is named."""

import numpy as np
import pytest

from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.preprocessing import PreparedSlices, Preprocessing
from pladapt_covid_ct.slices import Intensity

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module", params=["A", "C"])
def dataset(request, real_data):
    return DATASETS[request.param].load(real_data / "covid_ct", strict=True)


def test_every_slice_is_read_and_prepared(dataset):
    counts, intensity = {
        "A": ((10, 1247, 1247), Intensity.EIGHT_BIT),
        "C": ((9, 829, 373), Intensity.OTHER),
    }[dataset.name]
    assert dataset.counts == counts
    prepared = PreparedSlices(dataset.slices, Preprocessing(size=64), cache=False).labelled()
    for index in range(0, len(prepared), 40):
        assert dataset.slices[index].intensity is intensity
        sample = prepared[index]
        assert sample.image.shape == (1, 64, 64)
        assert np.isfinite(sample.image).all()


def test_lungs_stand_upright_with_the_lesions_in_them(dataset):
    """The lung is left of the middle and right of it, and the lesions lie more to the back."""
    infected = dataset.slices.where(lambda row: (row.lesion_pixels or 0) > 500)
    rows, inside = [], []
    for index in range(0, len(infected), 20):
        found = infected[index]
        lesion_rows, lung_rows = np.nonzero(found.lesion)[0], np.nonzero(found.lung)[0]
        rows.append(lesion_rows.mean() - lung_rows.mean())
        inside.append(found.lung[found.lesion > 0].mean())
    assert np.mean(rows) > 0
    assert np.mean(inside) > 0.9
