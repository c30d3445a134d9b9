"""The contract of one step: what a network takes from a frame and from earlier frames, and what it returns.

Training unrolls `step(frame, state) -> prediction, state` over clips, the exported file carries the same function, and
the robot calls it once per image. A ground truth has no place in it: the past enters only as what the network itself
computed from earlier frames.

A state, a prediction and an answer are tensors by name. A network keeps in its state whatever it needs from earlier
frames, under names of its own; `Network.state_shapes` lists them, and everything outside of the network treats the
state as a mapping. A network without memory has the empty state. Predictions and answers have the names of the
tables below; what a network does not predict has no key.
"""

# No `from __future__ import annotations` here: TorchScript reads these types as objects, not as text.

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

State = dict[str, Tensor]
"""What a network remembers of earlier frames. All zeros is a cold start."""
Prediction = dict[str, Tensor]
"""What one step says about the current frame; keys of `PREDICTIONS`."""
Answer = dict[str, Tensor]
"""What the exported step returns: a prediction with the class scores reduced to ids; keys of `ANSWERS`."""

LOCALIZATION, ODOMETRY, SEGMENTATION = TASKS = ("localization", "odometry", "segmentation")


class Meaning(NamedTuple):
    """The meaning of a well-known name."""

    task: str
    """One of `TASKS`, or empty for fields that serve training or several tasks."""
    shape: str
    text: str
    """Content, with units and frame."""


PREDICTIONS: dict[str, Meaning] = {
    "pose_B7": Meaning(
        LOCALIZATION, "(B, 7)", "camera-to-world T_wc: x, y, z in metres, then the unit quaternion w, x, y, z, w >= 0"
    ),
    "relative_B7": Meaning(
        ODOMETRY,
        "(B, 7)",
        "inv(T_{t-1}) @ T_t in the camera of frame t-1, laid out as pose_B7; identity at a cold start",
    ),
    "returning_B7": Meaning(ODOMETRY, "(B, 7)", "the motion back, the inverse of relative_B7; only while training"),
    "log_scale_B2": Meaning(
        LOCALIZATION,
        "(B, 2)",
        "log of the expected error of pose_B7: translation in metres, rotation in radians; not yet calibrated",
    ),
    "logits_BCHW": Meaning(SEGMENTATION, "(B, C, H, W)", "class scores at the network's input resolution"),
    "depth_B1HW": Meaning("", "(B, 1, H, W)", "depth in metres used for warping, 0 where unknown"),
    "coordinates_B4HW": Meaning(
        "",
        "(B, 4, H/8, W/8)",
        "where in the map each cell of the image lies, metres, and the log of a standard deviation, metres",
    ),
    "pose_covariance_B66": Meaning(
        LOCALIZATION,
        "(B, 6, 6)",
        "covariance of pose_B7 in the axes of the map: metres, then radians; not yet calibrated",
    ),
    "motion_log_scale_B2": Meaning(
        ODOMETRY, "(B, 2)", "log of the expected error of relative_B7: translation in metres, rotation in radians"
    ),
    "hypotheses_BH7": Meaning(LOCALIZATION, "(B, H, 7)", "poses, one of which is chosen; only while training"),
    "scores_BH": Meaning(LOCALIZATION, "(B, H)", "scores of the hypotheses; only while training"),
    "score_scale_B": Meaning(
        LOCALIZATION, "(B,)", "factor of the scores, whose softmax are probabilities; only while training"
    ),
    "novelty_B": Meaning("", "(B,)", "how unlike the training images the frame is; 1 is what those have on average"),
}
"""Well-known names of a prediction. A later network adds its own here."""

ANSWERS: dict[str, Meaning] = {
    "pose_B7": PREDICTIONS["pose_B7"],
    "relative_B7": PREDICTIONS["relative_B7"],
    "log_scale_B2": PREDICTIONS["log_scale_B2"],
    "pose_covariance_B66": PREDICTIONS["pose_covariance_B66"],
    "motion_log_scale_B2": PREDICTIONS["motion_log_scale_B2"],
    "novelty_B": PREDICTIONS["novelty_B"],
    "coordinates_B4HW": PREDICTIONS["coordinates_B4HW"],
    "mask_BHW": Meaning(SEGMENTATION, "(B, H, W) uint8", "class ids at the network's input resolution"),
}
"""Well-known names of an answer; all but masks are float32 whatever the precision of the weights."""

STATES: dict[str, Meaning] = {
    "valid_B": Meaning("", "(B,)", "1 where the other fields describe a previous frame, 0 at a cold start"),
    "pose_B7": Meaning(LOCALIZATION, "(B, 7)", "the network's own previous pose"),
    "localization_5a": Meaning(LOCALIZATION, "(B, 2048, H/32, W/32)", "Res5a before its fusion"),
    "odometry_4f": Meaning(ODOMETRY, "(B, 1024, H/16, W/16)", "Res4f"),
    "segmentation_4f": Meaning(SEGMENTATION, "(B, 1024, H/16, W/16)", "Res4f before its fusion"),
    "siamese": Meaning(
        ODOMETRY, "(B, ...)", "the features of a frame that a pair of frames compares, a map or a vector"
    ),
    "segmentation_5c": Meaning(SEGMENTATION, "(B, 2048, H/16, W/16)", "Res5c before its fusion"),
}
"""Names that several networks use in their states; channels are those of the full width. Nothing reads this table: a
network may keep any other name."""


def cold_state(
    shapes: Mapping[str, tuple[int, ...]],
    batch: int = 1,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> State:
    """The state at the start of every sequence: zeros.

    Args:
        shapes: of each field of one stream, without the batch axis, as `Network.state_shapes` says.
        batch: number of streams.
        device, dtype: of the network's weights; by default PyTorch's.
    """
    return {name: torch.zeros((batch, *shape), device=device, dtype=dtype) for name, shape in shapes.items()}
