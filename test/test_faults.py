"""The fault matrix: whatever goes wrong, the node says so, publishes nothing false, and answers the next good image.

Every row runs against the real node in its own process over DDS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults import (
    COMPRESSED,
    DEPTH,
    RAW,
    Fault,
    good_depth,
    ungate,
)
from random_camera_models import random_model, trapped_model
from ros_peers import (
    DEPTH_TOPIC,
    Peer,
    isolate,
    running,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def peer(folder: Path) -> Iterator[Peer]:
    isolate(folder)
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest, peer: Peer, folder: Path) -> Iterator[Peer]:
    """One process for all rows of a kind; the kinds follow each other: two nodes of one name would both answer."""
    kind = request.param
    parameters: dict[str, object] = {
        "raw": lambda: {"model": str(trapped_model(folder / "trapped.ts")), "image_contrast": 0.0},
        "compressed": lambda: {"model": str(random_model(folder / "any.ts")), "image_transport": "compressed"},
        "depth": lambda: {"model": str(random_model(folder / "deep.ts", "mtl", depth="sensor")),
                          "depth_topic": DEPTH_TOPIC},
    }[kind]()  # fmt: skip
    with running(peer, folder / kind, **parameters) as it:
        # Whatever row comes first, it finds a node that has answered an image.
        GOOD[kind](it)
        it.wait_for_answer(it.stamp_ns)
        yield it


def hold_against(fault: Fault, peer: Peer, good: Callable[[Peer], None]) -> None:
    """Inject, see what the node says, and have the next good image answered and every image accounted for."""
    peer.refresh()
    before = dict(peer.diagnostics)

    def more(key: str) -> bool:
        return peer.count(key) > int(before.get(key, "0"))

    poses = set(peer.received["pose"])
    fault.inject(peer)
    suspect = peer.stamp_ns
    if fault.dropped:
        peer.wait(lambda: more(f"dropped/{fault.dropped}"), f"dropped/{fault.dropped}")
        peer.refresh()
        text = peer.diagnostics["message"] + peer.diagnostics.get("last_drop", "")
        assert fault.says in text
        if fault.dropped != "no depth of its stamp":  # there the good image after it is in already
            assert suspect not in set(peer.received["pose"]) - poses, "a dropped image is not answered"
    if fault.withheld:
        peer.wait(lambda: more(f"withheld/{fault.withheld}"), f"withheld/{fault.withheld}")
        assert peer.diagnostics["why_not"]
        assert suspect not in set(peer.received["pose"]) - poses, "a withheld pose is not published"
    if fault.cold:
        peer.wait(lambda: more(f"cold_starts/{fault.cold}"), f"cold_starts/{fault.cold}")
    fault.repair(peer)
    peer.received["pose"].clear()  # where time went back, stamps come again
    good(peer)
    peer.wait(lambda: peer.stamp_ns in peer.received["pose"], f"the answer after {fault.name}")
    peer.refresh()
    assert peer.count("received") == peer.count("processed") + peer.count("dropped")
    assert peer.state() == "active"


GOOD: dict[str, Callable[[Peer], None]] = {
    "raw": lambda peer: peer.publish_image(peer.next_stamp()),
    "compressed": lambda peer: peer.publish_compressed(peer.next_stamp()),
    "depth": good_depth,
}
"""A good image of each kind."""


@pytest.mark.parametrize(
    ("node", "kind", "fault"),
    [
        pytest.param(kind, kind, fault, id=f"{kind}: {fault.name}")
        for kind, faults in (("raw", RAW), ("compressed", COMPRESSED), ("depth", DEPTH))
        for fault in faults
    ],
    indirect=["node"],
    scope="module",
)
def test_a_fault_is_named_and_the_next_good_image_answered(node: Peer, kind: str, fault: Fault) -> None:
    hold_against(fault, node, GOOD[kind])


@pytest.mark.parametrize("node", ["raw"], indirect=True, scope="module")
def test_a_kidnapped_camera_is_lost_and_found(node: Peer) -> None:
    """The gate's hysteresis through DDS: withheld, lost, WARN, silent, and localized again by itself."""
    ungate(node)
    node.set_parameter("gate_uncertainty_m", 0.5)
    for _ in range(4):
        node.publish_image(node.next_stamp())
        node.wait_for_answer(node.stamp_ns, "odometry")
        assert node.stamp_ns not in node.received["pose"]
    node.refresh()
    assert node.diagnostics["localized"] == "false"
    assert node.diagnostics["message"].startswith("not localized: uncertainty")
    assert node.diagnostics["level"] == "1"
    node.set_parameter("gate_uncertainty_m", 0.0)
    withheld = 0
    while node.attempt_pose() is None:
        withheld += 1
    assert withheld == 9, "it may be anywhere: of gate_relocalize_after 10 good poses the last is published"
    node.refresh()
    assert node.diagnostics["localized"] == "true"
    assert node.diagnostics["level"] == "0"


@pytest.mark.parametrize("node", ["raw"], indirect=True, scope="module")
def test_a_camera_of_which_no_image_can_be_answered_is_not_called_answering(node: Peer) -> None:
    node.publish_image(node.next_stamp())
    node.wait_for_answer(node.stamp_ns)
    while "no image is answered for" not in node.diagnostics["message"]:
        before = node.count("dropped")
        node.publish_image(node.next_stamp(), encoding="h264")
        node.wait_for_count("dropped", before + 1)
    assert "h264" in node.diagnostics["message"]
    assert node.diagnostics["level"] == "1"
    while node.attempt_pose() is None:
        pass
    node.refresh()
    assert node.diagnostics["level"] == "0", node.diagnostics["message"]


@pytest.mark.parametrize("node", ["raw"], indirect=True, scope="module")
def test_after_deactivate_nothing_is_known_of_the_place(node: Peer) -> None:
    while node.attempt_pose() is None:
        pass
    assert node.diagnostics["localized"] == "true"
    assert node.deactivate()
    node.refresh()
    assert (node.diagnostics["localized"], node.diagnostics["why_not"]) == ("false", "no pose yet")
    assert node.activate()
    node.wait_for_matches()
    node.calibrate()
    while node.attempt() is None:
        pass
    node.refresh()
    assert node.diagnostics["localized"] == "true"
