"""The rendered worlds, in which ground truth is exact and free to give away."""

from vlocnetpp.data.world.labels import CLASSES
from vlocnetpp.data.world.render import render_world
from vlocnetpp.data.world.suite import SCENES

__all__ = ["CLASSES", "SCENES", "render_world"]
