"""Visual odometry: two streams to the end of Res4, concatenated, Res5, and the pose of the current camera in the last.

The previous frame's stream is not run again: its Res4f comes from the state, so that it costs nothing while streaming.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlocnetpp.network.blocks.heads import PoseHead
from vlocnetpp.network.blocks.units import Front, Stage


def identity_where_cold(relative_B7: Tensor, valid_B: Tensor) -> Tensor:
    """A motion (B, 7), or none where there was no frame before."""
    identity = torch.zeros_like(relative_B7)
    identity[:, 3].fill_(1.0)  # see normalize_quaternion
    return torch.where(valid_B.unsqueeze(1) > 0, relative_B7, identity)


class PastStream(nn.Module):
    """The untied variant's separate stream, which prepares the current image for its role as previous image in the next
    step.
    """

    def __init__(self, width: float, activation: str) -> None:
        super().__init__()
        self.front = Front(3, width, activation)
        self.res4 = Stage("res4", self.front.out_channels, width, activation, stride=2)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        return self.res4(self.front(image_B3HW))


class OdometryStream(nn.Module):
    """From Res3 of the current frame and the previous Res4f to inv(T_{t-1}) @ T_t.

    Args:
        tied: whether both frames share one stream, so that the previous frame costs nothing while streaming.
        spread: size of the training motions, metres.
    """

    def __init__(
        self, in_channels: int, width: float, activation: str, dropout: float, tied: bool, spread: float
    ) -> None:
        super().__init__()
        self.res4 = Stage("res4", in_channels, width, activation, stride=2)
        self.past = None if tied else PastStream(width, activation)
        self.res5 = Stage("res5", 2 * self.res4.out_channels, width, activation, stride=2)
        self.head = PoseHead(self.res5.out_channels, width, activation, dropout, spread=spread)

    def forward(self, res3: Tensor, image_B3HW: Tensor, past_4f: Tensor, valid_B: Tensor) -> tuple[Tensor, Tensor]:
        """Relative pose (B, 7), the identity at a cold start, and the map (B, 1024, H/16, W/16) for the next step."""
        res4f = self.res4(res3)
        known = valid_B[:, None, None, None]
        relative_B7, _ = self.head(self.res5(torch.cat((res4f, past_4f * known), dim=1)))
        relative_B7 = identity_where_cold(relative_B7, valid_B)
        if self.past is not None:
            res4f = self.past(image_B3HW)
        return relative_B7, res4f
