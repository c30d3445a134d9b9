"""The fault matrix: whatever goes wrong, the node says so, publishes nothing false, and answers the next good image.

Every row runs against the real node in its own process over DDS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from random_camera_models import random_model, trapped_model
from ros_peers import (
    DEPTH_TOPIC,
    FOCAL,
    HEIGHT,
    PERIOD_NS,
    WIDTH,
    Peer,
    isolate,
    jpeg,
    picture,
    running,
)
from std_srvs.srv import Trigger

WHITE, GREY, BLACK = (bytes([value]) * (HEIGHT * WIDTH * 3) for value in (255, 200, 0))
"""Images at which the trapped model raises, runs out of memory, and answers NaN."""
NOISE = np.random.default_rng(0).integers(0, 255, HEIGHT * WIDTH * 3, dtype=np.uint8).tobytes()


@dataclass(frozen=True)
class Fault:
    """One row: what is done to the node, and what it must say of it."""

    name: str
    inject: Callable[[Peer], None]
    dropped: str = ""
    """Reason by which the image is counted; empty: it is not dropped."""
    cold: str = ""
    """Reason of the cold start it causes."""
    withheld: str = ""
    """Reason by which its pose is withheld."""
    says: str = ""
    """In the text of /diagnostics or in what it says of the last drop."""
    repair: Callable[[Peer], None] = field(default=lambda peer: None)


def image(**changes: object) -> Callable[[Peer], None]:
    return lambda peer: peer.publish_image(peer.next_stamp(), **changes)


def info(**changes: object) -> Callable[[Peer], None]:
    """Another CameraInfo, then a good image; the pair of topics may overtake each other, so until it shows."""

    def inject(peer: Peer) -> None:
        peer.publish_info(**changes)
        while peer.attempt() is not None:
            pass

    return inject


def uncalibrated(focal: float) -> Callable[[Peer], None]:
    """What was known of the camera stays in use, and that is said until there is a good camera_info again."""

    def inject(peer: Peer) -> None:
        while "the last good ones" not in peer.diagnostics["message"]:
            peer.publish_info(focal=focal)
            peer.publish_image(peer.next_stamp())
            peer.wait_for_answer(peer.stamp_ns)
            peer.refresh()
        assert peer.diagnostics["level"] == "1"

    return inject


def after(step_ns: int) -> Callable[[Peer], None]:
    return lambda peer: peer.publish_image(peer.next_stamp(step_ns))


def right_camera(peer: Peer) -> None:
    peer.publish_info()
    while peer.attempt() is None:
        pass


def gate(**limits: float) -> Callable[[Peer], None]:
    def inject(peer: Peer) -> None:
        for name, value in limits.items():
            assert peer.set_parameter(name, value).successful
        peer.publish_image(peer.next_stamp())

    return inject


def ungate(peer: Peer) -> None:
    for name, value in {
        "gate_uncertainty_m": 0.0, "gate_uncertainty_deg": 0.0, "gate_disagreement": 0.0, "gate_margin_m": -1.0
    }.items():  # fmt: skip
        assert peer.set_parameter(name, value).successful


def checked(pixels: bytes) -> Callable[[Peer], None]:
    """The check of images is off elsewhere, since plain images are what springs the traps of the model."""

    def inject(peer: Peer) -> None:
        assert peer.set_parameter("image_contrast", 4.0).successful
        peer.publish_image(peer.next_stamp(), data=pixels)

    return inject


def unchecked(peer: Peer) -> None:
    assert peer.set_parameter("image_contrast", 0.0).successful


def frozen(peer: Peer) -> None:
    pixels = picture(1).tobytes()
    before = peer.count("dropped")
    for _ in range(3):  # image_frozen_after 2: the third is dropped
        peer.refresh()
        assert peer.count("dropped") == before
        peer.publish_image(peer.next_stamp(), data=pixels)
        peer.wait(lambda: peer.stamp_ns in peer.received["pose"] or peer.count("dropped") > before, "its fate")


def twice(peer: Peer) -> None:
    peer.publish_image(peer.stamp_ns)


def another_size(peer: Peer) -> None:
    peer.publish_info(focal=2 * FOCAL, width=2 * WIDTH, height=2 * HEIGHT)
    big = cv2.resize(picture(1), (2 * WIDTH, 2 * HEIGHT))
    changes = {"height": 2 * HEIGHT, "width": 2 * WIDTH, "step": 6 * WIDTH, "data": big.tobytes()}
    while peer.attempt(**changes) is None:
        pass


def service(name: str) -> Callable[[Peer], None]:
    """A request that must be refused, and a good image."""

    def inject(peer: Peer) -> None:
        assert not getattr(peer, name)()
        peer.publish_image(peer.next_stamp())

    return inject


def wrong_parameter(name: str, value: str | float, says: str) -> Callable[[Peer], None]:
    def inject(peer: Peer) -> None:
        kept = dict(peer.parameters)
        result = peer.set_parameter(name, value)
        peer.parameters = kept
        assert not result.successful
        assert says in result.reason
        peer.publish_image(peer.next_stamp())

    return inject


def disabled(peer: Peer) -> None:
    assert peer.set_enabled(False).success
    peer.publish_image(peer.next_stamp())
    peer.wait(lambda: peer.count("pending") == 0 and peer.count("dropped/disabled") > 0, "a disabled node to drop")


def half_a_request(peer: Peer) -> None:
    """A client that asks and is gone before the answer. DDS may drop its request with it, so until one arrives."""
    before = peer.count("cold_starts/reset")
    while peer.count("cold_starts/reset") == before:
        client = peer.node.create_client(Trigger, "/localizer/reset")
        assert client.wait_for_service(20.0)
        client.call_async(Trigger.Request())
        peer.node.destroy_client(client)
        peer.publish_image(peer.next_stamp())
        peer.wait_for_answer(peer.stamp_ns)
        peer.refresh()


RAW = (
    Fault("an unknown encoding", image(encoding="h264"), "unknown encoding", says="h264"),
    Fault("no encoding", image(encoding=""), "unknown encoding"),
    Fault("no bytes", image(data=b""), "wrong size", says="0 bytes"),
    Fault("a byte too few", image(data=bytes(HEIGHT * WIDTH * 3 - 1)), "wrong size", says="needs"),
    Fault("rows shorter than their pixels", image(step=5), "wrong size", says="step is 5"),
    Fault("no rows", image(height=0), "wrong size", says="72 x 0"),
    Fault("no columns", image(width=0), "wrong size", says="0 x 48"),
    Fault("a width that the bytes do not hold", image(width=100_000, step=300_000), "wrong size"),
    Fault("half an image", image(height=HEIGHT // 2), "camera_info of another size", says="72 x 48"),
    Fault("a stamp twice", twice, "repeated stamp", says="header.stamp"),
    Fault("a stamp that goes back a frame", after(-2 * PERIOD_NS), cold="stamp went back"),
    Fault("a bag that starts over", after(-3_600_000_000_000), cold="stamp went back"),
    Fault("a stamp of a day later", after(86_400_000_000_000), cold="gap"),
    Fault("a camera that pauses", after(700_000_000), cold="gap"),
    Fault("frames of another camera", info(focal=2 * FOCAL), "another camera", says="fx", repair=right_camera),
    Fault("an uncalibrated camera after a calibrated one", uncalibrated(0.0), repair=right_camera),
    Fault("intrinsics that become NaN", uncalibrated(float("nan")), repair=right_camera),
    Fault("intrinsics that become infinite", uncalibrated(float("inf")), repair=right_camera),
    Fault("intrinsics that become negative", uncalibrated(-60.0), repair=right_camera),
    Fault("a camera_info for another size", info(width=2 * WIDTH), "camera_info of another size", repair=right_camera),
    Fault("another resolution", another_size, cold="image size changed", repair=right_camera),
    Fault("a covered lens", checked(BLACK), "no contrast", says="grey levels", repair=unchecked),
    Fault("an overexposed image", checked(WHITE), "no contrast", says="exposure", repair=unchecked),
    Fault("noise", checked(NOISE), "noise", says="roughness", repair=unchecked),
    Fault("a frozen camera", frozen, "frozen image", says="the same to the pixel", repair=unchecked),
    Fault("a model error", image(data=WHITE), "model error", says="trap"),
    Fault("no memory for one frame", image(data=GREY), "model error", says="memory"),
    Fault("an answer of NaN", image(data=BLACK), "not finite", says="NaN"),
    Fault("an uncertain pose", gate(gate_uncertainty_m=0.5), withheld="uncertain", repair=ungate),
    Fault("an uncertain rotation", gate(gate_uncertainty_deg=10.0), withheld="uncertain", repair=ungate),
    Fault("a jump", gate(gate_disagreement=1e-4), withheld="disagrees with odometry", repair=ungate),
    Fault("a pose off the map", gate(gate_margin_m=0.0), withheld="outside the map", repair=ungate),
    Fault("activate while active", service("activate")),
    Fault("configure while active", service("configure")),
    Fault("cleanup while active", service("cleanup")),
    Fault("a choice that is none", wrong_parameter("publish_tf", "maybe", "one of auto, map_to_odom")),
    Fault("a value out of range", wrong_parameter("overlay_opacity", 7.0, "range")),
    Fault("a negative gap", wrong_parameter("max_gap_s", -1.0, "range")),
    Fault("a parameter that nobody declared", wrong_parameter("modell", "x.ts", "")),
    Fault("a disabled node", disabled, "disabled", repair=lambda peer: peer.set_enabled(True)),
    Fault("a client that does not wait", half_a_request, cold="reset"),
)


def compressed(data: bytes) -> Callable[[Peer], None]:
    return lambda peer: peer.publish_compressed(peer.next_stamp(), data)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def claims(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[at + 9 :]


COMPRESSED = (
    Fault("no bytes", compressed(b""), "undecodable", says="0 bytes"),
    Fault("a JPEG without its end", compressed(jpeg(1)[:-200]), "undecodable", says="truncated"),
    Fault("a JPEG header alone", compressed(jpeg(1)[:20]), "undecodable"),
    Fault("noise", compressed(bytes(range(256)) * 8), "undecodable"),
    Fault("a PNG without its end", compressed(png(picture(1))[:60]), "undecodable"),
    Fault("a JPEG of two kilobytes that claims gigabytes", compressed(claims(jpeg(1), 30_000, 30_000)),
          "camera_info of another size", says="30000 x 30000"),
    Fault("a PNG of sixteen bits", compressed(png(picture(1).astype(np.uint16) * 257)), "unknown encoding",
          says="16 bits"),
    Fault("a BMP", compressed(cv2.imencode(".bmp", picture(1))[1].tobytes()), "undecodable", says="neither JPEG nor"),
    Fault("a WEBP", compressed(cv2.imencode(".webp", picture(1))[1].tobytes()), "undecodable", says="neither JPEG nor"),
    Fault("a small JPEG", compressed(cv2.imencode(".jpg", picture(1)[::2, ::2])[1].tobytes()),
          "camera_info of another size"),
    Fault("a PNG among JPEGs", compressed(png(picture(1)))),
    Fault("a grey JPEG", compressed(cv2.imencode(".jpg", picture(1)[:, :, 0])[1].tobytes())),
)  # fmt: skip


def depth(**changes: object) -> Callable[[Peer], None]:
    def inject(peer: Peer) -> None:
        stamp = peer.next_stamp()
        peer.publish_depth(stamp, **changes)
        peer.publish_image(stamp)

    return inject


def without_depth(peer: Peer) -> None:
    peer.publish_image(peer.next_stamp())
    good_depth_alone(peer)


def good_depth_alone(peer: Peer) -> None:
    """A good pair after an image that has none, which is never answered."""
    lonely = peer.stamp_ns
    good_depth(peer)
    peer.wait_for_answer(peer.stamp_ns)
    assert lonely not in peer.received["pose"]


def good_depth(peer: Peer) -> None:
    stamp = peer.next_stamp()
    peer.publish_depth(stamp)
    peer.publish_image(stamp)


def late_depth(peer: Peer) -> None:
    stamp = peer.next_stamp()
    peer.publish_image(stamp)
    peer.publish_depth(stamp)


def far_depth(peer: Peer) -> None:
    stamp = peer.next_stamp()
    peer.publish_depth(stamp + 15_000_000)
    peer.publish_image(stamp)
    good_depth_alone(peer)


DEPTH = (
    Fault("an image without depth", without_depth, "no depth of its stamp"),
    Fault("depth that comes after its image", late_depth),
    Fault("depth of another moment", far_depth, "no depth of its stamp"),
    Fault("depth of an unknown encoding", depth(encoding="8UC1"), "depth of unknown encoding", says="8UC1"),
    Fault("depth with too few bytes", depth(data=b"123"), "depth of wrong size"),
    Fault("depth that is not registered", depth(height=HEIGHT // 2), "depth of another size", says="registered"),
    Fault("depth that knows nothing", depth(data=np.full((HEIGHT, WIDTH), np.nan, "<f4").tobytes())),
    Fault("depth in millimetres", depth(encoding="16UC1", step=2 * WIDTH)),
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
    assert withheld == 4, "gate_regain_after 5: the fifth good pose is the first that is published"
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
    node.publish_info()
    while node.attempt() is None:
        pass
    node.refresh()
    assert node.diagnostics["localized"] == "true"
