"""A map of the current frame fused (eq. 8) with that of the previous frame as the current camera would have seen it."""

from __future__ import annotations

from torch import Tensor, nn

from vlocnetpp.network.blocks.fusion import FUSIONS
from vlocnetpp.network.blocks.warping import warp_features


class WarpedFusion(nn.Module):
    """One fusion site: warping of eq. 7, then a fusion of two maps into one of the same shape.

    Args:
        channels: of the map.
        fusion: `adaptive` (eq. 8) or `concat`, the ablation.
    """

    def __init__(self, channels: int, fusion: str = "adaptive") -> None:
        super().__init__()
        self.fuse = FUSIONS[fusion]([channels, channels], channels)

    def forward(
        self,
        current_BChw: Tensor,
        previous_BChw: Tensor,
        known_B: Tensor,
        offset_B2HW: Tensor,
        valid_B1HW: Tensor,
    ) -> Tensor:
        """(B, C, h, w). Zeros replace the previous map where it is unknown or not warped.

        Args:
            previous_BChw: the previous frame's map before its own fusion.
            known_B: 1 where there is a previous frame, 0 at a cold start.
            offset_B2HW, valid_B1HW: as `warping_flow` returns them, at the input's resolution.
        """
        past_BChw, _ = warp_features(previous_BChw * known_B[:, None, None, None], offset_B2HW, valid_B1HW)
        return self.fuse([current_BChw, past_BChw.to(current_BChw.dtype)])
