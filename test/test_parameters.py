"""Parameters: declared once, checked before they are set, applied after; and what is written from them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import rclpy
import torch
import yaml
from conftest import ROOT
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import SingleThreadedExecutor

from vlocnetpp_ros import environment, parameter_table
from vlocnetpp_ros.parameters import Parameters
from vlocnetpp_ros.pipeline import CORES, load
from vlocnetpp_ros.settings import DECLARATIONS, ParameterError, Settings


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
        ("publish_tf:=maybe", "one of auto, map_to_odom, map_to_camera, none"),
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


def test_intrinsics_of_a_relative_topic_are_beside_it() -> None:
    settings = Settings(**{each.name: each.default for each in DECLARATIONS} | {"image_topic": "image_rect"})
    assert settings.camera_info_input == "camera_info"
    assert replace(settings, image_topic="left/image").camera_info_input == "left/camera_info"
    assert replace(settings, image_topic="/image").camera_info_input == "/camera_info"


def test_a_change_that_another_callback_refuses_does_not_act(node_with) -> None:  # type: ignore[no-untyped-def]
    """rclpy asks every callback before it sets anything, so nothing may act while it asks."""
    node, acted = node_with("model:=x.ts"), []
    parameters = Parameters(node, acted.append)
    settings = parameters.read()
    answers = [SetParametersResult(successful=False, reason="not now"), SetParametersResult(successful=True)]
    order: list[str] = []

    def later(changes: list) -> SetParametersResult:
        order.append("asked")
        assert not acted
        return answers[len(order) - 1]

    node._on_set_parameters_callbacks.append(later)  # asked after the one of Parameters
    change = rclpy.Parameter("overlay_opacity", value=0.25)
    assert node.set_parameters([change])[0].reason == "not now"
    assert not acted and node.get_parameter("overlay_opacity").value == settings.overlay_opacity
    assert node.set_parameters([change])[0].successful
    assert [each.overlay_opacity for each in acted] == [0.25] and len(order) == 2


def test_of_an_atomic_change_all_or_nothing_acts(node_with) -> None:  # type: ignore[no-untyped-def]
    node, acted = node_with("model:=x.ts"), []
    Parameters(node, acted.append).read()
    changes = [rclpy.Parameter("gate_scale", value=2.0), rclpy.Parameter("publish_tf", value="maybe")]
    refused = node.set_parameters_atomically(changes)
    assert not refused.successful and "one of auto, map_to_odom" in refused.reason
    assert not acted and node.get_parameter("gate_scale").value == 1.0
    changes[1] = rclpy.Parameter("max_gap_s", value=0.25)
    assert node.set_parameters_atomically(changes).successful
    assert [(each.gate_scale, each.max_gap_s) for each in acted] == [(2.0, 0.25)]


def test_where_rclpy_has_no_callback_for_it_a_change_is_heard_as_an_event(node_with) -> None:  # type: ignore[no-untyped-def]
    """As on Humble."""
    node = node_with("model:=x.ts")
    Parameters(node)
    heard: list[rclpy.Parameter] = []
    environment.hear_parameter_events(node, heard.extend)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    assert node.set_parameters([rclpy.Parameter("gate_scale", value=2.0)])[0].successful
    for _ in range(200):
        executor.spin_once(timeout_sec=0.05)
        if heard:
            break
    executor.shutdown()
    assert [(each.name, each.value) for each in heard] == [("gate_scale", 2.0)]


def test_the_shipped_file_and_page_are_written_from_the_declarations() -> None:
    assert (ROOT / "config/localize.yaml").read_text() == parameter_table.parameter_file()
    assert (ROOT / "docs/parameters.md").read_text() == parameter_table.page()


def test_a_text_becomes_the_value_of_its_parameter_or_is_refused_in_one_line() -> None:
    declared = {declaration.name: declaration for declaration in DECLARATIONS}
    assert declared["gate_scale"].parse("2") == 2.0
    assert declared["gate_lose_after"].parse("7") == 7
    assert declared["publish_odometry_tf"].parse("True") is True
    assert declared["odom_frame"].parse("7") == "7"
    for name, text, says in (
        ("gate_scale", "much", "'much', it must be of type float"),
        ("gate_lose_after", "2.5", "it must be of type int"),
        ("publish_odometry_tf", "maybe", "true or false"),
        ("gate_scale", "0", "from 0.01 to 100"),
        ("publish_tf", "maybe", "one of auto"),
    ):
        with pytest.raises(ParameterError, match=says) as caught:
            declared[name].parse(text)
        assert "\n" not in str(caught.value)


def test_the_fields_of_the_settings_have_the_types_of_their_defaults() -> None:
    kinds = {"str": str, "bool": bool, "int": int, "float": float}
    for declaration in DECLARATIONS:
        assert type(declaration.default) is kinds[Settings.__annotations__[declaration.name]], declaration.name


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


def test_a_step_leaves_one_core_to_everything_else() -> None:
    before = torch.get_num_threads()
    given = {each.name: each.default for each in DECLARATIONS} | {
        "model": str(ROOT / "models/demo.ts"),
        "device": "cpu",
    }
    try:
        for threads, expected in ((0, max(1, CORES - 1)), (1, 1), (2, 2)):
            load(Settings(**{**given, "threads": threads}))
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
