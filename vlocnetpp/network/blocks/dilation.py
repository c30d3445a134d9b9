"""Dilation rates of AdapNet's multi-scale units: the tables, and the rates that fit an input's feature map."""

from __future__ import annotations

Dilations = dict[str, dict[str, tuple[int, int]]]
"""By stage and letter of the unit: the rates of both halves of its 3x3 filters."""
PRINTED: Dilations = {
    "res3": {"d": (1, 2)},
    "res4": {"c": (1, 2), "d": (1, 4), "e": (1, 8), "f": (1, 16)},
    "res5": {"a": (2, 4), "b": (2, 8), "c": (2, 16)},
}
"""Of the paper."""
RELEASED: Dilations = {
    "res3": {"d": (1, 2)},
    "res4": dict.fromkeys("cdef", (1, 2)),
    "res5": dict.fromkeys("abc", (2, 2)),
}
"""Of the code that AdapNet's authors have published."""
PLAIN: Dilations = {"res3": {}, "res4": {}, "res5": {}}
"""No multi-scale unit."""
TABLES = {"map": PRINTED, "printed": PRINTED, "released": RELEASED}
"""By the setting `rates`."""
STRIDES = {"res3": 8, "res4": 16, "res5": 16}
"""Of the maps on which the units work."""


def dilations(rates: str, height: int, width: int) -> Dilations:
    """The rates at an input of this size, by a name of `TABLES`.

    `map` takes the paper's and halves those whose taps would lie outside of the map for every pixel: such a tap reads
    zeros alone and never learns.
    """
    table = TABLES[rates]
    if rates != "map":
        return table
    return {
        stage: {
            letter: (fitting(a, height // STRIDES[stage], width // STRIDES[stage]),
                     fitting(b, height // STRIDES[stage], width // STRIDES[stage]))
            for letter, (a, b) in units.items()
        }
        for stage, units in table.items()
    }  # fmt: skip


def fitting(rate: int, height: int, width: int) -> int:
    """The rate, halved until a tap so far from its pixel lies within a map of this size for some pixel; at least 1."""
    while rate > 1 and rate >= min(height, width):
        rate //= 2
    return rate
