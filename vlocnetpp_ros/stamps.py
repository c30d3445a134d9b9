"""Time messages to nanoseconds and back."""

from __future__ import annotations

from builtin_interfaces.msg import Time


def stamp_ns(stamp: Time) -> int:
    """Nanoseconds since the epoch."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def stamp_message(nanoseconds: int) -> Time:
    """A Time message of nanoseconds since the epoch."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)
