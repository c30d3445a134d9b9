"""FAST corners (Rosten & Drummond, 2006) as a map, in plain tensor operations that script and export."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CIRCLE = (
    (0, -3), (1, -3), (2, -2), (3, -1), (3, 0), (3, 1), (2, 2), (1, 3),
    (0, 3), (-1, 3), (-2, 2), (-3, 1), (-3, 0), (-3, -1), (-2, -2), (-1, -3),
)  # fmt: skip
"""x and y of the 16 pixels round the middle one, in their order."""
ARC = 9
BORDER = 3


class FastCorners(nn.Module):
    """1 at pixels round which `ARC` consecutive pixels of the circle are all brighter, or all darker, by more than the
    threshold; else 0. Without suppression of neighbours.

    Args:
        threshold: of grey values, 0 to 255.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.circle = list(CIRCLE)
        self.arc, self.border = ARC, BORDER

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """(B, 1, H, W) of RGB, 0 to 255."""
        r, g, b = image_B3HW[:, 0], image_B3HW[:, 1], image_B3HW[:, 2]
        grey_BHW = torch.round(0.299 * r + 0.587 * g + 0.114 * b)
        edge = self.border
        height, width = grey_BHW.shape[1], grey_BHW.shape[2]
        middle = grey_BHW[:, edge : height - edge, edge : width - edge]
        differences: list[Tensor] = []
        for x, y in self.circle:
            ring = grey_BHW[:, edge + y : height - edge + y, edge + x : width - edge + x]
            differences.append(ring - middle)
        difference_B16HW = torch.stack(differences, dim=1)
        # The circle closes: its first pixels follow its last.
        closed = torch.cat((difference_B16HW, difference_B16HW[:, : self.arc - 1]), dim=1)
        brightest, darkest = torch.full_like(middle, -255.0), torch.full_like(middle, 255.0)
        for start in range(16):
            arc = closed[:, start : start + self.arc]
            brightest = torch.maximum(brightest, arc.amin(dim=1))
            darkest = torch.minimum(darkest, arc.amax(dim=1))
        corner = (brightest > self.threshold) | (darkest < -self.threshold)
        return F.pad(corner.to(image_B3HW.dtype), (edge, edge, edge, edge)).unsqueeze(1)
