"""Data: one small interface (`Dataset` of `Sequence`s of `Frame`s), one file for each layout that is read into it."""

from vlocnetpp.data.bags import BagMessage, BagSummary, iter_bag
from vlocnetpp.data.folder import FolderWriter
from vlocnetpp.data.frames import VOID, DataError, Dataset, Frame, LabelClass, Sequence
from vlocnetpp.data.from_bag import read_bag
from vlocnetpp.data.layouts import LAYOUTS, dataset_digest, open_dataset
from vlocnetpp.data.to_bag import write_bag

__all__ = [
    "LAYOUTS",
    "VOID",
    "BagMessage",
    "BagSummary",
    "DataError",
    "Dataset",
    "FolderWriter",
    "Frame",
    "LabelClass",
    "Sequence",
    "dataset_digest",
    "iter_bag",
    "open_dataset",
    "read_bag",
    "write_bag",
]
