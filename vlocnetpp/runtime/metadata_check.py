"""Checks of a model file's metadata: types, ranges and consistency, with a message of one line."""

from __future__ import annotations

import math
from typing import Any

MOST = 8192
"""Limit for rows and columns of an input, and for sizes in a state."""
TASKS = ("localization", "odometry", "segmentation")


def problem(data: Any) -> str | None:
    """The first fault of a `model_file.Metadata` in a few words, or None."""
    checks = (
        ("format", _whole(data.format, 1, 10**6), "a number from 1"),
        ("preset", _text(data.preset), "a short text"),
        ("tasks", _list(data.tasks) and len(data.tasks) > 0 and set(data.tasks) <= set(TASKS), " or ".join(TASKS)),
        ("input_height", _whole(data.input_height, 1, MOST), f"a number from 1 to {MOST}"),
        ("input_width", _whole(data.input_width, 1, MOST), f"a number from 1 to {MOST}"),
        ("resize", data.resize in ("whole", "crop"), "whole or crop"),
        ("state_shapes", _shapes(data.state_shapes), "names with sizes"),
        ("K_33", _intrinsics(data.K_33), "3 x 3 intrinsics"),
        ("classes", _classes(data.classes), "up to 255 names with RGB colours"),
        ("map_frame", _text(data.map_frame) and bool(data.map_frame), "the name of a frame"),
        ("position_min_3", _bounds(data.position_min_3, data.position_max_3), "finite and below position_max_3"),
        ("calibration_2", _positive(data.calibration_2, 2), "two positive numbers"),
        (
            "motion_calibration_2",
            len(data.motion_calibration_2) == 0 or _positive(data.motion_calibration_2, 2),
            "two positive numbers or none",
        ),
        ("limits", _limits(data.limits), "names with positive numbers"),
        ("dataset", isinstance(data.dataset, dict), "an object"),
        ("metrics", isinstance(data.metrics, dict), "an object"),
        ("network", isinstance(data.network, dict), "an object"),
        ("precision", data.precision in ("fp32", "fp16", "bf16"), "fp32, fp16 or bf16"),
        ("attribution", _list(data.attribution), "a list of texts"),
        ("gmac", _number(data.gmac) and data.gmac >= 0, "a number from 0"),
    )
    for name, holds, what in checks:
        if not holds:
            return f"{name} is {str(getattr(data, name))[:60]!r}, it must be {what}"
    return None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 200


def _list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)


def _numbers(value: Any, count: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == count and all(map(_number, value))


def _positive(value: Any, count: int) -> bool:
    return _numbers(value, count) and min(value) > 0


def _shapes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(shape, (list, tuple)) and len(shape) <= 6 and all(_whole(size, 0, MOST) for size in shape)
        for shape in value.values()
    )


def _intrinsics(value: Any) -> bool:
    rows = isinstance(value, (list, tuple)) and len(value) == 3 and all(_numbers(row, 3) for row in value)
    return rows and value[0][0] > 0 and value[1][1] > 0


def _classes(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) <= 255
        and all(
            isinstance(each, (list, tuple))
            and len(each) == 2
            and _text(each[0])
            and isinstance(each[1], (list, tuple))
            and len(each[1]) == 3
            and all(_whole(level, 0, 255) for level in each[1])
            for each in value
        )
    )


def _bounds(low: Any, high: Any) -> bool:
    if low == () and high == ():
        return True
    return _numbers(low, 3) and _numbers(high, 3) and all(a <= b for a, b in zip(low, high))


def _limits(value: Any) -> bool:
    return isinstance(value, dict) and all(_number(limit) and limit > 0 for limit in value.values())
