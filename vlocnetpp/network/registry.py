"""All networks by name, and a configuration or a network made from a name.

To add one: a file in `models` with its `ENTRIES`, and its name in the two lines below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vlocnetpp.errors import ConfigError, nearest
from vlocnetpp.network.config import WIDTHS, NetworkConfig, SceneConfig, ViewConfig
from vlocnetpp.network.contract import Entry, Network
from vlocnetpp.network.models import (
    adapnet,
    bayesian_posenet,
    cnnbspp,
    deeplab,
    deepvo,
    dsac,
    dsacpp,
    fcn8s,
    hourglass_posenet,
    lbo,
    lstm_posenet,
    mapnet,
    nnnet,
    parsenet,
    posenet,
    posenet2,
    robot,
    scene_coordinates,
    segnet,
    svs_pose,
    upnet,
    vlocnet,
    vlocnetpp_presets,
)
from vlocnetpp.settings import build

MODELS = (
    *(robot, posenet, bayesian_posenet, lstm_posenet, hourglass_posenet, posenet2, svs_pose, nnnet, mapnet, vlocnet),
    *(
        vlocnetpp_presets,
        scene_coordinates,
        dsac,
        dsacpp,
        lbo,
        deepvo,
        cnnbspp,
        adapnet,
        fcn8s,
        segnet,
        upnet,
        parsenet,
        deeplab,
    ),
)
ENTRIES: dict[str, Entry] = {entry.name: entry for module in MODELS for entry in module.ENTRIES}
"""By name, in the order of tables."""


def names() -> tuple[str, ...]:
    """Names of all networks."""
    return tuple(ENTRIES)


def entry(name: str) -> Entry:
    """What is registered under a name. Raises ConfigError for an unknown one, naming the nearest."""
    if name not in ENTRIES:
        raise ConfigError(f"preset '{name}' does not exist{nearest(name, ENTRIES)}; there are {', '.join(ENTRIES)}")
    return ENTRIES[name]


def configure(name: str, width: str | float = "full", **settings: Any) -> NetworkConfig:
    """The configuration of a network at a width, with single settings changed.

    Args:
        name: of `names()`.
        width: `tiny`, `full` or a share of the paper's channels.
        settings: fields of `ViewConfig`, `SceneConfig` or of the network's own settings.

    Raises:
        ConfigError: an unknown network, width or setting, naming the nearest one; a wrong type; a contradiction.
    """
    found = entry(name)
    if isinstance(width, str) and width not in WIDTHS:
        raise ConfigError(f"width '{width}' does not exist; there are {', '.join(WIDTHS)}, or a number")
    kinds = (ViewConfig, SceneConfig, found.settings)
    fields = [{field.name for field in dataclasses.fields(kind)} for kind in kinds]  # type: ignore[arg-type]
    for key in settings:
        known = sorted(set().union(*fields))
        if key not in known:
            raise ConfigError(f"network setting '{key}' does not exist for '{name}'{nearest(key, known)}")
    where = f"preset '{name}'"
    view, scene, own = ({key: value for key, value in settings.items() if key in names} for names in fields)
    return NetworkConfig(
        name,
        float(WIDTHS[width] if isinstance(width, str) else width),
        build(ViewConfig, view, where),
        build(SceneConfig, scene, where),
        build(found.settings, {**found.preset, **own}, where),
    )


def build_network(config: NetworkConfig) -> Network:
    """A network with fresh weights."""
    network: Network = entry(config.name).network(config)
    return network


def create(name: str, width: str | float = "full", **settings: Any) -> Network:
    """A network with fresh weights; arguments and errors as for `configure`."""
    return build_network(configure(name, width, **settings))


def config_to_json(config: NetworkConfig) -> dict[str, Any]:
    """Plain data of a configuration."""
    return dataclasses.asdict(config)


def config_from_json(data: Mapping[str, Any]) -> NetworkConfig:
    """The configuration that `config_to_json` wrote. Raises ConfigError where this version has no such network."""
    known = {field.name for field in dataclasses.fields(NetworkConfig)}
    for name in sorted(known ^ set(data)):
        raise ConfigError(f"the network's configuration has {'no' if name in known else 'an unknown'} '{name}'")
    return NetworkConfig(
        data["name"],
        float(data["width"]),
        build(ViewConfig, data["view"], "view"),
        build(SceneConfig, data["scene"], "scene"),
        build(entry(data["name"]).settings, data["settings"], "settings"),
    )
