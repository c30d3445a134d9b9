"""Poses from a separate file, written by an offline SLAM, a total station or a motion capture system.

TUM text is `stamp tx ty tz qx qy qz qw` between blanks. A CSV either has the same columns in this order or names them
in a first line, as EuRoC's ground truth and flattened ROS messages do; these may have nanoseconds in a column of their
own. Stamps are seconds; whole numbers of 12 digits and more are milli-, micro- or nanoseconds.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.layouts.text_files import numbers, read_text
from vlocnetpp.data.layouts.tum_rgbd import stamp_of
from vlocnetpp.data.poses import known_pose, note_of_lost
from vlocnetpp.errors import DataError

ORDER = ("stamp", "x", "y", "z", "qx", "qy", "qz", "qw")
LEAST_UNIT_DIGITS = 12
"""A whole number with so many digits is no number of seconds."""
NANOSECONDS = ("nanosec", "nanosecs", "nsec", "nsecs")
"""Ends of the names of a column that adds to one of seconds."""
UNITS_NS = {10: 1_000_000_000, 13: 1_000_000, 16: 1_000, 19: 1}
"""Digits of a whole number that is a time of today -> nanoseconds that it counts."""


def read_pose_file(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[str, ...]]:
    """Stamps (N,) in nanoseconds in rising order, poses (N, 7) with NaN for lines that are no pose, and notes.

    Raises DataError, naming file and line, for any other content.
    """
    columns: tuple[int, ...] | None = None
    nanoseconds: int | None = None
    strict = False
    found: dict[int, NDArray[np.float64]] = {}
    lost: list[str] = []
    given = 0
    for number, line in enumerate(read_text(path).splitlines(), 1):
        where, text = f"{path}:{number}", line.strip()
        cells = [cell.strip() for cell in (text.split(",") if "," in text else text.lstrip("# ").split())]
        if not text or (text.startswith("#") and not _named(cells)):
            continue
        if columns is None:
            columns = _named(cells)
            if columns is not None:
                nanoseconds, strict = _nanoseconds(cells, columns[0]), True
                if nanoseconds is None:
                    nanoseconds, strict = _only_nanoseconds(cells), False
                continue
            columns = tuple(range(len(ORDER)))
        if text.startswith("#"):
            continue
        if len(cells) <= max(columns):
            raise DataError(f"{where}: has {len(cells)} columns instead of {max(columns) + 1}, {' '.join(ORDER)}")
        stamp, *values = (cells[column] for column in columns)
        if nanoseconds is not None and nanoseconds < len(cells):
            whole = stamp.isdecimal() and cells[nanoseconds].isdecimal()
            if strict and not whole:
                raise DataError(f"{where}: '{stamp}' and '{cells[nanoseconds]}' are not whole seconds and nanoseconds")
            if strict or (whole and len(stamp) < LEAST_UNIT_DIGITS):
                stamp = f"{stamp}.{cells[nanoseconds]:0>9}"
        x, y, z, qx, qy, qz, qw = numbers(values, where)
        given += 1
        pose = known_pose((x, y, z, qw, qx, qy, qz), where, lost)
        found.setdefault(_stamp(stamp, where), np.full(7, np.nan) if pose is None else pose)
    if not found:
        raise DataError(f"{path}: has no pose; a line is '{' '.join(ORDER)}', or commas between, with a line of names")
    stamps = sorted(found)
    notes = note_of_lost(lost, given)
    if len(found) < given:
        notes += (f"{path}: {given - len(found)} of {given} poses have a stamp that is there before",)
    return np.array(stamps, np.int64), np.array([found[stamp] for stamp in stamps]), notes


def _stamp(text: str, where: str) -> int:
    if text.isdecimal() and len(text) >= LEAST_UNIT_DIGITS:
        digits = min(UNITS_NS, key=lambda count: abs(count - len(text)))
        return int(text) * UNITS_NS[digits]
    return stamp_of(text, where)


def _words(cells: list[str]) -> list[str]:
    return [re.sub(r"\[.*?\]|[^a-z]", "", cell.lower()) for cell in cells]


def _nanoseconds(cells: list[str], stamp: int) -> int | None:
    """The column of the nanoseconds that belong to a column of whole seconds: `header.stamp.nsecs` to
    `header.stamp.secs`, and not to another clock beside them."""
    words = _words(cells)
    whole = re.fullmatch(r"(.*?)secs?", words[stamp])
    names = [f"{whole[1]}{ending}" for ending in NANOSECONDS] if whole is not None else []
    return next((place for place, name in enumerate(words) if name in names), None)


def _only_nanoseconds(cells: list[str]) -> int | None:
    """The only column of nanoseconds, beside a column of seconds that is not named so, such as `timestamp`."""
    places = [place for place, name in enumerate(_words(cells)) if name.endswith(NANOSECONDS)]
    return places[0] if len(places) == 1 else None


def _named(cells: list[str]) -> tuple[int, ...] | None:
    """Where each of `ORDER` stands if the cells are names of all of them, else None."""
    places: dict[str, int] = {}
    for place, name in enumerate(_words(cells)):
        if name.endswith(NANOSECONDS):
            continue
        turn = name.startswith("q") or "orientation" in name or "rotation" in name or "quat" in name
        way = "position" in name or "translation" in name or name in ("x", "y", "z") or name[:1] in ("t", "p")
        if ("time" in name or "stamp" in name or name in ("t", "sec", "secs")) and "stamp" not in places:
            places["stamp"] = place
        elif turn and name[-1:] in ("x", "y", "z", "w"):
            places.setdefault(f"q{name[-1]}", place)
        elif way and name[-1:] in ("x", "y", "z"):
            places.setdefault(name[-1], place)
    # Seconds with nanoseconds are a header's stamp; another column of times beside them is when it was recorded.
    paired = [place for place in range(len(cells)) if _nanoseconds(cells, place) is not None]
    places |= {"stamp": paired[0]} if paired else {}
    return tuple(places[key] for key in ORDER) if set(ORDER) <= set(places) else None
