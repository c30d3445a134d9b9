"""Choice of frames that represent a split."""

from __future__ import annotations

import numpy as np


def spread(total: int, wanted: int) -> list[int]:
    """Up to `wanted` different indices below `total`, evenly spread, each from the middle of its interval."""
    count = min(total, wanted)
    return ((np.arange(count) + 0.5) * total / max(count, 1)).astype(int).tolist()
