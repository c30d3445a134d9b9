"""The rendered world: a small campus courtyard in which ground truth is exact and free to give away."""

from vlocnetpp.data.world.render import render_world
from vlocnetpp.data.world.scene import CLASSES

__all__ = ["CLASSES", "render_world"]
