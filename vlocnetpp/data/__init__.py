"""Data: one small interface (`Dataset` of `Sequence`s of `Frame`s), one file for each layout that is read into it."""

from vlocnetpp.data.bags.from_bag import read_bag
from vlocnetpp.data.bags.reader import BagMessage, BagSummary, iter_bag
from vlocnetpp.data.bags.to_bag import write_bag
from vlocnetpp.data.digest import dataset_digest
from vlocnetpp.data.frames import VOID, DataError, Dataset, Frame, LabelClass, Sequence
from vlocnetpp.data.layouts.folder import FolderWriter
from vlocnetpp.data.layouts.recognize import LAYOUTS, open_dataset

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
