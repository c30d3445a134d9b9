"""Networks by name: `create("mtl", "tiny")`. `models` has one file for each paper, `blocks` what they share."""

from vlocnetpp.network.config import WIDTHS, NetworkConfig, SceneConfig, Traits, ViewConfig
from vlocnetpp.network.contract import Entry, Network, cold_state_of
from vlocnetpp.network.registry import build_network, config_from_json, config_to_json, configure, create, names

__all__ = [
    "WIDTHS",
    "Entry",
    "Network",
    "NetworkConfig",
    "SceneConfig",
    "Traits",
    "ViewConfig",
    "build_network",
    "cold_state_of",
    "config_from_json",
    "config_to_json",
    "configure",
    "create",
    "names",
]
