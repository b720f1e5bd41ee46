"""What the plugin offers; pladapt reads this whenever it starts."""

from __future__ import annotations

from typing import Any

import pladapt


@pladapt.hookimpl
def pladapt_predictors() -> list[pladapt.Registration[Any]]:
    """Offer the classifier as ``pixels``."""
    return [
        pladapt.Registration(
            "pixels", "pladapt_pixels:PixelClassifier.load", "Classifies pixel by pixel."
        )
    ]


@pladapt.hookimpl
def pladapt_retrainers() -> list[pladapt.Registration[Any]]:
    """Offer the retrainer as ``refit-pixels``."""
    return [
        pladapt.Registration(
            "refit-pixels", "pladapt_pixels:Refit", "Fits a pixel classifier anew."
        )
    ]
