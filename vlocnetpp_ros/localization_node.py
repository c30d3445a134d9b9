"""The command `localization_node`: starts `node.LocalizationNode`, and says how to without ROS 2 being installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vlocnetpp_ros.missing_ros import missing_ros
from vlocnetpp_ros.settings import DECLARATIONS

USAGE = """\
usage: localization_node [-h] --ros-args [-p NAME:=VALUE ...] [--params-file FILE] [-r FROM:=TO ...]

Answer each camera image with the pose of the camera in the map, visual odometry and a semantic mask.

example
  localization_node --ros-args -p model:=lab.ts -p autostart:=true -p image_topic:=/camera/color/image_raw

parameters and defaults; docs/parameters.md describes them, docs/node.md the topics
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the exit status is 0, or 2 where ROS 2 is not installed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words[: words.index("--ros-args")] if "--ros-args" in words else words):
        print(usage(), end="")
        return 0
    try:
        from vlocnetpp_ros.node import run
    except ModuleNotFoundError as error:
        if (missing := missing_ros(error)) is None:
            raise
        print(f"localization_node: {missing}", file=sys.stderr)
        return 2
    run(words)
    return 0


def usage() -> str:
    """The text of --help: how to start the node, and its parameters."""
    return USAGE + "".join(f"  {each.name:24}{each.default!r}\n" for each in DECLARATIONS)


if __name__ == "__main__":
    sys.exit(main())
