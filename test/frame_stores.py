"""Frame stores of a tiny dataset, for tests of what is read from them."""

from __future__ import annotations

from pathlib import Path

from vlocnetpp.data import open_dataset
from vlocnetpp.network import NetworkConfig, configure
from vlocnetpp.training.clips import FrameStore, open_store


def network(**settings) -> NetworkConfig:
    """A small `mtl` that sees the whole image, with other settings where given."""
    return configure("mtl", 0.125, **{"height": 64, "width_px": 96, "resize": "whole", "classes": 3, **settings})


WHOLE = network()
CROP = network(height=32, width_px=32, resize="crop")


def opened(root: Path, cache: Path | None = None, config=WHOLE, **options) -> FrameStore:
    return open_store(open_dataset(root).sequences("train"), config, "loading", cache, **options)
