"""The files of a folder, without those that operating systems add, and the lock of an open file."""

from __future__ import annotations

import re
from pathlib import Path

LITTER = ("Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir")
"""Files that Windows, macOS and network drives add; names that begin with a dot (.DS_Store, ._NAME) are hidden
anyway."""


def visible(folder: Path) -> list[Path]:
    """What a folder holds, by name, without hidden files and thumbnails. Raises OSError as `Path.iterdir` does."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in LITTER)


def natural(name: str) -> list[str | int]:
    """Key to sort names as people number them, 2 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", name)]


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed. False where another process holds it; True too where the file system has no
    locks.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
