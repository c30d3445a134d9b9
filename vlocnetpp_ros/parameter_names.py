"""Which names a parameter of the node may have. Knows nothing of ROS."""

from __future__ import annotations

from collections.abc import Iterable

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
