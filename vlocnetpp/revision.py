"""The revision of the source that wrote a model, run or report."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vlocnetpp import __version__


def source_revision() -> str:
    """Version of the package and, inside a checkout, its commit."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return __version__  # installed, possibly inside somebody else's checkout
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    commit = result.stdout.strip()
    return f"{__version__}+{commit}" if result.returncode == 0 and commit else __version__
