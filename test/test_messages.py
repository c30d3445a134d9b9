"""What happens at the border between messages and arrays, and the one-slot mailbox; without DDS."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from builtin_interfaces.msg import Time
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from ros_peers import jpeg, picture
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from transforms3d import quaternions

from vlocnetpp.data.bags import messages as bag_messages
from vlocnetpp_ros import environment, frames, latest, messages, odometry
from vlocnetpp_ros.parameters import DECLARATIONS, ParameterError, Parameters

POSE = np.array([1.0, -2.0, 3.0, *quaternions.axangle2quat([1.0, 2.0, -0.5], 0.7)])


def image(encoding: str, channels: int, padding: int = 0, height: int = 5, width: int = 7) -> tuple[Image, np.ndarray]:
    rows = np.random.default_rng(0).integers(0, 255, (height, width * channels + padding), dtype=np.uint8)
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1])
    message.data = rows.tobytes()
    return message, rows[:, : width * channels].reshape((height, width, channels) if channels > 1 else (height, width))


# Images.


@pytest.mark.parametrize("padding", [0, 9])
@pytest.mark.parametrize(("encoding", "channels"), messages.CHANNELS.items())
def test_an_image_is_viewed_in_place_whatever_its_padding(encoding: str, channels: int, padding: int) -> None:
    message, expected = image(encoding, channels, padding)
    view = messages.image_view(message)
    np.testing.assert_array_equal(view, expected)
    # numpy holds a view, not a copy: the message's bytes show through.
    message.data[0] ^= 255
    assert view.flat[0] == expected.flat[0] ^ 255


@pytest.mark.parametrize(("encoding", "channels"), messages.CHANNELS.items())
def test_every_backend_that_is_installed_sees_the_same_pixels(encoding: str, channels: int) -> None:
    message, expected = image(encoding, channels)  # rosbags-image 0.10 does not know of padding
    rosbags_image = pytest.importorskip("rosbags.image")
    np.testing.assert_array_equal(np.squeeze(rosbags_image.message_to_cvimage(message)), expected)
    try:
        from cv_bridge import CvBridge
    except ImportError:  # not in the PyPI build of ROS 2, or built for NumPy 1
        return
    message, expected = image(encoding, channels, padding=3)
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), expected)


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"encoding": "bayer_rggb8"}, "unknown encoding", "bayer_rggb8"),
        ({"encoding": ""}, "unknown encoding", "rgb8"),
        ({"height": 6}, "wrong size", "105 bytes, but 7 x 6"),
        ({"height": 0}, "wrong size", "7 x 0"),
        ({"width": 0}, "wrong size", "0 x 5"),
        ({"step": 20}, "wrong size", "step is 20"),
        ({"step": 2**32 - 1}, "wrong size", "bytes"),
        ({"data": b""}, "wrong size", "0 bytes"),
    ],
)
def test_a_wrong_image_says_what_is_wrong(changes: dict, reason: str, says: str) -> None:
    message, _ = image("rgb8", 3)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(messages.BadImage, match=says) as caught:
        messages.image_view(message)
    assert caught.value.reason == reason


def test_the_last_row_needs_no_padding() -> None:
    message, expected = image("rgb8", 3, padding=9)
    message.data = message.data[:-9]
    np.testing.assert_array_equal(messages.image_view(message), expected)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_images_decode_to_bgr(suffix: str) -> None:
    rgb = picture(1)
    data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
    decoded = messages.decode(CompressedImage(format=suffix[1:], data=data))
    difference = np.abs(messages.to_rgb(decoded, "bgr8").astype(int) - rgb)
    assert difference.mean() < (3 if suffix == ".jpg" else 1e-9)


def test_an_orientation_tag_does_not_turn_the_pixels_away_from_camera_info() -> None:
    plain = jpeg(1)
    tag = struct.pack("<2sHLHHHLHHL", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(tag)) + b"Exif\0\0" + tag
    turned = plain[:2] + exif + plain[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape != picture(1).shape
    assert messages.decode(CompressedImage(data=turned)).shape == picture(1).shape


@pytest.mark.parametrize("data", [b"", b"no image", jpeg(1)[:200], jpeg(1)[:-300], b"\x89PNG\r\n\x1a\n"])
def test_what_is_not_a_whole_compressed_image_is_refused(data: bytes) -> None:
    with pytest.raises(messages.BadImage) as caught:
        messages.decode(CompressedImage(format="jpeg", data=data))
    assert caught.value.reason == "undecodable"


@given(data=st.binary(max_size=300), keep=st.integers(0, 600), flip=st.integers(0, 600))
@settings(max_examples=60, deadline=None)
def test_no_bytes_do_more_than_be_refused(data: bytes, keep: int, flip: int) -> None:
    broken = bytearray(jpeg(1)[:keep] + data)
    if flip < len(broken):
        broken[flip] ^= 0xFF
    with contextlib.suppress(messages.BadImage):
        messages.decode(CompressedImage(data=bytes(broken)))


def test_masks_are_coloured_and_unlabelled_pixels_stay() -> None:
    palette = messages.palette((("a", (10, 20, 30)), ("b", (200, 100, 50))))
    mask = np.array([[0, 1, 255]], np.uint8)
    colors = messages.colored(mask, palette)
    assert colors.tolist() == [[[10, 20, 30], [200, 100, 50], [0, 0, 0]]]
    pixels = np.full((1, 3, 3), 100, np.uint8)
    assert messages.overlay(pixels, colors, mask, 0.5).tolist() == [[[55, 60, 65], [150, 100, 75], [100, 100, 100]]]
    back = messages.image_message(Header(frame_id="c"), colors, "rgb8")
    np.testing.assert_array_equal(messages.image_view(back), colors)
    assert (back.step, back.header.frame_id) == (9, "c")


def test_a_camera_without_focal_length_is_not_calibrated() -> None:
    assert messages.camera(CameraInfo(), "/image") is None
    assert messages.camera(CameraInfo(k=[float("nan")] * 9), "/image") is None


@pytest.mark.parametrize("topic", ["/camera/image_raw", "/camera/image_rect"])
@pytest.mark.parametrize("d", [[], [0.1, 0.0, 0.0, 0.0, 0.0]])
def test_intrinsics_are_read_as_they_are_for_training(topic: str, d: list[float]) -> None:
    k = [5.0, 0.0, 2.0, 0.0, 6.0, 1.5, 0.0, 0.0, 1.0]
    p = [7.0, 0.0, 2.5, 0.0, 0.0, 8.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    message = CameraInfo(width=4, height=3, k=k, d=d, p=p)
    camera = messages.camera(message, topic)
    assert camera is not None
    np.testing.assert_array_equal(camera.K_33, bag_messages.camera(message, topic, "here").K_33)
    assert (camera.height, camera.width) == (3, 4)


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_survive_to_the_nanosecond(nanoseconds: int) -> None:
    assert messages.stamp_ns(messages.stamp_message(nanoseconds)) == nanoseconds
    assert messages.stamp_ns(Time(sec=1, nanosec=5)) == 1_000_000_005


# Poses.


def test_quaternions_change_their_order_at_the_border_only() -> None:
    message = frames.to_pose(POSE)
    assert (message.orientation.w, message.orientation.x) == (POSE[3], POSE[4])
    np.testing.assert_array_equal(frames.from_pose(message), POSE)
    np.testing.assert_array_equal(frames.from_transform(frames.to_transform(POSE)), POSE)


def test_poses_compose_as_transforms3d_and_scipy_say() -> None:
    product = frames.compose(POSE, POSE)
    np.testing.assert_allclose(product[:3], quaternions.quat2mat(POSE[3:]) @ POSE[:3] + POSE[:3])
    np.testing.assert_allclose(product[3:], quaternions.qmult(POSE[3:], POSE[3:]))
    np.testing.assert_allclose(frames.compose(POSE, frames.inverse(POSE)), frames.IDENTITY, atol=1e-12)
    np.testing.assert_allclose(
        frames.rotation_matrix(POSE[3:]), Rotation.from_quat(POSE[[4, 5, 6, 3]]).as_matrix(), atol=1e-12
    )


@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.lists(st.floats(-1.8, 1.8), min_size=3, max_size=3),
    st.floats(0.01, 2.0),
)
def test_a_twist_held_for_the_time_gives_the_motion_back(linear: list, angular: list, seconds: float) -> None:
    from scipy.linalg import expm

    T = np.zeros((4, 4))
    T[:3, :3], T[:3, 3] = frames.cross_matrix(np.array(angular)), linear
    T = expm(T * min(seconds, 0.95 * np.pi / (np.linalg.norm(angular) + 1e-9)))
    seconds = min(seconds, 0.95 * np.pi / (np.linalg.norm(angular) + 1e-9))
    x, y, z, w = Rotation.from_matrix(T[:3, :3]).as_quat()
    v, omega = frames.twist(np.array([*T[:3, 3], w, x, y, z]), seconds)
    np.testing.assert_allclose(v, linear, atol=1e-5)
    np.testing.assert_allclose(omega, angular, atol=1e-5)


def test_a_camera_ahead_of_the_base_moves_sideways_when_the_base_turns() -> None:
    # 0.5 m ahead of a base that turns left with 1 rad/s and does not move; the camera's axes are the base's.
    base_camera = np.array([0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    linear, angular = frames.twist_at(base_camera, np.array([0.0, 0.5, 0.0]), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(linear, 0.0, atol=1e-12)
    np.testing.assert_allclose(angular, [0, 0, 1])


def test_an_optical_frame_is_turned_into_the_body_frame() -> None:
    # REP-103: optical z is the body's x, optical x its -y, optical y its -z.
    base_optical = np.array([0, 0, 0, *quaternions.mat2quat(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]))], float)
    linear, angular = frames.twist_at(base_optical, np.array([0.0, 0.0, 2.0]), np.array([0.0, -1.0, 0.0]))
    np.testing.assert_allclose(linear, [2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(angular, [0, 0, 1], atol=1e-12)


def test_covariance_with_a_lever_agrees_with_drawn_errors() -> None:
    rng = np.random.default_rng(0)
    lever = np.array([0.4, -0.2, 1.0])
    shift, turn = 0.02 * rng.standard_normal((200_000, 3)), 0.01 * rng.standard_normal((200_000, 3))
    drawn = np.cov(np.hstack([shift + np.cross(turn, lever), turn]).T)
    covariance = frames.isotropic_covariance(0.02**2, 0.01**2, lever)
    np.testing.assert_allclose(covariance, drawn, atol=3e-6)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_odometry_starts_at_the_map_goes_on_by_motions_and_is_held_at_a_cold_start() -> None:
    track = odometry.DeadReckoning(linear_sigma=0.1, angular_sigma=0.05)
    step = np.array([0.1, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    first = track.advance(None, None, POSE)
    np.testing.assert_array_equal(first.pose_7, POSE)
    assert first.position_variance == odometry.FIRST_VARIANCE
    assert first.linear_variance == odometry.UNKNOWN_VARIANCE
    second = track.advance(step, 0.1, np.zeros(7))
    np.testing.assert_allclose(second.pose_7, frames.compose(POSE, step))
    np.testing.assert_allclose(second.linear_3, [1.0, 0.0, 0.0])
    assert second.linear_variance == pytest.approx(0.01)
    assert odometry.FIRST_VARIANCE < second.position_variance < 1e-3
    held = track.advance(None, None, POSE)
    np.testing.assert_allclose(held.pose_7, second.pose_7)
    assert held.position_variance == held.linear_variance == odometry.UNKNOWN_VARIANCE
    track.reset()
    np.testing.assert_array_equal(track.advance(None, None, POSE).pose_7, POSE)


# The mailbox.


class Bench:
    """A mailbox whose work waits until the test lets it go; so does finishing it, where `finishes` says so."""

    def __init__(self, held: str | None = None, finishes: bool = False) -> None:
        self.started, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.finishing, self.finish = threading.Semaphore(0), threading.Semaphore(0)
        self.finishes = finishes
        self.worked: list[object] = []
        self.dropped: list[str] = []
        self.tally = latest.Tally()
        self.box = latest.Latest(self._work, self.tally, self._on_drop, self._on_error, held)

    def _work(self, item: object) -> latest.Finish:
        self.started.release()
        self.go.acquire()
        if isinstance(item, Exception):
            raise item
        return partial(self._finish, item)

    def _finish(self, item: object) -> None:
        if self.finishes:
            self.finishing.release()
            self.finish.acquire()
        if item == "unpublishable":
            raise RuntimeError(item)
        self.worked.append(item)

    def _on_drop(self, dropped: latest.Dropped) -> None:
        self.dropped.append(dropped.reason)

    def _on_error(self, error: Exception) -> latest.Dropped:
        return latest.Dropped("broken", str(error))


def test_the_newest_item_wins_and_every_item_is_counted() -> None:
    bench = Bench()
    bench.box.put("a")
    bench.started.acquire()
    for item in "bcd":
        bench.box.put(item)
    assert bench.tally.counts().pending == 2
    for _ in range(2):
        bench.go.release()
    bench.started.acquire()
    bench.box.close("closed")
    counts = bench.tally.counts()
    assert bench.worked == ["a", "d"]
    assert counts == latest.Counts(4, 2, {latest.NEWER: 2})
    assert counts.pending == 0


def test_items_wait_for_what_they_need_and_are_dropped_for_that_reason() -> None:
    bench = Bench(held="no camera_info")
    for item in "abc":
        bench.box.put(item)
    bench.box.release()
    bench.started.acquire()
    bench.go.release()
    bench.box.close("closed")
    assert bench.worked == ["c"]
    assert bench.tally.counts().dropped == {"no camera_info": 2}


def test_what_work_raises_drops_one_item_and_the_thread_lives_on() -> None:
    bench = Bench()
    for item in (latest.Dropped("undecodable", "x"), RuntimeError("boom"), "good"):
        bench.box.put(item)
        bench.started.acquire()
        bench.go.release()
    bench.box.close("closed")
    bench.box.refuse("disabled")
    assert bench.worked == ["good"]
    assert bench.dropped == ["undecodable", "broken", "disabled"]
    assert bench.tally.counts().pending == 0


def test_closing_drops_what_waits() -> None:
    bench = Bench()
    bench.box.put("a")
    bench.started.acquire()
    bench.box.put("b")
    bench.go.release()
    bench.box.close("deactivated")
    counts = bench.tally.counts()
    assert counts.processed + sum(counts.dropped.values()) == counts.received == 2
    # Which of the two the worker still got is its own business; whatever it did not is dropped for this reason.
    assert set(counts.dropped) <= {"deactivated"}


def test_the_next_item_is_worked_on_while_the_last_is_finished_and_then_waits_for_it() -> None:
    bench = Bench(finishes=True)
    bench.box.put("a")
    bench.started.acquire()
    bench.go.release()
    bench.finishing.acquire()
    bench.box.put("b")
    bench.started.acquire()  # "b" is in work, and "a" is not finished yet
    assert bench.worked == [] and bench.tally.counts().pending == 2
    bench.go.release()
    bench.box.put("c")
    assert not bench.started.acquire(timeout=0.05), "nothing queues up behind what is not finished"
    bench.finish.release()
    bench.finishing.acquire()
    assert bench.worked == ["a"]
    bench.finish.release()
    bench.started.acquire()
    bench.go.release()
    bench.finish.release()
    bench.box.close("closed")
    assert bench.worked == ["a", "b", "c"] and bench.tally.counts() == latest.Counts(3, 3, {})


def test_what_finishing_raises_drops_that_item_alone() -> None:
    bench = Bench()
    for item in ("unpublishable", "good"):
        bench.box.put(item)
        bench.started.acquire()
        bench.go.release()
    bench.box.close("closed")
    assert bench.worked == ["good"] and bench.dropped == ["broken"]
    assert bench.tally.counts() == latest.Counts(2, 1, {"broken": 1})


# Parameters and packages.


@pytest.fixture
def node_with():  # type: ignore[no-untyped-def]
    context = rclpy.Context()
    nodes = []

    def make(*overrides: str) -> rclpy.node.Node:
        arguments = ["--ros-args", *(word for override in overrides for word in ("-p", override))]
        nodes.append(rclpy.create_node("parameters", context=context, cli_args=arguments))
        return nodes[-1]

    rclpy.init(context=context)
    yield make
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model:=''", "'model' is empty"),
        ("image_topic:=''", "'image_topic' is empty"),
        ("publish_tf:=maybe", "one of map_to_odom, map_to_camera, none"),
        ("image_transport:=theora", "one of raw, compressed"),
        ("publish_tf:=off", "in quotes"),
        ("max_gap_s:=1", "max_gap_s.*DOUBLE"),
        ("overlay_opacity:=7.0", "overlay_opacity.*out of range"),
        ("path_length:=0", "path_length.*out of range"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name_when_it_is_read(node_with, override: str, says: str) -> None:  # type: ignore[no-untyped-def]
    overrides = [override] if override.startswith("model") else ["model:=x.ts", override]
    with pytest.raises(ParameterError, match=says):
        Parameters(node_with(*overrides)).read()


def test_a_corrected_parameter_is_taken(node_with) -> None:  # type: ignore[no-untyped-def]
    node = node_with("model:=x.ts", "publish_tf:=maybe")
    parameters = Parameters(node)
    wrong = node.set_parameters([rclpy.Parameter("publish_tf", value="sometimes")])[0]
    assert not wrong.successful and "one of" in wrong.reason
    assert node.set_parameters([rclpy.Parameter("publish_tf", value="none")])[0].successful
    assert parameters.read().publish_tf == "none"


@pytest.mark.parametrize(
    ("transport", "info", "image_input", "info_input"),
    [
        ("raw", "", "/zed/rgb/image", "/zed/rgb/camera_info"),
        ("compressed", "", "/zed/rgb/image/compressed", "/zed/rgb/camera_info"),
        ("raw", "/other/info", "/zed/rgb/image", "/other/info"),
    ],
)
def test_topics_follow_the_conventions_of_image_transport(  # type: ignore[no-untyped-def]
    node_with, transport: str, info: str, image_input: str, info_input: str
) -> None:
    overrides = ["model:=x", "image_topic:=/zed/rgb/image", f"image_transport:={transport}"]
    read = Parameters(node_with(*overrides, f"camera_info_topic:='{info}'")).read()
    assert (read.image_input, read.camera_info_input) == (image_input, info_input)


def test_the_shipped_file_holds_every_parameter_at_its_default() -> None:
    shipped = yaml.safe_load((ROOT / "config/localize.yaml").read_text())["/**"]["ros__parameters"]
    assert shipped == {d.name: d.default for d in DECLARATIONS}


def test_every_declared_parameter_is_described_and_its_default_is_allowed() -> None:
    for declaration in DECLARATIONS:
        assert declaration.description.endswith(".")
        assert not declaration.choices or declaration.default in declaration.choices
        assert not declaration.range or declaration.range[0] <= declaration.default <= declaration.range[1]


def test_a_missing_package_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = environment.OptionalPackage("surely_not_installed", "a test", "nothing happens", "surely-not")
    monkeypatch.setitem(environment.OPTIONAL_PACKAGES, "surely_not_installed", absent)
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    assert not environment.has("surely_not_installed")
    with pytest.raises(environment.MissingPackageError, match=r"this test needs.*ros-jazzy-surely-not.*nothing"):
        environment.need("surely_not_installed", "this test")


def test_the_repository_s_own_launch_folder_is_not_the_launch_package() -> None:
    code = "from vlocnetpp_ros import environment; print(environment.has('launch'))"
    inside = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    outside = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert inside.stdout == outside.stdout


def test_the_user_s_own_fast_dds_profile_is_left_alone() -> None:
    chosen = {"FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml"}
    assert environment.with_fast_dds_profile(chosen) == chosen
    profile = environment.with_fast_dds_profile({})["FASTRTPS_DEFAULT_PROFILES_FILE"]
    assert "<segment_size>67108864</segment_size>" in Path(profile).read_text()
