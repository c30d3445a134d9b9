"""What ends, replaces or deafens a node: each test starts a process of its own and talks to it over DDS."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from conftest import ROOT
from random_camera_models import random_model
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_peers import DEPTH_TOPIC, FOCAL, FRAME, HEIGHT, WIDTH, Peer, isolate, node_process, running
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, PointCloud2
from test_messages_clouds import carry, map_points

from vlocnetpp.runtime.map_cloud import cloud_to_bytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def peer(folder: Path) -> Iterator[Peer]:
    isolate(folder)
    peer = Peer()
    yield peer
    peer.close()


def test_images_of_a_quality_of_service_that_does_not_match_are_reported(peer: Peer, folder: Path) -> None:
    """A reliable subscription never hears a best-effort camera; silence alone would be a riddle."""
    place = folder / "qos"
    place.mkdir()
    topic = "/offers/less"
    quality = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = peer.node.create_publisher(CameraInfo, "/offers/camera_info", quality)
    overrides = {f"qos_overrides./offers/camera_info.subscription.{key}": value for key, value in (
        ("reliability", "reliable"), ("depth", 5), ("history", "keep_last"), ("durability", "volatile"))}  # fmt: skip
    model = str(random_model(place / "model.ts"))
    with node_process(place, model=model, image_topic=topic, autostart=True, **overrides) as process:
        peer.begin_anew(lambda: peer.diagnostics.get("pid") == str(process.pid))
        peer.wait(lambda: "/offers/camera_info offers another QoS" in peer.diagnostics["message"], "the report")
        assert "RELIABILITY" in peer.diagnostics["message"]
    peer.node.destroy_publisher(publisher)


def test_the_services_stand_before_pytorch_is_imported() -> None:
    """Its import takes seconds in which a lifecycle manager would look for the services in vain."""
    code = "import sys, vlocnetpp_ros.node; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout == "False\n"


def test_a_clock_that_says_less_than_zero_is_ignored_and_the_node_lives_on(peer: Peer, folder: Path) -> None:
    """rclpy's own callback of /clock raises ValueError out of spin for negative seconds."""
    publisher = peer.node.create_publisher(Clock, "/clock", 10)
    with running(peer, folder / "clock", model=str(random_model(folder / "clock.ts")), use_sim_time=True) as it:
        it.wait(lambda: publisher.get_subscription_count() > 0, "the node to listen to /clock")
        while it.count("callback_errors") == 0:
            publisher.publish(Clock(clock=Time(sec=-1)))
            it.refresh()
        publisher.publish(Clock(clock=Time(sec=5)))
        it.publish_image(it.next_stamp())
        it.wait_for_answer(it.stamp_ns)
    assert "a callback failed and is ignored" in (folder / "clock/node.log").read_text()
    peer.node.destroy_publisher(publisher)


def test_simulated_time_without_a_clock_stops_neither_answers_nor_reports(peer: Peer, folder: Path) -> None:
    with running(peer, folder / "sim", model=str(random_model(folder / "time.ts")), use_sim_time=True) as it:
        it.publish_image(it.next_stamp())
        it.wait_for_answer(it.stamp_ns)
        reports = it.reports
        it.wait(lambda: it.reports > reports + 1, "reports without a clock")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_while_the_node_comes_up_ends_the_process_cleanly(
    peer: Peer, folder: Path, number: signal.Signals
) -> None:
    """The context goes while the node configures itself, and with it all that a transition would publish."""
    place = folder / f"{number.name} early"
    place.mkdir()
    # A name of its own: that of a node before it may still be in the graph. The bundled model takes a second to load.
    name = f"early_{number.name.lower()}"
    with node_process(place, name, model=str(ROOT / "models/demo.ts"), autostart=True) as process:
        peer.wait(lambda: name in peer.node.get_node_names(), "the node to come up")
        process.send_signal(number)
        assert process.wait(60) == 0, (place / "node.log").read_text()
    assert "Traceback" not in (place / "node.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_while_images_are_worked_on_ends_the_process_cleanly(
    peer: Peer, folder: Path, number: signal.Signals
) -> None:
    place = folder / number.name
    place.mkdir()
    with node_process(place, model=str(random_model(place / "model.ts")), autostart=True) as process:
        peer.begin_anew(lambda: peer.diagnostics.get("pid") == str(process.pid) and peer.active_and_matched())
        peer.calibrate()
        for _ in range(20):
            peer.publish_image(peer.next_stamp())
        process.send_signal(number)
        assert process.wait(60) == 0, (place / "node.log").read_text()
        assert "Traceback" not in (place / "node.log").read_text()


def test_a_model_replaced_while_running_is_taken_by_the_lifecycle_and_a_broken_one_refused(
    peer: Peer, folder: Path
) -> None:
    model = random_model(folder / "replaced.ts")
    with running(peer, folder / "replaced", model=str(model)) as it:
        good = model.read_bytes()
        model.write_bytes(good[: len(good) // 2])
        it.publish_image(it.next_stamp())
        it.wait_for_answer(it.stamp_ns)
        assert it.deactivate()
        assert it.cleanup()
        assert not it.configure(), "half a file"
        it.next_report()
        assert "truncated" in it.diagnostics["message"]
        model.write_bytes(good)
        assert it.configure()
        assert it.activate()
        it.wait(it.active_and_matched, "the node to be back")
        it.calibrate()
        while it.attempt() is None:
            pass


def test_the_map_is_latched_and_what_the_camera_sees_is_a_cloud(peer: Peer, folder: Path) -> None:
    model = random_model(folder / "views.ts", "mtl", depth="sensor")
    points = map_points()
    carry(model, cloud_to_bytes(points))
    heard: dict[str, list[PointCloud2]] = {"map": [], "points": []}
    with running(peer, folder / "views", model=str(model), depth_topic=DEPTH_TOPIC) as it:
        assert (it.diagnostics["subscribers/~/map"], it.diagnostics["subscribers/~/points"]) == ("0", "0")
        # Subscribed after the node was active, as RViz is.
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        held = [
            it.node.create_subscription(PointCloud2, "/localizer/map", heard["map"].append, latched),
            it.node.create_subscription(PointCloud2, "/localizer/points", heard["points"].append, 10),
        ]
        it.wait(lambda: it.diagnostics["subscribers/~/points"] == "1", "the node to see its subscriber")
        while not (heard["map"] and heard["points"]):
            stamp = it.next_stamp()
            it.publish_depth(stamp)
            it.publish_image(stamp)
            it.wait_for_answer(stamp)
        there, seen = heard["map"][0], heard["points"][-1]
        assert (there.header.frame_id, there.width) == ("lab", len(points))
        assert seen.header.frame_id == FRAME
        xyz = np.frombuffer(bytes(seen.data), np.float32).reshape(-1, 4)[:, :3]
        assert len(xyz) == (HEIGHT // 4) * (WIDTH // 4)
        np.testing.assert_allclose(xyz[:, 2], 2.0)
        for subscription in held:
            it.node.destroy_subscription(subscription)


def test_another_camera_is_remapped_where_that_is_asked_for(peer: Peer, folder: Path) -> None:
    model = random_model(folder / "remapped.ts")
    with running(peer, folder / "remapped", model=str(model), other_camera="remap") as it:
        it.publish_info(focal=0.8 * FOCAL)  # a wider camera; refused without the parameter, as the fault matrix shows
        stamp = it.next_stamp()
        it.publish_image(stamp)
        it.wait_for_answer(stamp)
        (mask,) = it.answer(stamp, "semantic/mask")
        ids = np.frombuffer(mask.data, np.uint8).reshape(HEIGHT, WIDTH)
        assert (ids[0] == 255).all(), "beyond what the training camera sees"
        assert (ids[HEIGHT // 4 : -HEIGHT // 4, WIDTH // 4 : -WIDTH // 4] != 255).all()
        before = it.count("dropped/another camera")
        it.publish_info(focal=3.0 * FOCAL)
        while it.attempt() is not None:
            pass
        assert it.count("dropped/another camera") > before
        it.refresh()
        assert "too little" in it.diagnostics["last_drop"]


def test_the_help_of_the_node_needs_no_ros_and_its_start_names_what_to_install() -> None:
    """Whoever has only the library reads what to do in one line."""
    start = "import sys; sys.modules['rclpy'] = None; from vlocnetpp_ros.localization_node import main; "
    said = [
        subprocess.run([sys.executable, "-c", start + call], capture_output=True, text=True, check=False, cwd=ROOT)
        for call in ("sys.exit(main(['--help']))", "sys.exit(main([]))")
    ]
    assert [each.returncode for each in said] == [0, 2]
    assert "-p model:=lab.ts" in said[0].stdout and "  gate_scale" in said[0].stdout and not said[0].stderr
    assert said[1].stderr.startswith("localization_node: this needs ROS 2 (rclpy): source a ROS 2 installation")
