"""The node as its own process, over DDS: answers, everything that can be wrong with its input, load, and its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lasting_node import lasting_node, unconfigured
from random_camera_models import random_model
from ros_peers import (
    FOCAL,
    HEIGHT,
    PERIOD_NS,
    TIMEOUT_S,
    WIDTH,
    Peer,
    isolate,
    jpeg,
    node_process,
    picture,
)

from vlocnetpp_ros import environment, frames, images
from vlocnetpp_ros.latest import NEWER
from vlocnetpp_ros.odometry import OPTICAL, UNKNOWN_VARIANCE

ALL_TOPICS = ("pose", "pose_with_covariance", "odometry", "semantic/mask", "semantic/color", "semantic/overlay")


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


@pytest.fixture
def active(lasting_peer: Peer, model: Path) -> Peer:
    """An active node with a good model that has just been reset and answered one image: `peer.stamp_ns`."""
    peer = lasting_peer
    if peer.parameters != {"model": str(model), "image_transport": "raw"} or peer.state() != "active":
        unconfigured(peer, model)
        peer.parameters = {"model": str(model), "image_transport": "raw"}
        assert peer.configure() and peer.activate()
        peer.wait_for_matches()
    peer.calibrate()
    peer.next_stamp(60_000_000_000)
    # The intrinsics and the image travel on two topics, so which comes first is open.
    while peer.attempt() is None:
        pass
    assert peer.trigger_reset().success
    stamp = peer.next_stamp()
    peer.publish_image(stamp)
    peer.answer(stamp, *ALL_TOPICS)
    peer.refresh()
    return peer


def answered(peer: Peer, *topics: str) -> tuple:
    """A good image gets its answer."""
    stamp = peer.next_stamp()
    peer.publish_image(stamp)
    return peer.answer(stamp, *(topics or ("pose",)))


def balance(peer: Peer) -> tuple[int, int]:
    """(received, processed + dropped) once nothing is pending."""
    peer.refresh()
    return peer.count("received"), peer.count("processed") + peer.count("dropped")


# Answers.


def test_every_answer_carries_the_image_s_stamp_and_its_frames(active: Peer) -> None:
    pose, with_covariance, motion, mask, color, overlay = answered(active, *ALL_TOPICS)
    assert pose.header.frame_id == with_covariance.header.frame_id == "lab"
    assert (motion.header.frame_id, motion.child_frame_id) == ("visual_odom", "camera_optical")
    assert mask.header.frame_id == color.header.frame_id == overlay.header.frame_id == "camera_optical"
    q = pose.pose.orientation
    assert abs(q.x**2 + q.y**2 + q.z**2 + q.w**2 - 1) < 1e-6
    assert with_covariance.pose.pose == pose.pose
    covariance = np.reshape(with_covariance.pose.covariance, (6, 6))
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert (mask.height, mask.width, mask.encoding, mask.step) == (HEIGHT, WIDTH, "mono8", WIDTH)
    assert set(np.unique(images.pixels(mask)[0])) <= {0, 1, 2, 255}
    assert (color.encoding, overlay.encoding) == ("rgb8", "rgb8")


def test_odometry_starts_at_its_origin_and_its_twist_is_the_motion_over_the_time(active: Peer) -> None:
    (first,) = active.answer(active.stamp_ns, "odometry")
    np.testing.assert_array_equal(frames.from_pose(first.pose.pose), OPTICAL)
    assert first.twist.covariance[0] == UNKNOWN_VARIANCE
    (second,) = answered(active, "odometry")
    a, b = first.pose.pose.position, second.pose.pose.position
    moved = np.linalg.norm([b.x - a.x, b.y - a.y, b.z - a.z])
    v = second.twist.twist.linear
    # The twist follows the arc of the motion, which is a little longer than its chord.
    assert np.linalg.norm([v.x, v.y, v.z]) * PERIOD_NS * 1e-9 == pytest.approx(moved, rel=0.02)
    assert second.twist.covariance[0] == pytest.approx(0.01)


def test_the_path_is_in_the_map(active: Peer) -> None:
    stamp = active.stamp_ns
    active.wait(lambda: stamp in active.received["path"], "the path")
    path = active.received["path"][stamp]
    assert path.header.frame_id == "lab" and len(path.poses) >= 1


@pytest.mark.parametrize("encoding", images.ENCODINGS)
def test_every_encoding_is_answered(active: Peer, encoding: str) -> None:
    stamp = active.next_stamp()
    active.publish_image(stamp, encoding)
    active.answer(stamp, *ALL_TOPICS)


def test_the_same_picture_gets_the_same_answer_in_every_colour_order(active: Peer) -> None:
    rgb = picture(7)
    bgra = np.dstack([rgb[:, :, ::-1], np.full((HEIGHT, WIDTH), 255, np.uint8)])
    poses = []
    for encoding, pixels in (("rgb8", rgb), ("bgra8", bgra)):
        assert active.trigger_reset().success
        stamp = active.next_stamp()
        active.publish_image(stamp, encoding, data=pixels.tobytes())
        poses.append(frames.from_pose(active.answer(stamp, "pose")[0].pose))
    np.testing.assert_allclose(poses[0], poses[1], atol=1e-6)


def test_compressed_images_are_answered_and_broken_ones_dropped(peer: Peer) -> None:
    peer.set_parameter("image_transport", "compressed")
    assert peer.configure() and peer.activate()
    peer.wait_for_matches()
    peer.calibrate()
    dropped = peer.count("dropped/undecodable")
    for data in (jpeg(1)[:-200], b"junk"):
        peer.publish_compressed(peer.next_stamp(), data)
        dropped += 1
        peer.wait_for_count("dropped/undecodable", dropped)
    stamp = peer.next_stamp()
    peer.publish_compressed(stamp)
    peer.answer(stamp, *ALL_TOPICS)


@pytest.mark.parametrize("preset", ["stl_pose", "stl_odometry", "stl_segmentation"])
def test_a_model_with_one_task_has_the_topics_of_that_task(peer: Peer, tmp_path: Path, preset: str) -> None:
    topic = {"stl_pose": "pose", "stl_odometry": "odometry", "stl_segmentation": "semantic/mask"}[preset]
    peer.set_parameter("model", str(random_model(tmp_path / "one.ts", preset)))
    assert peer.configure() and peer.activate()
    peer.wait_for_matches()
    assert {"pose": "pose", "odometry": "odometry", "semantic/mask": "mask"}[topic] in str(peer.diagnostics)
    names = topic == "semantic/mask" and environment.has("vision_msgs")  # ~/semantic/label_info
    topics = (1 if topic == "odometry" else 3) + names
    assert sum(key.startswith("subscribers/") for key in peer.diagnostics) == topics
    peer.calibrate()
    (_,) = answered(peer, topic)


# What can be wrong with the input. The next good image is answered, always.


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("unknown encoding", {"encoding": "h264"}),
        ("wrong size", {"data": b"123"}),
        ("wrong size", {"step": 5}),
        ("wrong size", {"height": 0}),
        ("camera_info of another size", {"height": HEIGHT // 2}),
    ],
)
def test_a_bad_image_is_dropped_and_counted_and_the_next_one_answered(active: Peer, reason: str, changes: dict) -> None:
    before = active.count(f"dropped/{reason}")
    active.publish_image(active.next_stamp(), **changes)
    active.wait_for_count(f"dropped/{reason}", before + 1)
    answered(active)
    received, accounted = balance(active)
    assert received == accounted


def test_another_camera_is_refused_and_the_right_one_taken(active: Peer) -> None:
    before = active.count("dropped/another camera")
    active.publish_info(focal=2 * FOCAL)
    while active.attempt() is not None:
        pass
    assert active.count("dropped/another camera") == before + 1
    active.publish_info()
    while active.attempt() is None:
        pass


def test_images_wait_for_intrinsics_and_the_newest_is_answered(peer: Peer) -> None:
    assert peer.configure() and peer.activate()
    peer.wait_for_matches()
    before = peer.count("dropped/no camera_info")
    stamps = [peer.next_stamp() for _ in range(3)]
    for stamp in stamps:
        peer.publish_image(stamp)
    peer.wait_for_count("dropped/no camera_info", before + 2)
    peer.publish_info(focal=0.0)
    peer.publish_image(peer.next_stamp())
    peer.wait(lambda: "without intrinsics" in peer.diagnostics["message"], "a word about the missing intrinsics")
    assert peer.diagnostics["level"] == "1"
    peer.publish_info()
    peer.answer(peer.stamp_ns, "pose", "semantic/mask")
    assert not set(stamps) & set(peer.received["pose"])


def test_a_stamp_that_jumps_back_is_a_cold_start_and_holds_the_odometry(active: Peer) -> None:
    (before,) = answered(active, "odometry")
    cold_starts = active.count("cold_starts/stamp went back")
    back = active.stamp_ns - 10_000_000_000
    active.publish_image(back)
    _, held = active.answer(back, "pose", "odometry")
    assert held.pose.pose == before.pose.pose
    assert held.twist.covariance[0] == held.pose.covariance[0] == UNKNOWN_VARIANCE
    active.wait_for_count("cold_starts/stamp went back", cold_starts + 1)
    active.publish_image(back + PERIOD_NS)
    (_, moving) = active.answer(back + PERIOD_NS, "pose", "odometry")
    assert moving.twist.covariance[0] < 1


def test_a_gap_is_a_cold_start(active: Peer) -> None:
    before = active.count("cold_starts/gap")
    stamp = active.next_stamp(5_000_000_000)
    active.publish_image(stamp)
    active.answer(stamp, "pose")
    active.wait_for_count("cold_starts/gap", before + 1)


def test_the_same_stamp_twice_is_answered_once(active: Peer) -> None:
    before = active.count("dropped/repeated stamp")
    active.publish_image(active.stamp_ns)
    active.wait_for_count("dropped/repeated stamp", before + 1)
    answered(active)


def test_a_new_resolution_is_a_cold_start(active: Peer) -> None:
    before = active.count("cold_starts/image size changed")
    half = {"height": HEIGHT // 2, "width": WIDTH // 2, "step": WIDTH // 2 * 3}

    active.publish_info(FOCAL / 2, WIDTH // 2, HEIGHT // 2)
    while (stamp := active.attempt(**half)) is None:
        pass
    (mask,) = active.answer(stamp, "semantic/mask")
    assert (mask.width, mask.height) == (WIDTH // 2, HEIGHT // 2)
    active.wait_for_count("cold_starts/image size changed", before + 1)


def test_a_model_that_answers_nan_publishes_nothing(peer: Peer, tmp_path: Path) -> None:
    peer.set_parameter("model", str(random_model(tmp_path / "nan.ts", "stl_pose", broken=True)))
    assert peer.configure() and peer.activate()
    peer.wait_for_matches()
    peer.calibrate()
    before = peer.count("dropped/not finite")
    stamp = peer.next_stamp()
    peer.publish_image(stamp)
    peer.wait_for_count("dropped/not finite", before + 1)
    assert stamp not in peer.received["pose"]


# Load, services, the end.


def test_a_burst_is_accounted_for_to_the_last_image_and_the_newest_is_answered(active: Peer) -> None:
    received, accounted = balance(active)
    assert received == accounted
    before = active.count(f"dropped/{NEWER}")
    stamps = [active.next_stamp() for _ in range(60)]
    for stamp in stamps:
        active.publish_image(stamp)
    active.answer(stamps[-1], "pose")
    received, accounted = balance(active)
    assert received == accounted
    assert active.count(f"dropped/{NEWER}") > before
    assert 0 < float(active.diagnostics["latency_ms/p50"]) <= float(active.diagnostics["latency_ms/p99"])


def test_deactivating_in_mid_stream_loses_no_count_and_starts_cold_again(active: Peer) -> None:
    for _ in range(10):
        active.publish_image(active.next_stamp())
    assert active.deactivate()
    received, accounted = balance(active)
    assert received == accounted
    before = active.count("cold_starts/first frame")
    assert active.activate()
    active.wait_for_matches()
    active.calibrate()
    answered(active)
    active.wait_for_count("cold_starts/first frame", before + 1)


def test_reset_makes_the_next_image_a_cold_start_with_a_new_odometry_frame(active: Peer) -> None:
    answered(active)
    before = active.count("cold_starts/reset")
    assert active.trigger_reset().success
    (motion,) = answered(active, "odometry")
    np.testing.assert_array_equal(frames.from_pose(motion.pose.pose), OPTICAL)
    active.wait_for_count("cold_starts/reset", before + 1)
    active.deactivate()
    refused = active.trigger_reset()
    assert not refused.success and "inactive" in refused.message


def test_after_a_reset_nothing_is_localized_though_the_lens_is_covered(active: Peer) -> None:
    answered(active)
    active.wait(lambda: active.diagnostics["localized"] == "true", "a localized camera")
    assert active.trigger_reset().success
    before = active.count("dropped/no contrast")
    active.publish_image(active.next_stamp(), data=bytes(3 * WIDTH * HEIGHT))
    active.wait_for_count("dropped/no contrast", before + 1)
    assert active.diagnostics["localized"] == "false"
    (motion,) = answered(active, "odometry")
    np.testing.assert_array_equal(frames.from_pose(motion.pose.pose), OPTICAL)


def test_a_disabled_node_drops_images_until_it_is_enabled(active: Peer) -> None:
    before = active.count("dropped/disabled")
    assert active.set_enabled(False).success
    stamp = active.next_stamp()
    active.publish_image(stamp)
    active.wait_for_count("dropped/disabled", before + 1)
    assert active.set_enabled(True).success
    answered(active)
    assert stamp not in active.received["pose"]


def test_silence_is_reported_with_the_topic_and_who_publishes_there(active: Peer) -> None:
    active.wait(lambda: "no image on /camera/image" in active.diagnostics["message"], "a word about the silence")
    assert "publishers there: 1" in active.diagnostics["message"]
    assert active.diagnostics["level"] == "1"


def test_autostart_and_a_clean_end_while_images_come_in(lasting_peer: Peer, model: Path, tmp_path: Path) -> None:
    peer = lasting_peer
    peer.unconfigured()
    # Simulated time without a clock: the diagnostics that the peer waits for must come all the same.
    extra = {"model": str(model), "autostart": True, "use_sim_time": True}
    with node_process(tmp_path, **extra) as process:

        def seen() -> bool:
            peer.publish_info()
            peer.publish_image(peer.next_stamp())
            return any(stamp > begin for stamp in peer.received["pose"])

        begin = peer.next_stamp()
        peer.wait(seen, "an answer of the node that started itself")
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0, (tmp_path / "node.log").read_text()
    assert "Traceback" not in (tmp_path / "node.log").read_text()
