"""Scoring, selecting and evaluating from files: NIfTI, DICOM, NRRD, pictures and NPY.

For those whose training lives elsewhere. The decoders of all but NPY come with the extra ``files``;
each is imported when a file of its kind is first read.
"""

from pladapt.backends.files.evaluation import evaluate_files
from pladapt.backends.files.folder import Files, Grouping, Problem, write_problems
from pladapt.backends.files.pairing import Pairing
from pladapt.backends.files.reading import ImageLayout, MaskLayout
from pladapt.backends.files.samples import (
    FileSamples,
    Place,
    TrueFileSamples,
    read_samples,
    read_truth,
)
from pladapt.backends.files.scoring import GivenProbabilities, score_files
from pladapt.backends.files.selection import select_file

__all__ = [
    "FileSamples",
    "Files",
    "GivenProbabilities",
    "Grouping",
    "ImageLayout",
    "MaskLayout",
    "Pairing",
    "Place",
    "Problem",
    "TrueFileSamples",
    "evaluate_files",
    "read_samples",
    "read_truth",
    "score_files",
    "select_file",
    "write_problems",
]
