"""Launch files: what needs ROS packages that PyPI does not have. Skipped where they are missing."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import rclpy
import yaml
from conftest import ROOT
from launch_arguments import LAUNCH_FILES, launch_arguments
from random_camera_models import random_model
from ros_peers import (
    IMAGE_TOPIC,
    INFO_TOPIC,
    TIMEOUT_S,
    UNGATED,
    Peer,
    isolate,
    needs,
)
from sensor_msgs.msg import PointCloud2

from vlocnetpp_ros import environment
from vlocnetpp_ros.outputs import MAP, POINTS, TOPICS
from vlocnetpp_ros.parameter_names import unknown_argument
from vlocnetpp_ros.parameters import Parameters
from vlocnetpp_ros.replay import command
from vlocnetpp_ros.settings import DECLARATIONS, Settings

CAMERAS = sorted((ROOT / "config/cameras").glob("*.yaml"))


def loaded(name: str) -> ModuleType:
    needs("launch", "launch_ros")
    spec = importlib.util.spec_from_file_location(f"{name}_launch", ROOT / "launch" / f"{name}.launch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def node_from(*ros_arguments: str) -> Iterator[rclpy.node.Node]:
    """A node of the localizer's name, started with these arguments; nothing of it is sent anywhere."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("localizer", context=context, cli_args=["--ros-args", *ros_arguments])
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()


def settings_from(*ros_arguments: str) -> Settings:
    """The localizer's settings for a command line."""
    with node_from(*ros_arguments) as node:
        return Parameters(node).read()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("launch")


@pytest.fixture(scope="module")
def peer(folder: Path) -> Iterator[Peer]:
    isolate(folder)
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return random_model(folder / "random.ts")


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_a_launch_file_loads_and_every_argument_is_described(name: str) -> None:
    description = loaded(name).generate_launch_description()
    arguments = description.get_launch_arguments()
    assert arguments
    for argument in arguments:
        assert len(argument.description) > 5, argument.name


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_the_arguments_read_from_the_text_are_those_of_launch(name: str) -> None:
    module = loaded(name)  # which skips the test where launch is not installed
    from launch.actions import DeclareLaunchArgument

    entities = module.generate_launch_description().entities  # its own, not those of a file that it includes
    arguments = [entity for entity in entities if isinstance(entity, DeclareLaunchArgument)]
    assert launch_arguments(name) == {argument.name for argument in arguments}


def test_a_mistyped_launch_argument_is_an_error() -> None:
    known = ("gate_scale", "model")
    command = ["/opt/ros/bin/ros2", "launch", "vlocnetpp_ros", "localize.launch.py", "model:=a:=b.ts"]
    assert unknown_argument("/share/localize.launch.py", known, command) is None
    line = unknown_argument("/share/localize.launch.py", known, [*command, "gate_scal:=0.7"])
    assert line is not None
    assert line.startswith(
        "localize.launch.py has no argument 'gate_scal' (--show-args lists them), did you mean 'gate_scale'?"
    )
    # A bring-up that includes the file has arguments of its own.
    assert unknown_argument("/share/localize.launch.py", known, ["ros2", "launch", "robot.launch.py", "x:=1"]) is None


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_a_launch_file_looks_at_its_command_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded(name)
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "vlocnetpp_ros", f"{name}.launch.py", "rviz:=true"])
    assert module.generate_launch_description()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "rvizz:=true"])
    with pytest.raises(ValueError, match=rf"^{name}.launch.py has no argument 'rvizz' \(.*\), did you mean 'rviz'"):
        module.generate_launch_description()


def test_every_documented_argument_reaches_its_launch_file() -> None:
    """`ros2 launch vlocnetpp_ros FILE a:=1 b:=2` wherever it is written, and arguments that prose names as `a:=1`."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *CAMERAS, *(ROOT / "launch").glob("*.py")]
    anywhere = set().union(*map(launch_arguments, LAUNCH_FILES))
    # Of other packages, whose drivers the pages start.
    foreign = {"publish_map_tf", "camera_model", "camera_name", "params_file"}
    commands = 0
    for page in pages:
        text = page.read_text().replace("\\\n", " ")
        for name, words in re.findall(r"ros2 launch vlocnetpp_ros (\w+)\.launch\.py([^`\n]*)", text):
            commands += 1
            given = set(re.findall(r"(\w+):=", words))
            assert given <= launch_arguments(name), (page.name, name, given - launch_arguments(name))
        for given in re.findall(r"`(\w+):=[^`]*`", text):
            assert given in anywhere | foreign, (page.name, given)
    assert commands > 5


def test_every_parameter_can_be_given_to_the_launch_file_in_its_own_type() -> None:
    module = loaded("localize")
    nothing = {**dict.fromkeys(module.OVERRIDES, ""), "camera": "none", "params_file": "", "use_sim_time": ""}
    for declaration in DECLARATIONS:
        if declaration.name in ("autostart", "model"):
            continue
        words = str(declaration.default) or "x"
        values = module.parameters({**nothing, "autostart": "true", declaration.name: words})[-1]
        assert values[declaration.name] == (declaration.default or words if words == "x" else declaration.default)
        assert type(values[declaration.name]) is type(declaration.default)
    with pytest.raises(ValueError, match="'gate_scale' is 'much', it must be of type float"):
        module.parameters({**nothing, "autostart": "true", "gate_scale": "much"})


def test_the_arguments_of_replay_become_options_that_it_has(tmp_path: Path) -> None:
    module = loaded("replay")
    description = module.generate_launch_description()
    given = {each.name: each.default_value[0].text if each.default_value else "x" for each in description.entities[:-1]}
    plain = module.words(given)
    assert "--no-gate" not in plain and plain[2:6] == ["--out", str(Path("out/replay").resolve()), "--rate", "1.0"]
    every = module.words(
        {**given, **dict.fromkeys(module.OPTIONS, "x"), "no_gate": "true", "fast": "true", "gate_scale": "1.1"}
    )
    assert {"--no-gate", "--fast", "--parameter=gate_scale:=1.1"} < set(every) and "--rate" not in every
    known = command._parser()._option_string_actions
    assert {word.partition("=")[0] for word in every if word.startswith("--")} <= set(known)


def test_replay_ends_the_launch_as_it_ended() -> None:
    module = loaded("replay")
    from launch import LaunchContext
    from launch.events.process import ProcessExited

    context = LaunchContext()

    def ended(status: int) -> ProcessExited:
        return ProcessExited(action=None, name="replay", cmd=["replay"], cwd=None, env=None, pid=1, returncode=status)

    for rviz, words in (("false", []), ("true", ["RViz shows where it ended"])):
        context.launch_configurations["rviz"] = rviz
        said = module.ended(ended(0), context)
        assert all(word in each.msg[0].text for each, word in zip(said, words, strict=True))
        with pytest.raises(RuntimeError, match="replay ended with status 2"):
            module.ended(ended(2), context)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda path: path.stem)
def test_a_camera_s_file_sets_declared_parameters_to_allowed_values(camera: Path) -> None:
    preset = yaml.safe_load(camera.read_text())["/**"]["ros__parameters"]
    declarations = {declaration.name: declaration for declaration in DECLARATIONS}
    assert preset.keys() >= {"image_topic", "camera_info_topic", "depth_topic", "publish_tf"}
    for name, value in preset.items():
        assert isinstance(value, type(declarations[name].default)), name
        assert not declarations[name].choices or value in declarations[name].choices, name
    settings = settings_from("--params-file", str(camera), "-p", "model:=x.ts")
    assert settings.image_input == preset["image_topic"]
    assert settings.camera_info_input.rpartition("/")[0] == preset["image_topic"].rpartition("/")[0]
    assert f"localize.launch.py model:=lab.ts camera:={camera.stem}\n" in camera.read_text()


def test_the_camera_of_the_defaults_is_a_zed() -> None:
    preset = settings_from("--params-file", str(ROOT / "config/cameras/zed.yaml"), "-p", "model:=x.ts")
    assert preset.image_topic == {each.name: each.default for each in DECLARATIONS}["image_topic"]


@pytest.mark.parametrize("key", ["/**", "/localizer", "localizer"])
def test_the_user_s_file_wins_over_the_camera_s_and_an_argument_over_both(tmp_path: Path, key: str) -> None:
    """As rcl sees it, in the order in which the launch file hands it over."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({key: {"ros__parameters": {"image_topic": "/mine/image", "odom_frame": "wheels"}}}))
    given = tmp_path / "given.yaml"
    given.write_text(yaml.safe_dump({"/localizer": {"ros__parameters": {"model": "x.ts", "odom_frame": "given"}}}))
    files = (ROOT / "config/cameras/realsense.yaml", mine, given)
    settings = settings_from(*(word for file in files for word in ("--params-file", str(file))))
    assert settings.image_topic == "/mine/image"
    assert settings.depth_topic == "/camera/camera/aligned_depth_to_color/image_raw"
    assert settings.odom_frame == "given"
    assert settings.map_frame == ""


def test_the_launch_file_hands_over_what_was_given_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("localize")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("/**: {ros__parameters: {odom_frame: wheels}}\n")
    nothing = {**dict.fromkeys(module.OVERRIDES, ""), "camera": "none", "params_file": "", "use_sim_time": ""}
    nothing["autostart"] = "false"
    assert module.parameters(nothing) == [{"autostart": False}]
    given = {**nothing, "camera": "zed", "params_file": "mine.yaml", "model": "lab.ts", "use_sim_time": "True"}
    preset, mine, values = module.parameters(given)
    assert preset == str(ROOT / "config/cameras/zed.yaml")
    assert mine == str(tmp_path / "mine.yaml")
    assert values == {"autostart": False, "model": str(tmp_path / "lab.ts"), "use_sim_time": True}
    with pytest.raises(ValueError, match=r"params_file 'none.yaml' is not a file"):
        module.parameters({**nothing, "params_file": "none.yaml"})
    with pytest.raises(ValueError, match="use_sim_time 'maybe' must be true or false"):
        module.parameters({**nothing, "use_sim_time": "maybe"})


def test_the_cameras_to_choose_from_are_the_files() -> None:
    arguments = {each.name: each for each in loaded("localize").generate_launch_description().get_launch_arguments()}
    assert arguments["camera"].choices == ["none", *(path.stem for path in CAMERAS)]


def test_in_a_namespace_rviz_is_remapped_to_the_topics_of_its_node() -> None:
    """By the rules that the launch file gives to RViz, as rcl resolves them."""
    rules = [f"/localizer/{topic}:=localizer/{topic}" for topic in loaded("localize").SHOWN]
    words = ["-r", "__ns:=/robot1", *(word for rule in rules for word in ("-r", rule))]
    with node_from(*words) as node:
        assert {node.resolve_topic_name(topic) for topic in rviz_topics()} == {
            f"/robot1{topic}" for topic in rviz_topics()
        }


def test_the_user_s_fast_dds_profile_wins_over_the_shipped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("localize")
    from launch.actions import SetEnvironmentVariable

    def sets() -> list[SetEnvironmentVariable]:
        entities = module.generate_launch_description().entities
        return [entity for entity in entities if isinstance(entity, SetEnvironmentVariable)]

    for variable in environment.FAST_DDS_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert len(sets()) == len(environment.FAST_DDS_VARIABLES)
    monkeypatch.setenv(environment.FAST_DDS_VARIABLES[0], "/mine.xml")
    assert {action.value[0].text for action in sets()} == {"/mine.xml"}


PUBLISHED = {topic.replace("~", "/localizer"): message for task in TOPICS.values() for topic, message in task}
PUBLISHED.update({topic.replace("~", "/localizer"): PointCloud2 for topic in (MAP, POINTS)})
LATCHED_TOPICS = {"/localizer/map"}
DISPLAYS = {"PoseStamped": "Pose", "PoseWithCovarianceStamped": "PoseWithCovariance"}
"""How RViz calls the display of a message, where it is another name."""


def displays() -> list[dict]:
    shown = yaml.safe_load((ROOT / "rviz/localize.rviz").read_text())["Visualization Manager"]
    assert shown["Global Options"]["Fixed Frame"] == "map"
    return shown["Displays"]


def rviz_topics() -> set[str]:
    return {display["Topic"]["Value"] for display in displays() if "Topic" in display}


def test_rviz_shows_what_the_node_publishes() -> None:
    assert rviz_topics() == {f"/localizer/{topic}" for topic in shown_topics()} <= set(PUBLISHED)
    for display in displays():
        if "Topic" not in display:
            continue
        message = PUBLISHED[display["Topic"]["Value"]].__name__
        assert display["Class"] == f"rviz_default_plugins/{DISPLAYS.get(message, message)}"
        # Of a publisher that keeps nothing, what asks for more would show nothing, without a word.
        latched = display["Topic"]["Value"] in LATCHED_TOPICS
        assert display["Topic"]["Durability Policy"] == ("Transient Local" if latched else "Volatile")
        assert display["Topic"]["Reliability Policy"] == ("Best Effort" if message == "Image" else "Reliable")
    assert "rviz_default_plugins/TF" in {display["Class"] for display in displays()}


def shown_topics() -> tuple[str, ...]:
    """SHOWN of localize.launch.py, by its text."""
    tree = ast.parse((ROOT / "launch/localize.launch.py").read_text())
    assigned = {each.targets[0].id: each.value for each in tree.body if isinstance(each, ast.Assign)}
    return ast.literal_eval(assigned["SHOWN"])


def test_the_foxglove_layout_shows_the_same() -> None:
    layout = json.loads((ROOT / "rviz/localize.foxglove.json").read_text())
    panels = layout["configById"]

    def leaves(node: str | dict) -> list[str]:
        return [node] if isinstance(node, str) else [*leaves(node["first"]), *leaves(node["second"])]

    assert sorted(leaves(layout["layout"])) == sorted(panels)
    scene = panels["3D!map"]
    images = {panel["imageMode"]["imageTopic"] for name, panel in panels.items() if name.startswith("Image!")}
    assert set(scene["topics"]) | images == rviz_topics()
    assert scene["followTf"] == "map"
    assert panels["DiagnosticStatusPanel!node"]["selectedName"] == "/localizer: localization"


def test_ros2_launch_starts_the_node_active_and_ends_it(peer: Peer, model: Path, folder: Path) -> None:
    needs("launch", "launch_ros")
    ros2 = shutil.which("ros2")
    if ros2 is None:
        pytest.skip("the command ros2 is not installed here")
    from ament_index_python.packages import get_packages_with_prefixes

    if environment.PACKAGE not in get_packages_with_prefixes():
        pytest.skip(f"{environment.PACKAGE} is not in the package index; build it with colcon and source it")
    # Random weights answer poses that the gate would withhold.
    params_file = folder / "ungated.yaml"
    params_file.write_text(yaml.safe_dump({"/**": {"ros__parameters": UNGATED}}))
    arguments = ["camera:=usb", f"image_topic:={IMAGE_TOPIC}", f"params_file:={params_file}"]
    arguments += [f"model:={model}", "publish_tf:=none", "device:=cpu"]
    with (folder / "launch.log").open("wb") as log:
        process = subprocess.Popen(
            [ros2, "launch", environment.PACKAGE, "localize.launch.py", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:

        def seen() -> bool:
            peer.publish_info()
            peer.publish_image(peer.next_stamp())
            return bool(peer.received["pose"]) and bool(peer.received["semantic/mask"])

        peer.wait(seen, "an answer of the launched node")
        assert IMAGE_TOPIC.rpartition("/")[0] + "/camera_info" == INFO_TOPIC
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
        assert "process has finished cleanly" in (folder / "launch.log").read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_launch_files_are_python_that_compiles_here_too() -> None:
    for name in LAUNCH_FILES:
        path = ROOT / "launch" / f"{name}.launch.py"
        compile(path.read_text(), str(path), "exec")
    assert sys.version_info >= (3, 10)
