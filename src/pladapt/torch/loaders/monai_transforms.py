"""What a MONAI bundle's configuration does to images, as far as it can be read without running."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from torch import nn

from pladapt.torch.steps import Clip, Normalise, NormaliseEach, RescaleEach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pladapt.torch.steps import Step

_PLAIN: Final = ("LoadImage", "EnsureChannelFirst", "EnsureType", "ToTensor", "CastToType")
_GEOMETRY: Final = ("Spacing", "Resize", "DivisiblePad")
_ADVICE: Final = {
    "Orientation": "give images that lie so",
    "CropForeground": "images are taken whole",
}
_FACTORS: Final = ("factor", "dtype", "prob")
_WINDOW: Final = ("a_min", "a_max", "b_min", "b_max", "clip")


class Told:
    """What the transforms of a configuration ask for.

    Args:
        parser: The configuration, by `monai.bundle.ConfigParser`.
        module: The network, whose convolutions say how many axes there are.
    """

    def __init__(self, parser: Any, module: nn.Module) -> None:
        self._parser = parser
        self.dimensions = 3 if any(isinstance(m, nn.Conv3d) for m in module.modules()) else 2
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.axes: tuple[int, ...] | None = None
        self.size: tuple[int, ...] | None = None
        self.spacing: tuple[float, ...] | None = None
        self.multiple_of = self._strides()
        for one in self._transforms():
            self._take(one)

    @property
    def window(self) -> dict[str, Any]:
        """The patch and the overlap of a sliding window, where the inferer has one."""
        inferer = self._literal(self._parser.get("inferer")) or {}
        name, roi = str(inferer.get("_target_", "")), inferer.get("roi_size")
        if "Sliding" not in name or not _are_numbers(roi):
            return {"patch_size": None} if name else {}
        overlap = inferer.get("overlap", 0.25)
        given = {"overlap": overlap} if isinstance(overlap, float) else {}
        return {"patch_size": tuple(roi), **given}

    def _transforms(self) -> list[Any]:
        told = self._literal(self._parser.get("preprocessing"))
        if not told:
            self.notes.append(
                "Its configuration has no 'preprocessing': nothing is done to images; give "
                "--prepare options where its training did something."
            )
            return []
        found = told.get("transforms", [])
        return found if isinstance(found, list) else [found]

    def _take(self, one: Any) -> None:
        """Take a transform into account, or say that it is not done."""
        told = {} if not isinstance(one, dict) else one
        name = _plain_name(str(told.get("_target_", one)).rpartition(".")[2])
        values = {k: v for k, v in told.items() if k not in ("_target_", "keys", "_desc_")}
        if _has_code(values) and name not in _PLAIN:
            self._leave(name, told, "its values are computed by the bundle")
        elif name in _STEPS and (made := _STEPS[name](values)) is not None:
            self.steps += made
        elif name in _GEOMETRY:
            self._shape(name, values)
        elif name not in _PLAIN:
            self._leave(name, told, _ADVICE.get(name, "prepare the images so"))
        if name == "LoadImage" and not told.get("reverse_indexing"):
            self.axes = tuple(range(self.dimensions))[::-1]  # MONAI reads X, Y, Z

    def _shape(self, name: str, values: Mapping[str, Any]) -> None:
        wanted = values.get({"Spacing": "pixdim", "Resize": "spatial_size"}.get(name, "k"))
        each: Any = wanted if isinstance(wanted, list) else [wanted] * self.dimensions
        if not _are_numbers(each) or min(each) <= 0:
            self._leave(name, values, "prepare the images so")
        elif name == "Spacing":
            self.spacing = tuple(float(length) for length in each)[::-1]
        elif name == "Resize":
            self.size = tuple(int(length) for length in each)
        else:
            self.multiple_of = math.lcm(self.multiple_of, *map(int, each))

    def _leave(self, name: str, told: Mapping[str, Any], advice: str) -> None:
        values = {k: v for k, v in told.items() if k in ("axcodes", "spatial_size", "pixdim", "k")}
        given = f" {values}" if values else ""
        self.notes.append(f"The bundle's transform {name}{given} is not done here: {advice}.")

    def _strides(self) -> int:
        strides = self._literal(self._parser.get("network_def")).get("strides")
        return math.prod(strides) if _are_numbers(strides) else 1

    def _literal(self, value: Any) -> Any:
        """Return a value with the references in it that lead to plain values."""
        if isinstance(value, dict):
            return {key: self._literal(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._literal(part) for part in value]
        if isinstance(value, str) and value.startswith("@") and value[1:] in self._parser:
            return self._literal(self._parser[value[1:]])
        return value


def _range(values: Mapping[str, Any]) -> list[Step] | None:
    low, high, first, last, clip = (values.get(name) for name in _WINDOW)
    first, last = (0.0 if first is None else first), (1.0 if last is None else last)
    if not _are_numbers([low, high, first, last]) or not low < high or not first < last:  # type: ignore[operator]
        return None
    std = (high - low) / (last - first)  # type: ignore[operator]
    steps: list[Step] = [Clip(float(low), float(high))] if clip else []  # type: ignore[arg-type]
    return [*steps, Normalise(low - first * std, std)]


def _normalised(values: Mapping[str, Any]) -> list[Step] | None:
    mean, std = values.get("subtrahend"), values.get("divisor")
    if mean is not None or std is not None:
        numbers = [1.0 if one is None else one for one in (mean, std)]
        if values.get("nonzero") or not all(_are_numbers(_listed(one)) for one in numbers):
            return None
        return [Normalise(_frozen(0.0 if mean is None else mean), _frozen(numbers[1]))]
    where = "nonzero" if values.get("nonzero") else "all"
    return [NormaliseEach(where, together=not values.get("channel_wise"))]  # type: ignore[arg-type]


def _rescaled(values: Mapping[str, Any]) -> list[Step] | None:
    low, high = values.get("minv", 0.0), values.get("maxv", 1.0)
    if not _are_numbers([low, high]) or any(values.get(name) for name in _FACTORS):
        return None
    return [RescaleEach(low, high, together=not values.get("channel_wise"))]


_STEPS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[Step] | None]]] = {
    "ScaleIntensityRange": _range,
    "NormalizeIntensity": _normalised,
    "ScaleIntensity": _rescaled,
}


def _plain_name(name: str) -> str:
    """Return the name of a transform of arrays for one of dictionaries, where it is known here."""
    known = {*_STEPS, *_GEOMETRY, *_PLAIN, *_ADVICE}
    plain = (name.removesuffix(suffix) for suffix in ("Dict", "D", "d"))
    return name if name in known else next((one for one in plain if one in known), name)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _frozen(value: Any) -> Any:
    return tuple(map(float, value)) if isinstance(value, list) else float(value)


def _are_numbers(values: Any) -> TypeGuard[list[Any]]:
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(value, int | float) for value in values)
    )


def _has_code(values: Any) -> bool:
    return any(isinstance(part, str) and part[:1] in ("$", "@", "%") for part in _leaves(values))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)
    else:
        yield value
