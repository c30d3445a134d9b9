"""Play a bag through the real node in its own process, record what it publishes, and score it."""

from vlocnetpp_ros.replay.command import main

__all__ = ["main"]
