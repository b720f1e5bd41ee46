"""Reaching the module inside predictors that wrap one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from pladapt.errors import InputError
from pladapt.torch.predictor import ModulePredictor
from pladapt.typing import Predictor, WrappingPredictor

if TYPE_CHECKING:
    from torch import nn

P = TypeVar("P", bound=Predictor)


def module_of(predictor: Predictor) -> nn.Module:
    """Return the module of a predictor, or of the one that it wraps.

    Args:
        predictor: A `ModulePredictor`, or any stack of `pladapt.typing.WrappingPredictor` around
            one: flips of a `TorchPredictor`, say.

    Raises:
        InputError: There is no module inside.
    """
    if isinstance(predictor, ModulePredictor):
        return predictor.module
    return module_of(_wrapped(predictor).predictor)


def with_module(predictor: P, module: nn.Module) -> P:
    """Return the same predictor, or the same stack of them, around another module.

    Args:
        predictor: As for `module_of`; it is not changed.
        module: Maps images ``(B, C, *S)`` to logits ``(B, K, *S)``.

    Raises:
        InputError: There is no module inside.
    """
    if isinstance(predictor, ModulePredictor):
        return cast("P", predictor.with_module(module))
    outer = _wrapped(predictor)
    return cast("P", outer.with_predictor(with_module(outer.predictor, module)))


def _wrapped(predictor: Predictor) -> WrappingPredictor:
    if not isinstance(predictor, WrappingPredictor):
        raise InputError(
            f"{type(predictor).__name__} has no module to train; give a TorchPredictor, or a "
            "predictor with 'module' and 'with_module', or one with 'predictor' and "
            "'with_predictor' that wraps such a one."
        )
    return predictor
