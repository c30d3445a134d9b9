"""The kinds of labels that frames have; the means of the loss terms are taken over them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from vlocnetpp.encodings import VOID
from vlocnetpp.losses.term import Frame, Label
from vlocnetpp.network.blocks.scene_coordinates import cell_depth


def _posed(frame: Frame, previous: Frame | None) -> Tensor:
    return frame.posed_B


def _moved(frame: Frame, previous: Frame | None) -> Tensor | None:
    return None if previous is None else frame.posed_B * previous.posed_B


def _classified(frame: Frame, previous: Frame | None) -> Tensor:
    return frame.mask_BHW != VOID


def _placed(frame: Frame, previous: Frame | None) -> Tensor:
    return (cell_depth(frame.depth_B1HW) > 0) & (frame.posed_B > 0)[:, None, None]


def _seen(frame: Frame, previous: Frame | None) -> Tensor:
    depth_BHW = cell_depth(frame.depth_B1HW)
    return (frame.posed_B > 0)[:, None, None].expand_as(depth_BHW)


POSES = Label("poses", _posed)
"""(B,) frames with a pose."""
MOTIONS = Label("motions", _moved)
"""(B,) frames with a pose whose predecessor has one, too."""
PIXELS = Label("pixels", _classified)
"""(B, H, W) pixels with a class."""
CELLS = Label("cells", _placed)
"""(B, H/8, W/8) cells of posed frames whose middle has a depth."""
POSED_CELLS = Label("posed_cells", _seen)
"""(B, H/8, W/8) all cells of posed frames."""


def resized_depth(depth_B1HW: Tensor, stride: int) -> Tensor:
    """(B, 1, H/stride, W/stride) of the nearest pixels."""
    size = (depth_B1HW.shape[-2] // stride, depth_B1HW.shape[-1] // stride)
    return F.interpolate(depth_B1HW, size=size, mode="nearest-exact")


def depths(stride: int) -> Label:
    """(B, 1, H/stride, W/stride) pixels with a depth, of the image at a fraction of its resolution."""
    return Label(f"depths_{stride}", lambda frame, previous: resized_depth(frame.depth_B1HW, stride) > 0)
