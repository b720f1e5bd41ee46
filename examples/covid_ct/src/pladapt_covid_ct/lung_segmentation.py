"""Where the lung is, by lungmask: the networks of Hofmanninger et al. (2020), whom the paper cites.

One volume is segmented at a time, and its mask kept on disk. lungmask comes with the extra
``lungmask``; its weights are a file of its release, given or else fetched from there.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import os
import re
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import torch

from pladapt.errors import DataError, MissingDataError, MissingDependencyError
from pladapt.runs.manifest import fingerprint
from pladapt_covid_ct.slices import Intensity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pladapt_covid_ct.slices import Source, Volume

Model: TypeAlias = Literal["R231", "R231CovidWeb"]
"""lungmask's network for the two lungs, or the same trained on COVID-19 slices from the web too,
whose Hounsfield units are estimates, as data set C's are."""

_HASH: Final = re.compile(r"-([0-9a-f]{8})\.pth$")
"""What torch.hub's convention puts into a file's name: the first digits of its SHA-256."""


@dataclass(frozen=True)
class LungMask:
    """Segments the lungs of volumes in Hounsfield units.

    A volume is segmented as a whole: of each lung the largest connected piece is kept, and what it
    surrounds filled. A single slice is segmented without that, since a lung may well be in pieces
    there. lungmask tells the lungs apart; here they are one mask.

    Args:
        model: Which of lungmask's networks.
        weights: Its file, ``unet_r231-d5d2fc3d.pth`` or ``unet_r231covid-0de78a7e.pth``. None
            takes it from torch.hub's folder, where it is downloaded to if it is not there.
        accept_unknown: Take a file whose SHA-256 is not that of the release.
        cache: The folder that keeps the masks; None for one in the user's cache folder.
        device: ``cpu``; anything else takes a GPU if there is one.

    Raises:
        MissingDependencyError: lungmask is not installed.
        MissingDataError: There is no such file, or the release cannot be reached.
        DataError: The file is not that of the release.
    """

    model: Model = "R231"
    weights: Path | None = None
    accept_unknown: bool = False
    cache: Path | None = None
    device: str = "auto"
    path: Path = field(init=False)
    """The file of the weights."""
    sha256: str = field(init=False)
    """Its SHA-256."""

    def __post_init__(self) -> None:
        url = _released()[self.model]
        path = _downloaded(url) if self.weights is None else self.weights
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "sha256", _sha256(path))
        expected = _prefix(url)
        if not (self.accept_unknown or self.sha256.startswith(expected)):
            raise DataError(
                f"{path} has the SHA-256 {self.sha256[:8]}..., the weights of {self.model} have "
                f"{expected}.... Fetch {url} again; or accept unknown weights, if you know what "
                "they are."
            )

    def __call__(self, volume: Volume) -> NDArray[np.bool_]:
        """Return where the lungs are, ``(Z, H, W)``, from the cache or by the network.

        Raises:
            DataError: The volume is not in Hounsfield units, or the weights are not lungmask's.
        """
        if volume.intensity is not Intensity.HU:
            raise DataError(
                f"{volume.ids[0]} has {volume.intensity} intensities: lungmask needs Hounsfield "
                "units. Read 8-bit data with eight_bit='unwindow', or take other lung masks."
            )
        entry = self._entry(volume)
        mask = _stored(entry, volume.image.shape)
        if mask is None:
            mask = self._segment(volume.image)
            _store(mask, entry)
        return mask

    def describe(self) -> dict[str, Any]:
        """Return what the masks depend on beside the volumes."""
        return {"lungmask": version("lungmask"), "model": self.model, "sha256": self.sha256}

    def __str__(self) -> str:
        known = "" if self.sha256.startswith(_prefix(_released()[self.model])) else "unknown "
        weights = f"{known}weights {self.sha256[:8]}"
        return f"lungmask {version('lungmask')}, {self.model}, {weights}"

    def _entry(self, volume: Volume) -> Path:
        made_of = json.dumps([fingerprint(volume.image), self.describe()], sort_keys=True)
        name = hashlib.sha256(made_of.encode()).hexdigest()
        return (self.cache or _user_cache()) / f"{name}.npz"

    def _segment(self, image: NDArray[Any]) -> NDArray[np.bool_]:
        inferer = self._inferer
        inferer.volume_postprocessing = len(image) > 1
        return np.asarray(inferer.apply(image) > 0)

    @cached_property
    def _inferer(self) -> Any:
        from lungmask.mask import LMInferer  # noqa: PLC0415 - an extra

        try:
            return LMInferer(
                self.model,
                modelpath=str(self.path),
                force_cpu=self.device == "cpu",
                tqdm_disable=True,
            )
        except Exception as error:  # any file may have been given
            raise DataError(
                f"{self.path} does not hold the weights of lungmask's network: {error!r}."
            ) from error


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedSource:
    """A volume whose lung mask is made, whatever mask came with it.

    Args:
        source: The volume.
        segment: Makes the mask.
        name: What the volume's ``lung_origin`` is to be.
    """

    source: Source
    segment: LungMask
    name: str

    @property
    def path(self) -> str:
        """The volume's."""
        return self.source.path

    def read(self) -> Volume:
        """Decode the volume and find its lungs.

        Raises:
            DataError: The volume cannot be used, or is not in Hounsfield units.
        """
        volume = self.source.read()
        return replace(volume, lung=self.segment(volume), lung_origin=self.name)


def _released() -> Mapping[str, str]:
    """Return the address of each model's weights, as lungmask knows it.

    Raises:
        MissingDependencyError: lungmask is not installed.
    """
    try:
        with warnings.catch_warnings():  # its import switches off every UserWarning
            from lungmask import mask  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "lungmask":
            raise
        raise MissingDependencyError(
            "lungmask is not installed. Run: pip install 'pladapt-covid-ct[lungmask]'",
            name="lungmask",
        ) from error
    logging.getLogger("lungmask").setLevel(logging.WARNING)  # it prints every step to stdout
    return MappingProxyType({model: url for model, (url, _) in mask.MODEL_URLS.items()})


def _prefix(url: str) -> str:
    found = _HASH.search(url)
    return found[1] if found else ""


def _downloaded(url: str) -> Path:
    """Return a released file in torch.hub's folder, and download it if it is not there.

    lungmask would do the same without looking at the hash.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_prefix(url))
    except (OSError, RuntimeError) as error:  # no network; a hash that is another
        raise MissingDataError(
            f"{url} could not be downloaded: {error}. Fetch it elsewhere and give its file, or "
            f"put it into {path.parent}."
        ) from error
    return path


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise MissingDataError(f"There is no file {path}; it was given as lungmask's weights.")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _user_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "pladapt-covid-ct" / "lungs"


def _stored(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as entry:
            if tuple(entry["shape"]) != shape:
                return None
            bits = np.unpackbits(entry["bits"], count=math.prod(shape))
    except Exception:  # noqa: BLE001 - whatever is wrong with an entry, it is made anew
        return None
    return bits.reshape(shape).view(np.bool_)


def _store(mask: NDArray[np.bool_], path: Path) -> None:
    """Write an entry whole or not at all, though others may be writing the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        np.savez_compressed(temporary, bits=np.packbits(mask), shape=mask.shape)
        temporary.replace(path)
