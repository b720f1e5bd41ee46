"""What this distribution adds to pladapt."""

from __future__ import annotations

from typing import Any

from pladapt import Registration, hookimpl


@hookimpl
def pladapt_commands() -> list[Registration[Any]]:
    """Offer ``pladapt covid-ct``."""
    return [
        Registration(
            "covid-ct",
            "pladapt_covid_ct.cli:commands",
            "COVID-19 lesions in chest CT: the paper's experiment.",
        )
    ]
