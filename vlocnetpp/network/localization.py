"""Global pose regression: Res4, Res5 and the head, with the past and the semantics fused on the way."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlocnetpp.network.fusion import FUSIONS
from vlocnetpp.network.heads import PoseHead, ScaleHead
from vlocnetpp.network.presets import NetworkConfig
from vlocnetpp.network.units import Stage, scaled

POSE_CHANNELS = 4


class PoseMap(nn.Module):
    """VLocNet 2018: the previous pose through an inner-product layer, reshaped to maps beside Res4f."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.fc = nn.Linear(7, POSE_CHANNELS * height * width)

    def forward(self, pose_B7: Tensor, valid_B: Tensor) -> Tensor:
        """(B, 4, H/16, W/16), zero at a cold start."""
        maps = self.fc(pose_B7.to(self.fc.weight.dtype)) * valid_B.unsqueeze(1)
        return maps.unflatten(1, (-1, self.height, self.width))


class LocalizationStream(nn.Module):
    """From Res3 of the current frame to its pose.

    Fusions: segmentation's Res5c into Res4c (`semantics: fuse`) or beside Res4f (`concat`); the previous frame's Res5a
    into Res5a (`past: features`); the previous prediction beside Res4f (`past: pose`).
    """

    def __init__(self, config: NetworkConfig, in_channels: int) -> None:
        super().__init__()
        c, width = config, config.width
        channels_5c = scaled(2048, width)
        fuses = c.semantics == "fuse"
        self.res4 = None
        self.semantic_fusion = None
        channels_4f = in_channels
        if c.semantics != "shared":
            split = "abcdef".index(c.semantic_site[1]) + 1 if fuses else 0
            self.res4 = Stage("res4", in_channels, width, c.activation, stride=2, split=split)
            channels_4f = self.res4.out_channels
            if fuses:
                self.semantic_fusion = FUSIONS[c.fusion]([channels_4f, channels_5c], channels_4f)
        self.concat_semantics = c.semantics == "concat"
        self.pose_map = PoseMap(c.height // 16, c.width_px // 16) if c.past == "pose" else None
        beside = channels_5c * self.concat_semantics + POSE_CHANNELS * (self.pose_map is not None)
        self.res5 = Stage("res5", channels_4f + beside, width, c.activation, stride=2, split=1)
        channels_5a = self.res5.out_channels
        self.past_fusion = FUSIONS[c.fusion]([channels_5a, channels_5a], channels_5a) if c.past == "features" else None
        self.head = PoseHead(channels_5a, width, c.activation, c.dropout, c.position_centre, c.position_spread)
        self.scale_head = ScaleHead(width)

    def forward(
        self, x: Tensor, semantics_5c: Tensor, past_5a: Tensor, past_pose_B7: Tensor, valid_B: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pose (B, 7), its log-scales (B, 2), and Res5a before its fusion, for the next step."""
        if self.res4 is not None:
            x = self.res4.head(x)
            if self.semantic_fusion is not None:
                x = self.semantic_fusion([x, semantics_5c])
            x = self.res4.tail(x)
        if self.concat_semantics:
            x = torch.cat((x, semantics_5c), dim=1)
        if self.pose_map is not None:
            x = torch.cat((x, self.pose_map(past_pose_B7, valid_B)), dim=1)
        res5a = self.res5.head(x)
        x = res5a
        if self.past_fusion is not None:
            x = self.past_fusion([x, past_5a * valid_B[:, None, None, None]])
        pose_B7, features = self.head(self.res5.tail(x))
        return pose_B7, self.scale_head(features), res5a
