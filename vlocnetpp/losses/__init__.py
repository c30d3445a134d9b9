"""What training minimizes: eq. 1-4, 6 and 9 of the paper, the terms beyond it, and MapNet's loss to compare with.

`term.py` defines what a term is, `multitask.py` lists all of them and adds them up; every other file is one kind.
"""

from vlocnetpp.losses.config import LossConfig, LossConfigError
from vlocnetpp.losses.multitask import MultitaskLoss, make_terms
from vlocnetpp.losses.segmentation import class_weights
from vlocnetpp.losses.term import (
    Balance,
    Frame,
    Label,
    LossInput,
    Term,
    count_labels,
    has_label,
    select_terms,
    term_means,
    term_names,
)

__all__ = [
    "Balance",
    "Frame",
    "Label",
    "LossConfig",
    "LossConfigError",
    "LossInput",
    "MultitaskLoss",
    "Term",
    "class_weights",
    "count_labels",
    "has_label",
    "make_terms",
    "select_terms",
    "term_means",
    "term_names",
]
