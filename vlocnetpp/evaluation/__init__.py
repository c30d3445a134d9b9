"""Run a model over the frames of a split, as on the robot, and score its answers."""

from vlocnetpp.evaluation.evaluate import evaluate
from vlocnetpp.evaluation.stream import Streamed, stream

__all__ = ["Streamed", "evaluate", "stream"]
