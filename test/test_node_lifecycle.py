"""The node as its own process, over DDS: transitions, bad models, and what a machine lacks."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lasting_node import lasting_node, unconfigured
from random_camera_models import random_model
from ros_peers import (
    Peer,
    isolate,
)

from vlocnetpp_ros import environment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return random_model(folder / "random.ts")


@pytest.fixture(scope="module")
def lasting_peer(folder: Path, model: Path) -> Iterator[Peer]:
    isolate(folder)
    with lasting_node(folder, model) as peer:
        yield peer


@pytest.fixture
def peer(lasting_peer: Peer, model: Path) -> Peer:
    return unconfigured(lasting_peer, model)


def test_the_lifecycle_by_service_calls(peer: Peer) -> None:
    assert peer.state() == "unconfigured"
    assert peer.configure() and peer.state() == "inactive"
    assert peer.activate() and peer.state() == "active"
    assert peer.deactivate() and peer.state() == "inactive"
    assert peer.activate() and peer.deactivate()
    assert peer.cleanup() and peer.state() == "unconfigured"


def test_illegal_transitions_are_refused_and_change_nothing(peer: Peer) -> None:
    assert not peer.activate()
    assert not peer.deactivate()
    assert not peer.cleanup()
    assert peer.state() == "unconfigured"
    assert peer.configure() and not peer.configure()
    assert peer.state() == "inactive"
    assert peer.activate() and not peer.cleanup()
    assert peer.state() == "active"


def _foreign_zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"weights": [1.0]}))
    return data.getvalue()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda good: None, "no such file"),
        (lambda good: good[: len(good) // 2], "truncated"),
        (lambda good: b"", "truncated"),
        (lambda good: b"a text file", "not a model file"),
        (lambda good: pickle.dumps({"weights": [1.0]}), "not a model file"),
        (lambda good: _foreign_zip(), "metadata.json"),
    ],
    ids=["missing", "truncated", "empty", "text", "pickle", "foreign zip"],
)
def test_a_bad_model_fails_configure_with_the_reason_and_can_be_corrected(
    peer: Peer, model: Path, tmp_path: Path, spoil: Callable[[bytes], bytes | None], says: str
) -> None:
    bad = tmp_path / "bad.ts"
    if (content := spoil(model.read_bytes())) is not None:
        bad.write_bytes(content)
    assert peer.set_parameter("model", str(bad)).successful
    assert not peer.configure()
    assert peer.state() == "unconfigured"
    peer.wait(lambda: says in peer.diagnostics["message"], f"'{says}' on /diagnostics")
    assert str(bad) in peer.diagnostics["message"]
    assert peer.diagnostics["level"] == "2"
    if says == "no such file":
        assert peer.set_parameter("model", str(model)).successful
        assert peer.configure() and peer.activate()


def test_a_change_that_waits_for_the_next_configure_is_said_to(peer: Peer, folder: Path) -> None:
    assert peer.configure()
    assert peer.set_parameter("odom_frame", "elsewhere").successful
    try:
        said = "odom_frame: acts when the node is configured next"
        peer.wait(lambda: said in (folder / "node.log").read_text(), said)
    finally:
        assert peer.set_parameter("odom_frame", "odom").successful
        del peer.parameters["odom_frame"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("device", "cuda:97", "cuda:97"), ("device", "toaster", "toaster"), ("publish_tf", "map_to_odom", "tf2_ros")],
)
def test_what_this_machine_lacks_fails_configure_by_name(peer: Peer, name: str, value: str, says: str) -> None:
    if says == "tf2_ros" and environment.has("tf2_ros"):
        pytest.skip("tf2_ros is installed here")
    good = {"device": "cpu", "publish_tf": "none"}[name]
    assert peer.set_parameter(name, value).successful
    try:
        assert not peer.configure()
        peer.wait(lambda: says in peer.diagnostics["message"], f"'{says}' on /diagnostics")
    finally:
        assert peer.set_parameter(name, good).successful
        del peer.parameters[name]
