"""Predicting, scoring, selecting and evaluating from files: NIfTI, DICOM, NRRD, pictures and NPY.

For those whose training lives elsewhere. The decoders of all but NPY come with the extra ``files``;
each is imported when a file of its kind is first read.
"""

from pladapt.files.evaluation import evaluate_files
from pladapt.files.folder import Files, Grouping, Problem, write_problems
from pladapt.files.masks import write_masks
from pladapt.files.merging import merge_files
from pladapt.files.pairing import Pairing
from pladapt.files.pseudonyms import Pseudonyms
from pladapt.files.reading import ImageLayout, MaskLayout
from pladapt.files.samples import (
    FileSamples,
    Place,
    TrueFileSamples,
    read_samples,
    read_truth,
)
from pladapt.files.scoring import GivenProbabilities, score_files
from pladapt.files.selection import FileSelection, select_file

__all__ = [
    "FileSamples",
    "FileSelection",
    "Files",
    "GivenProbabilities",
    "Grouping",
    "ImageLayout",
    "MaskLayout",
    "Pairing",
    "Place",
    "Problem",
    "Pseudonyms",
    "TrueFileSamples",
    "evaluate_files",
    "merge_files",
    "read_samples",
    "read_truth",
    "score_files",
    "select_file",
    "write_masks",
    "write_problems",
]
