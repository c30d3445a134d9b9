"""Where the files are that are installed beside the code: the configurations."""

from __future__ import annotations

import errno
from pathlib import Path

PACKAGE = "vlocnetpp_ros"


def shipped(relative: str) -> Path:
    """A file or folder such as `config/benchmark`, from a checkout or from where pip or colcon installed it.

    A checkout has it beside the package; pip and colcon put it into share/, below the folder that their lib/ is in.
    Raises FileNotFoundError.
    """
    package = Path(__file__).resolve().parent
    for place in (package.parent, *(parent / "share" / PACKAGE for parent in package.parents)):
        if (place / relative).exists():
            return place / relative
    raise FileNotFoundError(errno.ENOENT, f"is not installed; install {PACKAGE} again", relative)
