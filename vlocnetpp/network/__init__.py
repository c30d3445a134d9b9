"""What the paper defines: residual units, adaptive fusion, warping, the streams, and their wiring by preset."""

from vlocnetpp.network.multitask import VLocNetPlusPlus
from vlocnetpp.network.presets import PRESETS, WIDTHS, NetworkConfig, network_config

__all__ = ["PRESETS", "WIDTHS", "NetworkConfig", "VLocNetPlusPlus", "network_config"]
