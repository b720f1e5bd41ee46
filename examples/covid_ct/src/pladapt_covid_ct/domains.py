"""Data sets as an experiment takes them: read, checked against each other, and prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import InputError
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.lungs import with_lungs
from pladapt_covid_ct.preprocessing import PreparedSlices, keep_slices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pladapt import LabelledSample
    from pladapt.types import Progress
    from pladapt.typing import Samples
    from pladapt_covid_ct.datasets import Dataset
    from pladapt_covid_ct.settings import Settings

_BINARY: Final[Mapping[int, str]] = {1: "lesion"}
_EFFUSION: Final = "pleural effusion"


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """A data set, read and prepared.

    Args:
        dataset: What was read.
        samples: Its slices as the network is given them, with their masks.
        classes: What the masks' values mean, from 1.
    """

    dataset: Dataset
    samples: Samples[LabelledSample]
    classes: Mapping[int, str]

    @property
    def channels(self) -> int:
        """The channels of a network that tells the classes apart: one, or those of a softmax."""
        return 1 if len(self.classes) == 1 else max(self.classes) + 1

    def describe(self) -> dict[str, Any]:
        """Return what a reader of results must know of the data; JSON-able."""
        return {
            "counts": self.dataset.counts._asdict(),
            "classes": {str(value): name for value, name in self.classes.items()},
            "notes": list(self.dataset.notes),
            "left out": [str(problem) for problem in self.dataset.problems],
        }


def check_letters(source: str, targets: Sequence[str]) -> None:
    """Refuse letters that make no experiment.

    Raises:
        InputError: An unknown letter, a target that stands twice or is the source, or none.
    """
    for letter in (source, *targets):
        if letter not in DATASETS:
            raise InputError(f"There is no data set {letter!r}; expected one of {list(DATASETS)}.")
    if source in targets or len(set(targets)) < len(targets) or not targets:
        raise InputError(
            f"The source is {source} and the targets are {list(targets)}; give at least one "
            "target, each once, and none that is the source."
        )


def load_domains(
    data: Path, letters: Iterable[str], settings: Settings, progress: Progress
) -> dict[str, Domain]:
    """Read and prepare data sets, and keep their slices in memory.

    Args:
        data: The folder with the data sets' own folders.
        letters: Which.
        settings: The choices.
        progress: Called as work advances.

    Raises:
        MissingDataError: A data set is not there.
        DataError: A data set has no usable slice.
        InputError: Lesion classes are asked for, and a data set has none or others.
    """
    datasets = {letter: load_dataset(data, letter, settings, progress) for letter in letters}
    return prepare_domains(datasets, settings, progress)


def load_dataset(
    data: Path, letter: str, settings: Settings, progress: Progress | None = None
) -> Dataset:
    """Read a data set with the options that the settings give, and find its lungs.

    Raises:
        MissingDataError: It is not there, or lungmask's weights are not.
        DataError: It has no usable slice, or lungmask cannot be used for it.
    """
    info = DATASETS[letter]
    options = {"effusion": settings.effusion} if _EFFUSION in info.classes.values() else {}
    return with_lungs(
        info.load(data, **options),
        settings.preprocessing.lungs,
        weights=None if settings.lungs_weights == "release" else Path(settings.lungs_weights),
        accept_unknown=settings.unknown_weights,
        device=settings.device,
        progress=progress,
    )


def prepare_domains(
    datasets: Mapping[str, Dataset], settings: Settings, progress: Progress
) -> dict[str, Domain]:
    """Prepare data sets that were read, and keep their slices in memory.

    Raises:
        InputError: Lesion classes are asked for, and a data set has none or others.
    """
    classes = common_classes(datasets, settings)
    return {
        letter: Domain(dataset, prepare(dataset, settings, progress), classes)
        for letter, dataset in datasets.items()
    }


def common_classes(datasets: Mapping[str, Dataset], settings: Settings) -> Mapping[int, str]:
    """Return what the masks' values mean, from 1, in all of the data sets.

    Raises:
        InputError: Lesion classes are asked for, and a data set has none or others.
    """
    if settings.lesions == "binary":
        return _BINARY
    known = {letter: dict(sorted(dataset.classes.items())) for letter, dataset in datasets.items()}
    first, *others = known.values()
    if any(len(classes) < 2 for classes in known.values()) or any(o != first for o in others):  # noqa: PLR2004 - to tell apart
        raise InputError(
            "lesions is 'classes', which needs data sets whose masks tell the same classes apart; "
            f"these have {known}. Choose others, or give lesions='binary'."
        )
    return first


def prepare(dataset: Dataset, settings: Settings, progress: Progress) -> Samples[LabelledSample]:
    """Prepare a data set's slices that show lung, and keep them in memory."""
    slices = keep_slices(
        dataset.slices, only_infected=settings.slices == "infected", with_lung=True
    )
    prepared = PreparedSlices(slices, settings.preprocessing)

    def report(_stage: str, done: int, total: int, /) -> None:
        progress(f"prepare {dataset.name}", done, total)

    prepared.preload(report)
    return prepared.labelled()
