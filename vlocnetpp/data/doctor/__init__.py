"""The doctor: before a night of training, says what is wrong with a dataset and how sure it is."""

from vlocnetpp.data.doctor.examine import CHECKS, Report, examine
from vlocnetpp.data.doctor.findings import KINDS, Finding

__all__ = ["CHECKS", "KINDS", "Finding", "Report", "examine"]
