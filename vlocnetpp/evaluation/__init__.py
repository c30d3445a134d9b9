"""Scores, baselines, trajectory files, figures and reports."""

from vlocnetpp.evaluation.calibration import calibration_metrics
from vlocnetpp.evaluation.figures import plot_trajectory
from vlocnetpp.evaluation.files import write_json
from vlocnetpp.evaluation.metrics import (
    confusion,
    latency_metrics,
    localization_metrics,
    odometry_metrics,
    pose_errors,
    segmentation_metrics,
)
from vlocnetpp.evaluation.peers import (
    ODOMETRY_PEERS,
    PEERS,
    QUICK_PEERS,
    Answers,
    OdometryPeer,
    Peer,
    Place,
    run_odometry_peer,
    run_peer,
)
from vlocnetpp.evaluation.report import write_report
from vlocnetpp.evaluation.tables import Table, print_table
from vlocnetpp.evaluation.trajectory_files import read_tum, write_tum

__all__ = [
    "ODOMETRY_PEERS",
    "PEERS",
    "QUICK_PEERS",
    "Answers",
    "OdometryPeer",
    "Peer",
    "Place",
    "Table",
    "calibration_metrics",
    "confusion",
    "latency_metrics",
    "localization_metrics",
    "odometry_metrics",
    "plot_trajectory",
    "pose_errors",
    "print_table",
    "read_tum",
    "run_odometry_peer",
    "run_peer",
    "segmentation_metrics",
    "write_json",
    "write_report",
    "write_tum",
]
