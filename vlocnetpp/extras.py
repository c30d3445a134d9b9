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
    "sklearn": "report",
    "mujoco": "render",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
}
"""By the name that is imported."""
SHARED = ("matplotlib", "rich", "scipy")
"""Modules that `bags`, `train` and `report` all bring: what is being done says which of them to name."""
EXTRA_FOR = {"train": "train", "data": "bags", "replay": "bags"}
"""By the command; any other that needs one of SHARED needs `report`."""


def missing_extra(error: ModuleNotFoundError, command: str = "") -> str | None:
    """One line that says what to install for a module that is missing, or None where no extra brings it.

    Args:
        command: what was being done, such as `train`.
    """
    name = (error.name or "").partition(".")[0]
    if name in SHARED:
        extra = EXTRA_FOR.get(command, "report")
    elif name in EXTRA_OF:
        extra = EXTRA_OF[name]
    else:
        return None
    return f"this needs {name}, which is not installed: pip install '.[{extra}]' in the checkout"
