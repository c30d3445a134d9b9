"""Sentences on the results, generated from the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vlocnetpp.benchmark.rows import Row
from vlocnetpp.benchmark.significance import Comparison, compare_medians
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.tables import Table, format_cell


class Duel(NamedTuple):
    """A trained method against a rival that needs no network, on the same frames."""

    method: str
    rival: str
    metres: Comparison
    degrees: Comparison


RIVALS = ("retrieval", "PnP")
"""Kinds of peers that trained methods are compared with, by a word of their names: the best of each kind. A SCoRe
forest is of neither: it reads the depth of the image that it locates."""


def rivals(rows: Sequence[Row]) -> list[Row]:
    """The peer with the smallest median position error of each kind."""
    found = []
    for word in RIVALS:
        kind = [row for row in rows if row.errors and not row.learned and not row.greyed and word in row.name]
        if kind:
            found.append(_smallest(kind, "median_translation_m"))
    return found


def duels(rows: Sequence[Row]) -> list[Duel]:
    """Compare every trained method that localizes with the best peer of each kind."""
    found = []
    for rival in rivals(rows):
        for row in rows:
            if row.errors and row.learned and not row.greyed:
                metres = compare_medians([each.metres_N for each in row.errors], rival.errors[0].metres_N)
                degrees = compare_medians([each.degrees_N for each in row.errors], rival.errors[0].degrees_N)
                found.append(Duel(row.name, rival.name, metres, degrees))
    return found


def duel_table(found: Sequence[Duel]) -> Table:
    """The verdicts with the intervals they come from."""
    cells = [
        [
            duel.method,
            duel.rival,
            _interval(duel.metres),
            duel.metres.verdict,
            _interval(duel.degrees),
            duel.degrees.verdict,
        ]
        for duel in found
    ]
    columns = ("method", "against", "median [m]: difference (95 %)", "in metres", "median [deg]: difference (95 %)")
    return Table("Paired bootstrap", (*columns, "in degrees"), cells)


def as_json(duel: Duel) -> dict[str, Any]:
    """Differences, intervals and verdicts for programs."""
    units = {"m": duel.metres, "deg": duel.degrees}
    compared = {unit: {**each._asdict(), "verdict": each.verdict} for unit, each in units.items()}
    return {"method": duel.method, "against": duel.rival, **compared}


def winners(rows: Sequence[Row], found: Sequence[Duel]) -> list[str]:
    """The best method for localization, whether it was trained, and the gain of training over each rival."""
    ranked = [row for row in rows if row.errors and not row.greyed]
    if not ranked:
        return []
    lines = [
        "Best median position: " + _winner(ranked, "median_translation_m", "m"),
        "Best median orientation: " + _winner(ranked, "median_rotation_deg", "deg"),
    ]
    best = max(ranked, key=lambda row: row.mean("localization", "recall_5cm_5deg"))
    share = best.mean("localization", "recall_5cm_5deg")
    lines.append(
        f"Most frames within 5 cm and 5 deg: **{best.label}**, {100 * share:.1f} %."
        if share > 0
        else "No method has a frame within 5 cm and 5 deg."
    )
    for rival in dict.fromkeys(duel.rival for duel in found):
        mine = [duel for duel in found if duel.rival == rival]
        parts = []
        for unit in ("metres", "degrees"):
            counts = {verdict: [d.method for d in mine if getattr(d, unit).verdict == verdict] for verdict in VERDICTS}
            said = [f"{verdict}: {', '.join(names)}" for verdict, names in counts.items() if names]
            parts.append(f"in {unit} {'; '.join(said)}")
        lines.append(f"Trained methods against {rival}: " + ". And ".join(parts) + ".")
    return lines


def nearest(rows: Sequence[Row]) -> str:
    """The method with the smallest median position error, and the best of the other kind; empty where no method
    localizes.
    """
    ranked = [row for row in rows if row.errors and not row.greyed]
    return _winner(ranked, "median_translation_m", "m") if ranked else ""


def _winner(ranked: Sequence[Row], figure: str, unit: str) -> str:
    best = _smallest(ranked, figure)
    kind = "which was trained here" if best.learned else "which needs no network"
    line = f"**{best.label}**, {kind}, with {_with_unit(best, figure, unit)}."
    others = [row for row in ranked if row.learned != best.learned]
    if others:
        other = _smallest(others, figure)
        of = "without a network" if best.learned else "of those trained here"
        line += f" The best {of} is {other.label} with {_with_unit(other, figure, unit)}."
    return line


def costs(rows: Sequence[Row]) -> list[str]:
    """Size and latency of the best method of each kind."""
    ranked = [row for row in rows if row.errors and not row.greyed]
    parts = []
    for learned in (True, False):
        kind = [row for row in ranked if row.learned == learned]
        if kind:
            best = _smallest(kind, "median_translation_m")
            sizes = [record.size_bytes / 1e6 for record in best.records if record.size_bytes is not None]
            carried = f" and carries {format_cell(float(np.mean(sizes)))} MB" if sizes else ""
            parts.append(f"{best.name} answers in {format_cell(best.mean('latency_ms', 'p50'))} ms (p50){carried}")
    return ["; ".join(parts) + "."] if parts else []


VERDICTS = ("better", "worse", "not separable")


def leak_gap(fed: Row, own: Row) -> str:
    """The apparent error of a network that was fed the previous true pose, beside its error without."""
    truth, itself = (_both(row) for row in (fed, own))
    return (
        f"{fed.name}, fed the true pose of the frame before, shows {truth}; {own.name}, fed its own prediction, "
        f"{itself}. The difference is not skill: on a robot there is no truth to feed."
    )


def usefulness(row: Row, oracle: Row, distance_N: Floats) -> str:
    """Whether a method is more accurate than the nearest training pose, on the half of the frames farthest from
    training.
    """
    far = distance_N >= np.median(distance_N)
    mine = float(np.mean([np.median(each.metres_N[far]) for each in row.errors]))
    bound = float(np.median(oracle.errors[0].metres_N[far]))
    word = "less" if mine < bound else "not less"
    return (
        f"On the half of the frames farthest from the training poses, {row.name} errs by {format_cell(mine)} m in the "
        f"median, {word} than the nearest training pose itself with {format_cell(bound)} m: it "
        f"{'interpolates' if mine < bound else 'does no better than an ideal image retrieval there'}."
    )


def _both(row: Row) -> str:
    metres, degrees = (row.mean("localization", f) for f in ("median_translation_m", "median_rotation_deg"))
    return f"{format_cell(metres)} m and {format_cell(degrees)} deg"


def _with_unit(row: Row, figure: str, unit: str) -> str:
    return f"{format_cell(row.mean('localization', figure))} {unit}"


def _interval(c: Comparison) -> str:
    low, high = (f"{'+' if value > 0 else ''}{format_cell(value)}" for value in (c.low, c.high))
    return f"{'+' if c.difference > 0 else ''}{format_cell(c.difference)} ({low} to {high})"


def _smallest(rows: Sequence[Row], figure: str) -> Row:
    """The row that is best by a figure of localization; one without it comes last."""

    def last_if_nan(row: Row) -> float:
        value = row.mean("localization", figure)
        return value if value == value else float("inf")

    return min(rows, key=last_if_nan)
