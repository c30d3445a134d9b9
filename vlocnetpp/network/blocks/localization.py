"""Global pose regression: Res4, Res5 and the head, with the past and the semantics fused on the way."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlocnetpp.network.blocks.fusion import FUSIONS
from vlocnetpp.network.blocks.heads import PoseHead, ScaleHead
from vlocnetpp.network.blocks.units import Stage

POSE_CHANNELS = 4


class PoseMap(nn.Module):
    """VLocNet 2018: the previous pose through an inner-product layer, reshaped to maps that are concatenated with
    Res4f.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.fc = nn.Linear(7, POSE_CHANNELS * height * width)

    def forward(self, pose_B7: Tensor, valid_B: Tensor) -> Tensor:
        """(B, 4, H/16, W/16), zero at a cold start."""
        maps = self.fc(pose_B7.to(self.fc.weight.dtype)) * valid_B.unsqueeze(1)
        return maps.unflatten(1, (-1, self.height, self.width))


class LocalizationStream(nn.Module):
    """From Res3 of the current frame, or from its Res4, to its pose.

    Args:
        in_channels: of the input map.
        starts_at_res4: whether that map is Res4f of an encoder that another stream runs; else Res3d.
        fuse: channels of a map of stride 16 that is fused into Res4; 0 for no fusion.
        split: units of Res4 before that fusion.
        beside: channels of maps that are concatenated with Res4f.
        past: whether the previous frame's Res5a is fused into Res5a.
        fusion: `adaptive` or `concat`.
        centre, spread: of the training positions, metres.
    """

    def __init__(
        self,
        in_channels: int,
        width: float,
        activation: str,
        dropout: float,
        centre: tuple[float, ...],
        spread: float,
        starts_at_res4: bool = False,
        fuse: int = 0,
        split: int = 0,
        beside: int = 0,
        past: bool = False,
        fusion: str = "adaptive",
    ) -> None:
        super().__init__()
        self.res4 = None
        self.semantic_fusion = None
        channels_4f = in_channels
        if not starts_at_res4:
            self.res4 = Stage("res4", in_channels, width, activation, stride=2, split=split)
            channels_4f = self.res4.out_channels
        if fuse:
            self.semantic_fusion = FUSIONS[fusion]([channels_4f, fuse], channels_4f)
        self.res5 = Stage("res5", channels_4f + beside, width, activation, stride=2, split=1)
        channels_5a = self.res5.out_channels
        self.past_fusion = FUSIONS[fusion]([channels_5a, channels_5a], channels_5a) if past else None
        self.head = PoseHead(channels_5a, width, activation, dropout, centre, spread)
        self.scale_head = ScaleHead(width)

    def forward(
        self,
        x: Tensor,
        fused: Tensor | None = None,
        beside: Tensor | None = None,
        past_5a: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pose (B, 7), its log-scales (B, 2), and Res5a before its fusion, for the next step.

        Args:
            x: (B, 512, H/8, W/8) Res3d, or (B, 1024, H/16, W/16) Res4f.
            fused: (B, C, H/16, W/16) map for the fusion in Res4.
            beside: (B, C, H/16, W/16) maps to concatenate with Res4f.
            past_5a: (B, 2048, H/32, W/32) Res5a of the previous frame, zero at a cold start.
        """
        if self.res4 is not None:
            x = self.res4.head(x)
            if self.semantic_fusion is not None:
                assert fused is not None
                x = self.semantic_fusion([x, fused])
            x = self.res4.tail(x)
        if beside is not None:
            x = torch.cat((x, beside), dim=1)
        res5a = self.res5.head(x)
        x = res5a
        if self.past_fusion is not None:
            assert past_5a is not None
            x = self.past_fusion([x, past_5a])
        pose_B7, features = self.head(self.res5.tail(x))
        return pose_B7, self.scale_head(features), res5a
