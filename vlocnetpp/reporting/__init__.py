"""Results for people: tables, JSON, trajectory files, figures and pages, each written whole or not at all."""

from vlocnetpp.reporting.figures import plot_trajectory
from vlocnetpp.reporting.files import write_json
from vlocnetpp.reporting.report import write_report
from vlocnetpp.reporting.tables import Table, print_table
from vlocnetpp.reporting.trajectory_files import read_tum, write_tum

__all__ = ["Table", "plot_trajectory", "print_table", "read_tum", "write_json", "write_report", "write_tum"]
