"""Scene coordinates cell by cell: the point in the map that a cell of the feature map shows.

Shotton et al., Scene Coordinate Regression Forests, 2013; the head is that of ACE (Brachmann, Cavallari & Prisacariu,
2023): residual 1x1 convolutions, so that it can be trained on single cells of all images at once. As GLACE (Wang et
al., 2024) and R-SCoRe (Jiang et al., 2025) do, a descriptor of the whole image may stand beside the cell's own
features, which keeps places apart that look alike from near, such as two equal doors.

A cell is first assigned to regions of the place, then placed within them: its point is the mean of the regions'
centres, weighted by a softmax, plus an offset, as in GLACE's position decoder. Without regions one linear layer has to
resolve centimetres over the whole place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.geometry import back_project, pixel_grid

LEAST_LOG, LARGEST_LOG = -8.0, 2.0
"""Bounds of the log deviation, relative to the spread of the scene; the lower one to that of a region where there are
any."""
LEAST_SPREAD_M = 0.01
"""Smallest spread of a region, whose points may happen to be one."""


class Residual(nn.Module):
    """Two linear layers and the input."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden, hidden)
        self.fc2 = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.fc2(F.relu(self.fc1(x))))


class CellCoordinates(nn.Module):
    """Standardized features of cells to x, y, z in the map and the log of their deviation, metres.

    Args:
        channels: of the features of a cell.
        hidden: channels within.
        blocks: residual blocks.
        descriptor: channels of the descriptor of the whole image, made of the mean of its features; 0 for none. It
            enters the first layer, so that it decides which of several places a cell belongs to.
        centre, spread: of the scene's points, metres, so that the layers work on numbers near one.
        regions: number of them, whose centres `fit_regions` finds; 0 for one, at `centre`.
    """

    def __init__(
        self,
        channels: int,
        hidden: int = 320,
        blocks: int = 3,
        descriptor: int = 0,
        centre: tuple[float, ...] = (0.0, 0.0, 0.0),
        spread: float = 1.0,
        regions: int = 0,
    ) -> None:
        super().__init__()
        self.fc_in = nn.Linear(channels, hidden)
        self.describe = nn.Linear(channels, descriptor) if descriptor else None
        self.fc_descriptor = nn.Linear(descriptor, hidden, bias=False) if descriptor else None
        self.blocks = nn.Sequential(*(Residual(hidden) for _ in range(blocks)))
        self.fc_out = nn.Linear(hidden, 4)
        self.fc_region = nn.Linear(hidden, regions) if regions else None
        self.centre_R3: Tensor
        self.region_spread: Tensor
        if regions:
            self.register_buffer("centre_R3", torch.tensor([centre] * regions, dtype=torch.float32))
            self.register_buffer("region_spread", torch.full((1,), float(spread)))
        self.cx, self.cy, self.cz = (float(value) for value in centre)
        self.spread = float(spread)
        self.least, self.largest = LEAST_LOG, LARGEST_LOG
        self.largest_of_scene = LARGEST_LOG + math.log(self.spread)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset the last layer: every cell then predicts the centre of the scene with a deviation of its spread."""
        nn.init.normal_(self.fc_out.weight, std=0.1 / self.fc_out.in_features**0.5)
        nn.init.zeros_(self.fc_out.bias)
        if self.fc_region is not None:
            nn.init.normal_(self.fc_region.weight, std=0.1 / self.fc_region.in_features**0.5)
            nn.init.zeros_(self.fc_region.bias)

    @torch.jit.ignore
    def fit_regions(self, points_N3: Tensor, rounds: int = 20) -> None:
        """Set the regions' centres and their spread by k-means on points of the map, always the same for the same
        points. Without regions, nothing.

        Centres are rounded to eight digits of mantissa, so that a file in half precision has the very same ones.
        """
        if self.fc_region is None:
            return
        count = len(self.centre_R3)
        generator = torch.Generator().manual_seed(0)
        points_N3 = points_N3.float()
        centre_R3 = points_N3[torch.randint(len(points_N3), (count,), generator=generator)]
        for _ in range(rounds):
            nearest_N = torch.cdist(points_N3, centre_R3).argmin(dim=1)
            total_R3 = torch.zeros_like(centre_R3).index_add_(0, nearest_N, points_N3)
            members_R1 = torch.bincount(nearest_N, minlength=count).unsqueeze(1)
            centre_R3 = torch.where(members_R1 > 0, total_R3 / members_R1.clamp_min(1), centre_R3)
        away_N = (points_N3 - centre_R3[torch.cdist(points_N3, centre_R3).argmin(dim=1)]).square().mean(dim=1)
        self.centre_R3.copy_(centre_R3.bfloat16())
        self.region_spread.copy_(away_N.mean().sqrt().clamp_min(LEAST_SPREAD_M).bfloat16())

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """(B, 4, H, W) of a whole map (B, C, H, W), in full precision."""
        cells_BNC = features_BCHW.flatten(2).transpose(1, 2)
        found_BN4 = self.of_cells(cells_BNC, cells_BNC.mean(dim=1, keepdim=True))
        return found_BN4.transpose(1, 2).unflatten(2, (features_BCHW.shape[2], features_BCHW.shape[3]))

    def of_cells(self, cells_NC: Tensor, pooled_NC: Tensor) -> Tensor:
        """(..., 4) of cells (..., C) whose images have the mean features (..., C), which broadcast against them."""
        return self.output(self.hidden(cells_NC, pooled_NC))

    def hidden(self, cells_NC: Tensor, pooled_NC: Tensor) -> Tensor:
        """All layers before the last; they may run in half precision."""
        x = self.fc_in(cells_NC)
        if self.describe is not None and self.fc_descriptor is not None:
            x = x + self.fc_descriptor(F.relu(self.describe(pooled_NC)))
        return self.blocks(F.relu(x))

    def output(self, x: Tensor) -> Tensor:
        """The last layer, in full precision: half precision cannot resolve millimetres at coordinates of several
        metres.
        """
        if x.dtype == torch.float16 or x.dtype == torch.bfloat16:
            x = x.float()
        raw = F.linear(x, self.fc_out.weight.to(x.dtype), self.fc_out.bias.to(x.dtype))
        to_regions = self.fc_region
        if to_regions is not None:
            logits = F.linear(x, to_regions.weight.to(x.dtype), to_regions.bias.to(x.dtype))
            spread_1 = self.region_spread.to(x.dtype)
            point = torch.matmul(torch.softmax(logits, dim=-1), self.centre_R3.to(x.dtype)) + raw[..., :3] * spread_1
            # In a wrong region a point is off by the size of the place.
            scale = (raw[..., 3:].clamp_min(self.least) + torch.log(spread_1)).clamp(max=self.largest_of_scene)
            return torch.cat((point, scale), dim=-1)
        x, y, z, scale = raw.unbind(-1)
        spread = self.spread
        log_spread = torch.log(torch.full_like(scale, spread))
        scale = scale.clamp(self.least, self.largest) + log_spread
        return torch.stack((x * spread + self.cx, y * spread + self.cy, z * spread + self.cz, scale), dim=-1)


def cell_rays(K_B33: Tensor, rows: int, columns: int, stride: int) -> Tensor:
    """Unit vectors (B, rows * columns, 3) in the camera through the middle pixel of each cell of a map.

    Args:
        K_B33: intrinsics of the images, whose sizes are those of the map times the stride.
    """
    middles = pixel_grid(rows, columns, K_B33)[None] * stride + stride // 2
    ones = torch.ones((K_B33.shape[0], 1, rows, columns), dtype=K_B33.dtype, device=K_B33.device)
    return F.normalize(back_project(middles, ones, K_B33).flatten(1, 2), dim=2)
