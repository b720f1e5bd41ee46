"""What the plugin offers; pladapt reads this whenever it starts."""

from __future__ import annotations

import pladapt


@pladapt.hookimpl
def pladapt_retrainers() -> list[pladapt.Registration[pladapt.typing.Retrainer]]:
    """Offer the retrainer as ``plain-loop``."""
    return [
        pladapt.Registration(
            "plain-loop", "pladapt_loop:PlainLoop", "Trains in a loop of torch's own."
        )
    ]
