"""Which optional extra of the package installs a module; the robot's installation has none of them."""

from __future__ import annotations

EXTRA_OF = {
    "apsw": "bags",
    "mcap": "bags",
    "rosbags": "bags",
    "zstandard": "bags",
    "kornia": "train",
    "lightning_fabric": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "markdown": "report",
    "matplotlib": "report",
    "scipy": "report",
    "sklearn": "report",
    "mujoco": "render",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
}
"""By the name that is imported. `train` and `bags` bring matplotlib and scipy as well."""


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """One line that says what to install for a module that is missing, or None where no extra brings it."""
    name = (error.name or "").partition(".")[0]
    if name not in EXTRA_OF:
        return None
    return f"this needs {name}, which is not installed: pip install 'vlocnetpp_ros[{EXTRA_OF[name]}]'"
