"""What is installed, what it needs, and in which direction packages import each other."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vlocnetpp
from vlocnetpp.extras import EXTRA_FOR, EXTRA_OF, SHARED, missing_extra

SHARED_FOLDERS = ("launch", "config", "models", "rviz")
PYTHONS = ("3.10", "3.11", "3.12")

# How package.xml (rosdep) calls what Python imports, where the two differ.
ROSDEP_NAMES = {
    "cv2": "python3-opencv",
    "matplotlib": "python3-matplotlib",
    "mcap": "mcap-ros2-support",
    "numpy": "python3-numpy",
    "rich": "python3-rich",
    "rosbags": "python3-rosbags-pip",
    "scipy": "python3-scipy",
    "torch": "python3-pytorch-pip",
    "yaml": "python3-yaml",
    "zstandard": "mcap-ros2-support",
}
# How PyPI calls what Python imports, where the two differ.
PYPI_NAMES = {"cv2": "opencv-python-headless", "sklearn": "scikit-learn", "yaml": "pyyaml"}
# From a ROS installation or from the wheels; never a requirement of pip's.
ROS_MODULES = {
    "ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs", "geometry_msgs", "launch", "launch_ros",
    "lifecycle_msgs", "message_filters", "nav_msgs", "rcl_interfaces", "rclpy", "sensor_msgs", "std_msgs", "std_srvs",
    "tf2_msgs", "tf2_ros", "tf_transformations", "vision_msgs",
}  # fmt: skip
NETWORK_MODULES = {
    "aiohttp", "asyncio", "ftplib", "http", "httpx", "requests", "smtplib", "socket", "socketserver", "ssl",
    "telnetlib", "urllib", "urllib3", "websockets", "xmlrpc",
}  # fmt: skip


@pytest.fixture(scope="module")
def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


@pytest.fixture(scope="module")
def setup_arguments() -> dict[str, Any]:
    """What setup.py hands to setuptools."""
    setuptools = pytest.importorskip("setuptools")
    seen: dict[str, Any] = {}
    original, folder = setuptools.setup, Path.cwd()
    setuptools.setup = lambda **arguments: seen.update(arguments)
    try:
        os.chdir(ROOT)  # as pip and colcon run it
        runpy.run_path(str(ROOT / "setup.py"))
    finally:
        os.chdir(folder)
        setuptools.setup = original
    return seen


def shipped(folder: str) -> Iterator[Path]:
    """The Python files of a folder of the repository."""
    yield from sorted((ROOT / folder).rglob("*.py"))


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Every module name that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names.add(node.module or "")
    return frozenset(names)


def foreign_modules(*folders: str) -> set[str]:
    """Top-level modules that neither Python nor this repository has."""
    names = {name.partition(".")[0] for folder in folders for path in shipped(folder) for name in imports(path)}
    return names - set(sys.stdlib_module_names) - {"vlocnetpp", "vlocnetpp_ros"}


# --- package.xml and setup.py


def test_manifest(manifest):
    assert manifest.get("format") == "3"
    assert manifest.findtext("name") == "vlocnetpp_ros"
    assert manifest.findtext("license") == "Apache-2.0"
    assert manifest.findtext("export/build_type") == "ament_python"
    assert (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")
    depends = [element.text for element in manifest if element.tag.endswith("depend")]
    assert len(depends) == len(set(depends))


def test_one_version_everywhere(manifest, setup_arguments):
    version = manifest.findtext("version")
    assert version == setup_arguments["version"] == vlocnetpp.__version__
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (version, setup_arguments["license"])


def test_the_manifest_names_everything_that_is_imported(manifest):
    declared = {element.text for element in manifest.findall("exec_depend")}
    # Extras of setup.py, which rosdep does not know as a whole; google is protobuf, which onnx brings.
    # What rosdep has no key for is named in a comment.
    optional = {
        "apsw",
        "cattrs",
        "docstring_parser",
        "mujoco",
        "safetensors",
        "kornia",
        "lightning_fabric",
        "onnx",
        "onnxruntime",
        "google",
        "markdown",
        "sklearn",
    }
    needed = {
        ROSDEP_NAMES.get(name, name) for name in foreign_modules("vlocnetpp", "vlocnetpp_ros", "launch") - optional
    }
    assert needed <= declared


def test_the_manifest_declares_nothing_that_is_not_used(manifest):
    used = {ROSDEP_NAMES.get(name, name) for name in foreign_modules("vlocnetpp", "vlocnetpp_ros", "launch")}
    for path in shipped("vlocnetpp_ros"):
        used |= set(re.findall(r'(?:need|load|has)\("(\w+)"', path.read_text()))
    # The middleware whose profile is shipped, and the command that starts the launch files.
    used |= {"rmw_fastrtps_cpp", "ros2launch"}
    assert {element.text for element in manifest.findall("exec_depend")} <= used


def test_setup_names_everything_that_is_imported(setup_arguments):
    declared = [*setup_arguments["install_requires"], *setup_arguments["extras_require"]["all"]]
    declared_names = {canonicalize_name(Requirement(each).name) for each in declared}
    modules = foreign_modules("vlocnetpp", "vlocnetpp_ros") - ROS_MODULES - {"google"}  # protobuf, which onnx brings
    assert {canonicalize_name(PYPI_NAMES.get(name, name)) for name in modules} <= declared_names


def names_of(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def test_what_the_robot_does_not_need_is_in_the_extra_that_messages_name(setup_arguments):
    extras = {name: names_of(each) for name, each in setup_arguments["extras_require"].items()}
    for module, extra in EXTRA_OF.items():
        assert canonicalize_name(PYPI_NAMES.get(module, module)) in extras[extra]
    for extra in {*EXTRA_FOR.values(), "report"}:
        assert set(SHARED) <= extras[extra]
    robot = {"torch", "numpy", "opencv-python-headless", "pyyaml", "cattrs", "docstring-parser"}
    assert names_of(setup_arguments["install_requires"]) == robot


COMMANDS, REPLAY = "vlocnetpp.cli.main", "vlocnetpp_ros.replay.command"


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [
        (COMMANDS, "main(['inspect', 'models/demo.ts'])", ""),
        (COMMANDS, "main(['speed', 'models/demo.ts', '--ways', 'runtime', '--repetitions', '1'])", ""),
        (COMMANDS, "main(['data', 'from-bag', 'models/demo_bag', 'out/none'])", "bags"),
        ("vlocnetpp_ros.node", "run and None", ""),
        (REPLAY, "main(['models/demo.ts', 'models/demo_bag', '--out', 'out/none'])", "bags"),
    ],
)
def test_without_the_extras_the_robot_runs_and_the_rest_names_its_extra(module, call, extra):
    if module.startswith("vlocnetpp_ros"):
        pytest.importorskip("rclpy")
    absent = [*EXTRA_OF, *SHARED]
    program = f"import sys\nsys.modules.update(dict.fromkeys({absent}))\nfrom {module} import *\nsys.exit({call})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == (2 if extra else 0), done.stderr
    command = "replay" if module == REPLAY else "vlocnetpp"
    message = "{}: this needs {}, which is not installed: pip install '.[{}]' in the checkout\n"
    assert not extra or done.stderr in {message.format(command, each, extra) for each in absent}


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("scipy.spatial", "train", "train"),
        ("scipy.spatial", "data", "bags"),
        ("matplotlib", "replay", "bags"),
        ("matplotlib", "evaluate", "report"),
        ("sklearn.manifold", "explain", "report"),
        ("safetensors", "evaluate", "train"),
        ("mcap", "train", "bags"),
        ("onnx", "export", "onnx"),
        ("numpy", "train", ""),
    ],
)
def test_a_missing_module_is_named_with_the_extra_of_what_is_being_done(module, command, extra):
    name = module.partition(".")[0]
    expected = f"this needs {name}, which is not installed: pip install '.[{extra}]' in the checkout" if extra else None
    assert missing_extra(ModuleNotFoundError(name=module), command) == expected


def test_every_shared_file_is_installed(setup_arguments):
    installed = {source: folder for folder, sources in setup_arguments["data_files"] for source in sources}
    for source in installed:
        assert (ROOT / source).is_file(), source
    assert installed["resource/vlocnetpp_ros"] == "share/ament_index/resource_index/packages"
    assert installed["package.xml"] == "share/vlocnetpp_ros"
    for folder in SHARED_FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            relative = path.relative_to(ROOT)
            if path.is_file() and "__pycache__" not in relative.parts and not path.name.startswith("."):
                assert installed[str(relative)] == f"share/vlocnetpp_ros/{relative.parent}"


def test_every_package_is_installed(setup_arguments):
    for folder in ("vlocnetpp", "vlocnetpp_ros"):
        for path in shipped(folder):
            assert ".".join(path.relative_to(ROOT).parent.parts) in setup_arguments["packages"]


def test_console_scripts(setup_arguments):
    scripts = dict(line.split(" = ") for line in setup_arguments["entry_points"]["console_scripts"])
    assert set(scripts) == {"vlocnetpp", "localization_node", "replay"}
    for name, target in scripts.items():
        module, _, function = target.partition(":")
        if module.startswith("vlocnetpp_ros"):
            pytest.importorskip("rclpy")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_what_pip_installed_is_this_version(setup_arguments):
    try:
        found = importlib.metadata.distribution("vlocnetpp_ros")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("vlocnetpp_ros is not installed here: pip install -e .")
    assert found.version == setup_arguments["version"]
    assert {each.name for each in found.entry_points} == {"vlocnetpp", "localization_node", "replay"}


# --- constraints.txt


def test_every_requirement_is_pinned_once_for_every_python(setup_arguments):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for pin in pins:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin} is not an exact pin"
    tools = [*setup_arguments["install_requires"], *setup_arguments["extras_require"]["all"]]
    tools += ["ros-jazzy-rclpy", "ros-jazzy-common-interfaces", "colcon-core", "colcon-ros", "setuptools"]
    for python in PYTHONS:
        valid = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": python})]
        names = [canonicalize_name(pin.name) for pin in valid]
        assert len(names) == len(set(names)), "two pins of one package"
        versions = dict(zip(names, (str(pin.specifier)[2:] for pin in valid), strict=True))
        for tool in map(Requirement, tools):
            assert tool.specifier.contains(versions[canonicalize_name(tool.name)]), f"{tool} with Python {python}"


# --- arrows


def test_the_library_is_free_of_ros():
    for path in shipped("vlocnetpp"):
        for name in imports(path):
            assert name.partition(".")[0] not in ROS_MODULES | {"vlocnetpp_ros"}, f"{path} imports {name}"


def test_the_runtime_needs_torch_and_numpy_only():
    allowed = ("numpy", "torch", "vlocnetpp.encodings", "vlocnetpp.geometry", "vlocnetpp.step", "vlocnetpp.runtime")
    for path in [*shipped("vlocnetpp/runtime"), ROOT / "vlocnetpp" / "geometry.py", ROOT / "vlocnetpp" / "step.py"]:
        for name in imports(path):
            if name.partition(".")[0] not in sys.stdlib_module_names:
                assert any(name == each or name.startswith(each + ".") for each in allowed), f"{path} imports {name}"


def test_nothing_shipped_opens_a_connection():
    """The node talks through ROS, and nothing else here talks at all."""
    for folder in ("vlocnetpp", "vlocnetpp_ros", "launch"):
        for path in shipped(folder):
            for name in imports(path):
                assert name.partition(".")[0] not in NETWORK_MODULES, f"{path} imports {name}"
                assert not name.startswith("torch.hub"), f"{path} imports {name}"


def test_the_node_needs_the_runtime_only():
    """What the robot runs must start where neither the trainer nor its dependencies are installed."""
    pytest.importorskip("rclpy")
    ours = ("vlocnetpp.network", "vlocnetpp.training", "vlocnetpp.data")
    absent = (*ours, "matplotlib", "mujoco", "scipy", "rosbags", "cattrs")
    program = f"import sys, vlocnetpp_ros.node\nprint([each for each in {absent} if each in sys.modules])\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_heavy_libraries_are_imported_where_they_are_used():
    program = (
        "import sys, vlocnetpp.cli, vlocnetpp.data, vlocnetpp.evaluation, vlocnetpp.training\n"
        "print([each for each in ('matplotlib', 'mujoco', 'safetensors', 'onnx') if each in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


# --- colcon
