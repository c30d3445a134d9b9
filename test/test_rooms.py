"""The order of the rooms: a module imports only from rooms below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = (
    ("errors", "extras", "encodings", "revision", "progress", "settings", "shipped", "geometry", "step"),
    ("poses",),
    ("metrics",),
    ("reporting",),
    ("data", "runtime", "network"),
    ("losses",),
    ("training",),
    ("export",),
    ("speed", "peers"),
    ("evaluation",),
    ("benchmark", "explain"),
    ("cli",),
)
"""Rooms of the library, from the ground up. Rooms of one floor do not know each other, but for the ground floor."""
FLOOR = {room: number for number, rooms in enumerate(ORDER) for room in rooms}
GROUND = set(ORDER[0])
RUNTIME_MAY_IMPORT = {"encodings", "geometry", "step", "errors"}
METRICS_MAY_IMPORT = {"encodings", "errors", "poses"}


def room_of(path: Path) -> str:
    """`data` of vlocnetpp/data/frames.py, `geometry` of vlocnetpp/geometry.py."""
    return path.relative_to(ROOT / "vlocnetpp").parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports from, wherever in it the import stands."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("vlocnetpp.")} & set(FLOOR)


FILES = sorted(path for path in (ROOT / "vlocnetpp").rglob("*.py") if room_of(path) != "__init__")


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_a_room_imports_only_from_below(room: str) -> None:
    found = {}
    for path in FILES:
        if room_of(path) == room:
            allowed = {other for other in FLOOR if FLOOR[other] < FLOOR[room]} | {room}
            if room in GROUND:
                allowed |= GROUND
            if room == "runtime":
                allowed = RUNTIME_MAY_IMPORT | {room}
            if room == "metrics":
                allowed = METRICS_MAY_IMPORT | {room}
            if wrong := imported_rooms(path) - allowed:
                found[str(path.relative_to(ROOT))] = sorted(wrong)
    assert not found


def test_the_node_asks_the_library_and_the_library_knows_no_ros() -> None:
    for path in FILES:
        text = path.read_text()
        assert "import rclpy" not in text and "from rclpy" not in text and "vlocnetpp_ros." not in text, path
