"""Pure functions of arrays."""

from pladapt.functional.certainty import certainty_index, combine_classes, hard_labels

__all__ = [
    "certainty_index",
    "combine_classes",
    "hard_labels",
]
