"""A run's figures as tables, JSON and a picture."""

from __future__ import annotations

from pathlib import Path

import torch

from vlocnetpp.reporting.files import replacing, write_json
from vlocnetpp.reporting.tables import Table
from vlocnetpp.speed.measure import Report

BAR, STREAM, LIMIT = "#0072B2", "#E69F00", "#333333"


def tables(report: Report) -> list[Table]:
    """Tables of the ways, of the machine's limit, and of the profile."""
    case, first = report.case, report.timings[0]
    where = f"{case.device} with {torch.get_num_threads()} threads" if case.device.type == "cpu" else str(case.device)
    height, width = case.image_size
    network = f"{case.config.view.height} x {case.config.view.width_px}"
    title = f"{case.name}, {network}, image {height} x {width}, {where}"
    rows = [
        [
            t.name,
            t.precision,
            *(f"{t.percentile(p):.1f}" for p in (50, 95, 99)),
            f"{1e3 * len(t.milliseconds) / sum(t.milliseconds):.1f}",
            f"{t.ratio(first):.2f}",
            f"{report.share_of_the_limit(t):.0%}",
            "not readable" if t.energy_j is None else f"{t.energy_j:.2f}",
            f"{t.difference:.0e}",
            f"{t.build_s:.0f}",
        ]
        for t in report.timings
    ]
    by = f"time by '{first.name}'"
    columns = ("way", "in", "p50 ms", "p95 ms", "p99 ms", "frames/s", by, "of limit", "J", "difference", "built in s")
    found = [Table(title, columns, rows)]
    if report.failed:
        found.append(Table("does not run here", ("way", "why"), list(report.failed.items())))
    limits = []
    for precision, limit in report.rooflines.items():
        limits += [
            [f"convolution 3x3, 128 channels, 64 x 112, {precision}", f"{limit.convolution_gmac_s:.1f}", "GMAC/s"],
            [f"matrix product, 1024, {precision}", f"{limit.product_gmac_s:.1f}", "GMAC/s"],
            ["copy", f"{limit.copy_gb_s:.1f}", "GB/s"],
        ]
    memory = [[name, f"{value:.1f}", "MB"] for name, value in report.memory_mb.items()]
    step = ["one step", f"{report.gmac:.2f}", "GMAC"]
    found.append(Table("what this machine can do", ("", "value", "unit"), [*limits, step, *memory]))
    whole = sum(report.streams_ms.values())
    streams = [[name, f"{value:.1f}", f"{value / whole:.0%}"] for name, value in report.streams_ms.items()]
    found.append(Table("eager, by stream", ("stream", "ms", "share"), [*streams, ["all", f"{whole:.1f}", "100%"]]))
    operators = [[name, f"{share:.1%}"] for name, share in report.operators.items()]
    found.append(Table(f"'{report.profiled}' by operator", ("operator", "share"), operators))
    return found


def write(report: Report, folder: Path) -> None:
    """`speed.json` and `speed.png`. Raises DataError if they cannot be written."""
    write_json(folder / "speed.json", report.to_json())
    plot(report, folder / "speed.png")


def plot(report: Report, path: Path) -> None:
    """Bars: p50 of each way up to p95, the time that the limit allows, and the streams of the eager step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(len(report.timings), len(report.streams_ms))
    figure = Figure(figsize=(9.0, 1.3 + 0.34 * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    names = [t.name for t in report.timings]
    p50 = [t.percentile(50) for t in report.timings]
    beyond = [t.percentile(95) - middle for t, middle in zip(report.timings, p50)]
    left.barh(names, p50, xerr=[[0.0] * len(p50), beyond], color=BAR, capsize=3)
    for (precision, limit), line in zip(report.rooflines.items(), ("--", ":", "-.")):
        least = report.gmac / limit.convolution_gmac_s * 1e3
        left.axvline(least, color=LIMIT, linestyle=line, label=f"at the rate of a large convolution, {precision}")
    left.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False)
    left.set(xlabel="one step, p50 to p95 [ms]", title=f"{report.case.name}, by way")
    right.barh(list(report.streams_ms), list(report.streams_ms.values()), color=STREAM)
    right.set(xlabel="eager step, p50 [ms]", title="by stream")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    with replacing(path) as partial:
        figure.savefig(partial)
