"""The rendered worlds, whose ground truth is exact and may be redistributed."""

from vlocnetpp.data.world.labels import CLASSES
from vlocnetpp.data.world.render import render_world
from vlocnetpp.data.world.suite import SCENES

__all__ = ["CLASSES", "SCENES", "render_world"]
