"""What prepares images for a network, at its front, so that it travels with it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

from pladapt.errors import DataError, InputError
from pladapt.optional import needs
from pladapt.torch.calling import called
from pladapt.torch.steps import described, is_exporting, steps_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from pladapt.torch.steps import Step

_MODES: Final = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is done to images ``(B, C, *S)`` before a network, and undone to its logits.

    In this order: the values change, the spatial axes are put in the network's order, the image is
    resized, padded and, where it is larger than the patch, gone through by a sliding window. Then
    the logits come back to the image's own size and axes.

    Args:
        steps: What changes the values, as in `pladapt.torch.steps`; first comes first.
        axes: Which of the image's spatial axes, from 0, the network has first, second and so on;
            None for the same.
        size: The spatial shape that images are resized to, linearly; a single number is that of the
            shortest axis, whose ratio to the others stays. None for none.
        multiple_of: What each spatial length is padded to a multiple of.
        patch_size: The largest spatial shape that goes through the network at once, and what
            smaller images are padded to; None for any. Its axes, and those of ``size``, are the
            network's.
        overlap: Of neighbouring windows, as a fraction of the patch, in [0, 1).
        padding: ``edge``, the nearest pixel, or ``zeros``, after the steps.

    Raises:
        InputError: A number out of its range, or a patch that is not of the multiple.
    """

    steps: tuple[Step, ...] = ()
    axes: tuple[int, ...] | None = None
    size: tuple[int, ...] | None = None
    multiple_of: int = 1
    patch_size: tuple[int, ...] | None = None
    overlap: float = 0.5
    padding: Literal["edge", "zeros"] = "edge"

    def __post_init__(self) -> None:
        if self.multiple_of < 1 or not 0 <= self.overlap < 1:
            raise InputError(
                f"multiple_of is {self.multiple_of} and overlap {self.overlap}; give at least 1, "
                "and a fraction from 0 and below 1."
            )
        if self.padding not in ("edge", "zeros"):
            raise InputError(f"padding is {self.padding!r}; give 'edge' or 'zeros'.")
        if self.axes is not None and sorted(self.axes) != list(range(len(self.axes))):
            raise InputError(f"axes is {self.axes}; give each spatial axis once, from 0.")
        for name, lengths in (("size", self.size), ("patch_size", self.patch_size)):
            if any(length < 1 for length in lengths or ()):
                raise InputError(f"{name} is {lengths}; each length must be at least 1.")
        if any(length % self.multiple_of for length in self.patch_size or ()):
            raise InputError(
                f"patch_size is {self.patch_size}; the network takes lengths that are multiples of "
                f"{self.multiple_of}."
            )

    def __bool__(self) -> bool:
        """Whether anything is done at all."""
        return self != Preparation(overlap=self.overlap, padding=self.padding)

    @property
    def crop_size(self) -> tuple[int, ...] | None:
        """The patch along the image's own axes, to train on; None where images are taken whole."""
        if self.patch_size is None or self.size is not None:
            return None
        axes = self.axes or tuple(range(len(self.patch_size)))
        return tuple(self.patch_size[axes.index(axis)] for axis in range(len(axes)))

    def describe(self) -> dict[str, Any]:
        """Return it as JSON-able values, what is not done left out.

        Raises:
            InputError: A step is none of `pladapt.torch.steps`.
        """
        plain = Preparation()
        each = {f.name: getattr(self, f.name) for f in fields(self)}
        own = {k: v for k, v in each.items() if v != getattr(plain, k) and k != "steps"}
        steps = {"steps": described(self.steps)} if self.steps else {}
        return steps | {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """Return what `describe` described.

        Raises:
            DataError: It is no such thing.
        """
        frozen: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in told.items()
        }
        try:
            return cls(**frozen | {"steps": steps_of(told.get("steps", ()))})
        except TypeError as error:
            raise DataError(f"This is no preparation: {dict(told)!r} ({error}).") from error


class Prepared(nn.Module):
    """A network behind what prepares its images: it takes them in their own units, of any size.

    Large images go through a sliding window, whose logits are blended by MONAI with weights that
    fall off from the middle (a Gaussian), in evaluation mode alone.

    Args:
        network: Maps prepared images ``(B, C, *S)`` to logits ``(B, K, *S)``.
        preparation: What is done to images.

    Raises:
        MissingDependencyError: When it is called: the image is larger than the patch, and MONAI is
            not installed.
        InputError: When it is called: the images do not fit the preparation.
    """

    def __init__(self, network: nn.Module, preparation: Preparation) -> None:
        super().__init__()
        self.network, self.preparation = network, preparation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(B, C, *S)`` to logits ``(B, K, *S)``."""
        prepared = self._turned(self.prepare(images))
        shape = tuple(prepared.shape[2:])
        # where an image becomes smaller all its pixels count, as with Pillow
        resized = _resized(prepared, self._size(shape), smooth=True)
        made = _resized(self._logits(resized), shape)
        return self._turned_back(made)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Return images ``(B, C, *S)`` with their values as the network takes them."""
        for step in self.preparation.steps:
            images = step(images)
        return images

    def around(self, network: nn.Module) -> Prepared:
        """Return the same preparation around another network."""
        return Prepared(network, self.preparation).train(self.training)

    def without_steps(self) -> Prepared:
        """Return the same module for images whose values are prepared; the network is shared."""
        return Prepared(self.network, replace(self.preparation, steps=())).train(self.training)

    def at_once(self) -> Prepared:
        """Return the same module without a sliding window; the network is shared."""
        return Prepared(self.network, replace(self.preparation, patch_size=None)).train(
            self.training
        )

    def _turned(self, images: torch.Tensor) -> torch.Tensor:
        axes = self.preparation.axes
        if axes is None:
            return images
        _check_rank("axes", axes, images)
        return images.permute(0, 1, *(axis + 2 for axis in axes))

    def _turned_back(self, logits: torch.Tensor) -> torch.Tensor:
        axes = self.preparation.axes
        if axes is None:
            return logits
        return logits.permute(0, 1, *(axes.index(axis) + 2 for axis in range(len(axes))))

    def _size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        size = self.preparation.size
        if size is None:
            return shape
        if len(size) == 1:
            return tuple(int(size[0] * length / min(shape)) for length in shape)
        return size

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        patch = self.preparation.patch_size
        if is_exporting():  # window and padding are no part of a graph: OnnxPredictor pads
            return self._given(images)
        if patch is None:
            return self._padded(images, None)
        _check_rank("patch_size", patch, images)
        larger = any(n > most for n, most in zip(images.shape[2:], patch, strict=True))
        if larger and not self.training:
            return self._slid(images, patch)
        return self._padded(images, patch)

    def _padded(self, images: torch.Tensor, least: Sequence[int] | None) -> torch.Tensor:
        """Return the logits of images that are padded to the multiple, and to a least shape."""
        multiple, shape = self.preparation.multiple_of, images.shape[2:]
        if multiple == 1 and least is None:
            return self._given(images)
        wanted = [-(-length // multiple) * multiple for length in shape]
        if least is not None:
            wanted = [max(pair) for pair in zip(wanted, least, strict=True)]
        before = [(want - length) // 2 for want, length in zip(wanted, shape, strict=True)]
        margins: list[int] = []
        for want, length, first in reversed(list(zip(wanted, shape, before, strict=True))):
            margins += [first, want - length - first]
        mode = "replicate" if self.preparation.padding == "edge" else "constant"
        logits = self._given(F.pad(images, margins, mode=mode))
        for axis, (first, length) in enumerate(zip(before, shape, strict=True), start=2):
            logits = logits.narrow(axis, first, length)
        return logits

    def _given(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = called(self.network, images)
        return logits

    def _slid(self, images: torch.Tensor, patch: Sequence[int]) -> torch.Tensor:
        with needs("monai", "monai"):
            from monai import inferers  # noqa: PLC0415 - when it is needed
        mode = "replicate" if self.preparation.padding == "edge" else "constant"
        made: torch.Tensor = inferers.sliding_window_inference(
            images,
            patch,
            len(images),
            self._given,
            overlap=self.preparation.overlap,
            mode="gaussian",
            padding_mode=mode,
        )
        return made


def _resized(images: torch.Tensor, size: tuple[int, ...], *, smooth: bool = False) -> torch.Tensor:
    if tuple(images.shape[2:]) == tuple(size):
        return images
    if len(size) != images.ndim - 2:
        raise InputError(f"The size is {size}, and the images have {images.ndim - 2} axes.")
    mode = _MODES[len(size)]
    smooth = smooth and mode == "bilinear"
    return F.interpolate(images, size, mode=mode, align_corners=False, antialias=smooth)


def _check_rank(name: str, lengths: Sequence[int], images: torch.Tensor) -> None:
    if len(lengths) != images.ndim - 2:
        raise InputError(
            f"{name} is {tuple(lengths)}, for images of {len(lengths)} spatial axes, and these "
            f"have {images.ndim - 2}: {tuple(images.shape)}. Give images of as many (--dimensions "
            f"{len(lengths)}), or another {name}."
        )
