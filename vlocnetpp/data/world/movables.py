"""What stands elsewhere in the next recording, or moves during one: class Dynamic, each a body of its own.

All stand on z = 0 and look along x.
"""

from __future__ import annotations

import numpy as np

from vlocnetpp.data.world import meshes
from vlocnetpp.data.world.labels import DYNAMIC
from vlocnetpp.data.world.stage import Stage


def car(stage: Stage, name: str, paint: str = "car") -> None:
    """A small car, 3.2 x 1.4 m."""
    with stage.movable(name):
        body = [[-1.55, 0.28], [1.5, 0.28], [1.6, 0.42], [1.55, 0.68], [0.85, 0.78], [0.3, 1.22], [-0.85, 1.25],
                [-1.4, 0.85], [-1.58, 0.75]]  # fmt: skip
        stage.mesh(DYNAMIC, paint, meshes.extrude(np.array(body), 1.4))
        glass = [[-1.12, 0.84], [0.62, 0.84], [0.24, 1.16], [-0.8, 1.18]]
        stage.mesh(DYNAMIC, "glass", meshes.extrude(np.array(glass), 1.42))
        front = [[0.40, 1.165], [0.36, 1.15], [0.80, 0.80], [0.86, 0.80]]
        stage.mesh(DYNAMIC, "glass", meshes.extrude(np.array(front)[::-1], 1.2))
        rear = [[-0.93, 1.22], [-1.0, 1.22], [-1.43, 0.88], [-1.38, 0.88]]
        stage.mesh(DYNAMIC, "glass", meshes.extrude(np.array(rear), 1.2))
        for x in (-0.95, 0.98):
            for y in (-0.64, 0.64):
                stage.rod(DYNAMIC, "black", (x, y - 0.09, 0.29), (x, y + 0.09, 0.29), 0.29)
                stage.rod(DYNAMIC, "zinc", (x, y - 0.1, 0.29), (x, y + 0.1, 0.29), 0.15)
        for y in (-0.5, 0.5):
            stage.box(DYNAMIC, "lamp", (1.55, y, 0.6), (0.1, 0.24, 0.12))
            stage.box(DYNAMIC, "yellow", (-1.56, y, 0.65), (0.06, 0.2, 0.12))


def person(stage: Stage, name: str, shirt: str, trousers: str, step: float = 0.02, hair: str = "trunk") -> None:
    """Somebody 1.8 m tall; `step` is half the distance between the feet."""
    with stage.movable(name):
        for side, x in ((-0.1, -step), (0.1, step)):
            stage.rod(DYNAMIC, trousers, (x, side, 0.1), (0, side, 0.82), 0.085, True)
            stage.ball(DYNAMIC, "black", (x + 0.05, side, 0.05), (0.14, 0.06, 0.05))
            stage.rod(DYNAMIC, shirt, (0, side * 2.1, 1.38), (-2 * x, side * 2.4, 0.92), 0.055, True)
            stage.ball(DYNAMIC, "skin", (-2 * x, side * 2.4, 0.84), (0.05, 0.05, 0.07))
        stage.ball(DYNAMIC, shirt, (0, 0, 1.14), (0.14, 0.21, 0.36))
        stage.rod(DYNAMIC, "skin", (0, 0, 1.45), (0, 0, 1.56), 0.06)
        stage.ball(DYNAMIC, "skin", (0, 0, 1.66), (0.11, 0.1, 0.14))
        stage.ball(DYNAMIC, hair, (-0.03, 0, 1.71), (0.115, 0.11, 0.12))


def cart(stage: Stage, name: str) -> None:
    """A delivery robot, 0.75 x 0.5 m, with a flag."""
    with stage.movable(name):
        stage.box(DYNAMIC, "white", (0, 0, 0.42), (0.75, 0.5, 0.4))
        stage.box(DYNAMIC, "teal", (0, 0, 0.66), (0.77, 0.52, 0.1))
        stage.box(DYNAMIC, "black", (0.36, 0, 0.45), (0.06, 0.36, 0.16))
        stage.rod(DYNAMIC, "metal", (-0.3, 0.2, 0.7), (-0.3, 0.2, 1.3), 0.015)
        stage.box(DYNAMIC, "red", (-0.3, 0.12, 1.22), (0.01, 0.18, 0.13))
        for x in (-0.25, 0.25):
            for y in (-0.24, 0.24):
                stage.rod(DYNAMIC, "black", (x, y - 0.04, 0.13), (x, y + 0.04, 0.13), 0.13)


def boxes(stage: Stage, name: str) -> None:
    """Three cardboard boxes."""
    with stage.movable(name):
        stage.box(DYNAMIC, "cardboard", (0, 0, 0.25), (0.6, 0.5, 0.5))
        stage.box(DYNAMIC, "sand", (0.45, 0.35, 0.18), (0.4, 0.4, 0.36), yaw=0.5)
        stage.box(DYNAMIC, "cardboard", (0.05, 0.03, 0.66), (0.42, 0.38, 0.32), yaw=0.3)


def vacuum(stage: Stage, name: str) -> None:
    """A robot vacuum cleaner."""
    with stage.movable(name):
        stage.rod(DYNAMIC, "black", (0, 0, 0.01), (0, 0, 0.09), 0.17)
        stage.rod(DYNAMIC, "zinc", (0, 0, 0.09), (0, 0, 0.1), 0.12)
        stage.rod(DYNAMIC, "red", (0.05, 0, 0.1), (0.05, 0, 0.115), 0.04)
