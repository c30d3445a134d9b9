"""Every peer and every method on the same frames, in one run and one report."""

from vlocnetpp.benchmark.methods import SECTIONS
from vlocnetpp.benchmark.plan import BenchmarkError, Settings
from vlocnetpp.benchmark.run import Outcome, begin_anew, benchmark, command_line, exit_status, open_plan

__all__ = [
    "SECTIONS",
    "BenchmarkError",
    "Outcome",
    "Settings",
    "begin_anew",
    "benchmark",
    "command_line",
    "exit_status",
    "open_plan",
]
