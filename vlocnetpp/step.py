"""The contract of one step: what the network takes from a frame and its past, and what it hands back.

Training unrolls `step(frame, state) -> prediction, state` over clips, the exported file carries the same function, and
the robot calls it once per image. Nothing here has a place for a ground-truth pose: the past enters only as features
(and, in the `vlocnet` baseline, as the network's own previous output).

A task that a preset lacks has tensors without channels, e.g. `pose_B7` of shape (B, 0).
"""

# No `from __future__ import annotations` here: TorchScript reads these annotations as objects, not as text.

from typing import NamedTuple

from torch import Tensor


class State(NamedTuple):
    """Features of the previous frame. All zeros with `valid_B` = 0 is a cold start.

    Channels are given for the full width; strides are relative to the network's input.
    """

    valid_B: Tensor
    """(B,) float, 1 where the other fields describe a previous frame, 0 at a cold start."""
    pose_B7: Tensor
    """(B, 7) the network's own previous pose; only the `vlocnet` baseline reads it."""
    localization_5a: Tensor
    """(B, 2048, H/32, W/32) localization Res5a before its fusion."""
    odometry_4f: Tensor
    """(B, 1024, H/16, W/16) odometry Res4f."""
    segmentation_4f: Tensor
    """(B, 1024, H/16, W/16) segmentation Res4f before its fusion."""
    segmentation_5c: Tensor
    """(B, 2048, H/16, W/16) segmentation Res5c before its fusion."""


class Prediction(NamedTuple):
    """What one step says about the current frame t."""

    pose_B7: Tensor
    """(B, 7) camera-to-world T_wc: x, y, z in metres, then the unit quaternion w, x, y, z with w >= 0."""
    relative_B7: Tensor
    """(B, 7) inv(T_{t-1}) @ T_t, same layout; meaningless where `State.valid_B` was 0."""
    log_scale_B2: Tensor
    """(B, 2) log of the expected error of `pose_B7`: translation in metres, rotation in radians; not yet calibrated."""
    logits_BCHW: Tensor
    """(B, C, H, W) class scores at the network's input resolution."""
    depth_B1HW: Tensor
    """(B, 1, H, W) depth in metres used for warping, 0 where unknown."""
    coordinates_B4HW: Tensor
    """(B, 4, H/8, W/8) where in the map each cell of the image lies, metres, and the log of a deviation, metres."""


class Answer(NamedTuple):
    """What the exported file returns: a `Prediction` with the class scores reduced to ids on the device."""

    pose_B7: Tensor
    relative_B7: Tensor
    log_scale_B2: Tensor
    mask_BHW: Tensor
    """(B, H, W) uint8 class ids at the network's input resolution."""
