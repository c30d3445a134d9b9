"""Ask a model about the frames of a split, as the robot would be asked, and score what it answers."""

from vlocnetpp.evaluation.evaluate import evaluate
from vlocnetpp.evaluation.stream import Streamed, stream

__all__ = ["Streamed", "evaluate", "stream"]
