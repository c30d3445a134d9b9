"""The arguments of the launch files, read from their text: the package launch may not be installed."""

from __future__ import annotations

import ast

from conftest import ROOT

from vlocnetpp_ros.settings import DECLARATIONS

LAUNCH_FILES = ("localize", "replay", "demo")


def launch_arguments(name: str) -> set[str]:
    """Names that `launch/<name>.launch.py` declares; localize declares every parameter of the node."""
    tree = ast.parse((ROOT / "launch" / f"{name}.launch.py").read_text())
    found = {declaration.name for declaration in DECLARATIONS} if name == "localize" else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DeclareLaunchArgument":
            found |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "OPTIONS":
            found |= set(ast.literal_eval(node.value))
    return found
