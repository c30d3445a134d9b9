"""docs/models.md, made from the registry: `vlocnetpp inspect --all > docs/models.md`."""

from __future__ import annotations

import torch

from vlocnetpp.network.config import Traits
from vlocnetpp.network.registry import ENTRIES, configure, create
from vlocnetpp.network.summary import gmac, parameters

HEAD = """# Networks

Made by `vlocnetpp inspect --all` from the registry (`vlocnetpp/network/registry.py`); do not edit. Parameters and
multiply-accumulates are of one step on one image of 224 x 224 at full width while streaming, with 10 classes. Published
figures are of other data and hardware, as the papers print them; nothing here has measured them.

| name | tasks | parameters M | GMAC | state | |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The page as Markdown."""
    rows, sections = [], []
    for name, entry in ENTRIES.items():
        config = configure(name, "full")
        traits: Traits = config.traits
        with torch.device("meta"):
            keeps = ", ".join(create(name, "tiny").state_shapes()) or "none"
        size = f"{parameters(config) / 1e6:.1f} | {gmac(config):.2f}"
        rows.append(f"| [{name}](#{name}) | {', '.join(traits.tasks)} | {size} | {keeps} | {entry.summary} |")
        lines = [f"## {name}", "", f"{entry.summary}.", ""]
        lines += [f"- Paper: {p.authors}, *{p.title}*, {p.venue} {p.year}" for p in entry.papers]
        lines.append(f"- Learns from: {', '.join(traits.labels)}")
        if entry.preset:
            lines.append("- Settings: " + ", ".join(f"`{key}: {_plain(v)}`" for key, v in entry.preset.items()))
        if entry.loss:
            lines.append("- Loss: " + ", ".join(f"`{key}: {_plain(v)}`" for key, v in entry.loss.items()))
        lines += [f"- Published, {where}: {figures}" for where, figures in entry.published]
        lines += [f"- Departs: {text}" for text in entry.departures]
        sections.append("\n".join(lines))
    return HEAD + "\n".join(rows) + "\n\n" + "\n\n".join(sections) + "\n"


def _plain(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
