"""The time of a step with every backend of this machine, and its distance from the machine's limit."""

from vlocnetpp.speed.case import Case, case_of_file, case_of_preset
from vlocnetpp.speed.measure import Report, Timing, measure
from vlocnetpp.speed.ways import WAYS, Recompute

__all__ = ["WAYS", "Case", "Recompute", "Report", "Timing", "case_of_file", "case_of_preset", "measure"]
