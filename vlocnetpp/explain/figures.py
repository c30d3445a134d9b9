"""Helpers that all figures of this package share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vlocnetpp.reporting.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, gap: float = 0.02) -> Figure:
    """An empty figure of this size in inches, whose layout makes room for all its parts.

    gap: between columns, in parts of a column's width.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=gap))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path, pdf: bool) -> None:
    """Write the PNG `path` and, if wanted, a PDF beside it. Raises DataError if a file cannot be written."""
    for each in (path, path.with_suffix(".pdf")) if pdf else (path,):
        # Without a timestamp, equal pictures are equal files.
        about = {"CreationDate": None} if each.suffix == ".pdf" else {}
        with replacing(each) as partial:
            figure.savefig(partial, dpi=150, metadata=about)
