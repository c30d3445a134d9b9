"""Data: one small interface (`Dataset` of `Sequence`s of `Frame`s), one file for each layout that is read into it."""

from vlocnetpp.data.folder import FolderWriter
from vlocnetpp.data.frames import VOID, DataError, Dataset, Frame, LabelClass, Sequence
from vlocnetpp.data.layouts import LAYOUTS, dataset_digest, open_dataset

__all__ = [
    "LAYOUTS",
    "VOID",
    "DataError",
    "Dataset",
    "FolderWriter",
    "Frame",
    "LabelClass",
    "Sequence",
    "dataset_digest",
    "open_dataset",
]
