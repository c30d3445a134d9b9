"""The machine that made a result, in one line."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def describe_machine(device: str = "cpu") -> str:
    """Processor, cores, threads, memory, GPU where it is used, and the versions that matter."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [
        f"{processor_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used, {memory:.0f} GiB",
        f"GPU {torch.cuda.get_device_name(device)}" if device.startswith("cuda") else "no GPU used",
        f"{platform.system()}, Python {platform.python_version()}, PyTorch {torch.__version__}, OpenCV {_opencv()}",
    ]
    return "; ".join(parts)


def processor_name() -> str:
    """The model of the processor, as Linux says it, else what Python knows."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _opencv() -> str:
    try:
        return version("opencv-python-headless")
    except PackageNotFoundError:
        import cv2

        return cv2.__version__
