"""The fault matrix: what can be wrong with images, intrinsics, depth and requests, and what the node says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from ros_peers import (
    FOCAL,
    HEIGHT,
    PERIOD_NS,
    WIDTH,
    Peer,
    jpeg,
    picture,
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
    peer.calibrate()
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
