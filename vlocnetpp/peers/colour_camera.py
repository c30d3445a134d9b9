"""Frames as their colour camera has taken them, where a recording gives K and poses of the depth camera beside it.

What a network learns is corrected by its trainer (`data.depth_camera`); peers are given frames that are corrected.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlocnetpp.data.frames import Frame
from vlocnetpp.data.registration import REGISTERED, DepthCameraConfig
from vlocnetpp.poses import Floats, rotate


def of_colour_camera(frame: Frame, camera: DepthCameraConfig) -> Frame:
    """The frame with K and pose of its colour camera, and with depth that is registered to it when it is read."""
    if camera == REGISTERED:
        return frame
    K_33 = frame.K_33.copy()
    K_33[[0, 1], [0, 1]] /= camera.focal
    pose_7 = None if frame.pose_7 is None else _moved(frame.pose_7[None], camera, -1)[0]
    return replace(frame, K_33=K_33, pose_7=pose_7, depth_camera=camera)


def recorded_poses(pose_N7: Floats, camera: DepthCameraConfig) -> Floats:
    """Poses of the recorded camera from those of the colour camera; rows of NaN stay so."""
    return _moved(pose_N7, camera, 1)


def _moved(pose_N7: Floats, camera: DepthCameraConfig, sign: int) -> Floats:
    """Poses moved along the offset between both cameras, which look the same way."""
    offset_N3 = np.tile(sign * np.array(camera.offset_m), (len(pose_N7), 1))
    return np.hstack([pose_N7[:, :3] + rotate(pose_N7[:, 3:], offset_N3), pose_N7[:, 3:]])
