"""Simulated ultrasound: the example's two scanners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from families import SmallUNet, ultrasound

if TYPE_CHECKING:
    from families import Config

    from pladapt import LabelledSample


class Ultrasound(SmallUNet):
    """The ultrasound example's simulated scanners."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._patients = (
            {"source": 8, "target": 4} if config.quick else {"source": 40, "target": 30}
        )

    def load(self, name: str) -> list[LabelledSample]:
        """Draw one scanner's images."""
        scanner = {"source": ultrasound.SOURCE, "target": ultrasound.TARGET}[name]
        seed = ("source", "target").index(name)
        return ultrasound.scans(name, scanner, self._patients[name], seed=seed)
