"""Resizing maps and images by `torch.nn.functional.interpolate`; in a model file by the operators that it calls.

Scripted, that function would bring its whole source into the file, with operators that older versions of PyTorch do not
have and refuse, used or not. The robot's PyTorch is often older than the trainer's.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def bilinear(map_BCHW: Tensor, height: int, width: int) -> Tensor:
    """(B, C, height, width), pixel centres kept in proportion (`align_corners=False`), without antialiasing."""
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return torch.ops.aten.upsample_bilinear2d(map_BCHW, [height, width], False)
    return F.interpolate(map_BCHW, size=(height, width), mode="bilinear", align_corners=False)


def antialiased(map_BCHW: Tensor, height: int, width: int) -> Tensor:
    """`bilinear` whose filter grows with the reduction, as Pillow has it."""
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return torch.ops.aten._upsample_bilinear2d_aa(map_BCHW, [height, width], False)
    return F.interpolate(map_BCHW, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


def nearest(map_BCHW: Tensor, height: int, width: int) -> Tensor:
    """(B, C, height, width), each pixel that of the nearest centre (`nearest-exact`): nothing is mixed."""
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return torch.ops.aten._upsample_nearest_exact2d(map_BCHW, [height, width])
    return F.interpolate(map_BCHW, size=(height, width), mode="nearest-exact")
