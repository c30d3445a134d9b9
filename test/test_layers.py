"""The order of the packages: a module imports only from packages below its own."""

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
"""Packages of the library, lowest layer first. Those of one layer do not import each other, except in the lowest."""
LAYER = {package: number for number, packages in enumerate(ORDER) for package in packages}
LOWEST = set(ORDER[0])
RUNTIME_MAY_IMPORT = {"encodings", "geometry", "step", "errors"}
METRICS_MAY_IMPORT = {"encodings", "errors", "poses"}


def package_of(path: Path) -> str:
    """`data` of vlocnetpp/data/frames.py, `geometry` of vlocnetpp/geometry.py."""
    return path.relative_to(ROOT / "vlocnetpp").parts[0].removesuffix(".py")


def imported_packages(path: Path) -> set[str]:
    """Packages that a file imports from, anywhere in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("vlocnetpp.")} & set(LAYER)


FILES = sorted(path for path in (ROOT / "vlocnetpp").rglob("*.py") if package_of(path) != "__init__")


def test_every_package_has_a_layer() -> None:
    assert {package_of(path) for path in FILES} == set(LAYER)


@pytest.mark.parametrize("package", sorted(LAYER))
def test_a_package_imports_only_from_below(package: str) -> None:
    found = {}
    for path in FILES:
        if package_of(path) == package:
            allowed = {other for other in LAYER if LAYER[other] < LAYER[package]} | {package}
            if package in LOWEST:
                allowed |= LOWEST
            if package == "runtime":
                allowed = RUNTIME_MAY_IMPORT | {package}
            if package == "metrics":
                allowed = METRICS_MAY_IMPORT | {package}
            if wrong := imported_packages(path) - allowed:
                found[str(path.relative_to(ROOT))] = sorted(wrong)
    assert not found


def test_the_library_does_not_import_ros() -> None:
    for path in FILES:
        text = path.read_text()
        assert "import rclpy" not in text and "from rclpy" not in text and "vlocnetpp_ros." not in text, path
