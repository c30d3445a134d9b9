"""Which names a parameter of the node and an argument of a launch file may have. Knows nothing of ROS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vlocnetpp.errors import nearest
from vlocnetpp_ros.settings import DECLARATIONS

DECLARED = {declaration.name: declaration for declaration in DECLARATIONS}
OF_ROS = ("use_sim_time", "start_type_description_service")
"""Parameters that every node has."""
QOS_OVERRIDES = "qos_overrides."
"""Beginning of the parameters by which ROS lets a user change the quality of service of a topic."""


def unknown_parameter(names: Iterable[str]) -> str | None:
    """One line on the first name that is no parameter of the node, with the nearest that is; None where all are."""
    for name in names:
        if name not in DECLARED and name not in OF_ROS and not name.startswith(QOS_OVERRIDES):
            return f"parameter '{name}' does not exist{nearest(name, DECLARED)}"
    return None


def unknown_argument(file: str, known: Iterable[str], command_line: Sequence[str]) -> str | None:
    """One line on the first `name:=value` that the launch file does not have, with the nearest that it has. None where
    all are known, and where the command line is that of another launch file, which includes this one.
    """
    name_of_file = Path(file).name
    if not any(Path(word).name == name_of_file for word in command_line):
        return None
    names = sorted(known)
    for word in command_line:
        name, is_argument, _ = word.partition(":=")
        if is_argument and name not in names:
            return f"{name_of_file} has no argument '{name}' (--show-args lists them){nearest(name, names)}"
    return None
