"""The documentation says what the code does: names, reasons, keys and commands are held against each other."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT
from launch_arguments import launch_arguments

from vlocnetpp.benchmark.methods import methods
from vlocnetpp.cli.main import build_parser
from vlocnetpp.cli.training import train
from vlocnetpp_ros import parameter_table
from vlocnetpp_ros.corrections import CorrectionCounts
from vlocnetpp_ros.diagnostics import Statistics, Times, values
from vlocnetpp_ros.gate import Verdict
from vlocnetpp_ros.latest import Counts
from vlocnetpp_ros.outputs import LABEL_INFO, MAP, POINTS, TOPICS
from vlocnetpp_ros.replay import command as replay
from vlocnetpp_ros.settings import DECLARATIONS

NODE = (ROOT / "docs/node.md").read_text()
NAMED = ("node.md", "cameras.md", "explain.md", "benchmarks/running.md")
PAGES = [*(ROOT / "docs" / name for name in NAMED), *sorted((ROOT / "docs/tutorials").glob("*.md"))]
CAMERAS = sorted((ROOT / "config/cameras").glob("*.yaml"))
REASON_IS_FIRST = {"Dropped", "BadImage", "Fault", "refuse", "_refuse", "hold"}
"""Calls whose first argument is a reason by which an image is counted."""
TRANSITIONS = ("configure", "activate", "deactivate", "cleanup", "shutdown")


def trees(*folders: str) -> Iterator[ast.Module]:
    for folder in folders:
        for path in sorted((ROOT / folder).glob("*.py")):
            yield ast.parse(path.read_text())


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def constants(tree: ast.Module) -> dict[str, str]:
    """Module-level NAME = "text"."""
    return {
        name_of(target): statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(statement.value.value, str)
    }


def text(node: ast.expr, known: dict[str, str]) -> set[str]:
    """What an expression is when it is text or the name of a constant text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    return {known[name_of(node)]} if name_of(node) in known else set()


def drop_reasons() -> set[str]:
    found: set[str] = set()
    known = {name: value for tree in trees("vlocnetpp_ros") for name, value in constants(tree).items()}
    for tree in trees("vlocnetpp_ros"):
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = name_of(call.func)
            if call.args and name in REASON_IS_FIRST:
                found |= text(call.args[0], known)
            if call.args and name == "close" and name_of(getattr(call.func, "value", call.func)) == "_worker":
                found |= text(call.args[0], known)
            for keyword in call.keywords:
                if keyword.arg == "held":
                    found |= text(keyword.value, known)
    return found | {known["NEWER"]}


def cold_start_reasons() -> set[str]:
    """Arguments of forget() and distrust(), and what the localizer itself says."""
    found = {"first frame"}
    for tree in trees("vlocnetpp_ros", "vlocnetpp/runtime"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and name_of(node.func) in ("forget", "distrust"):
                found |= text(node.args[0], {})
            if isinstance(node, ast.FunctionDef) and node.name == "_cold_start":
                for each in (inner for inner in ast.walk(node) if isinstance(inner, ast.Return) and inner.value):
                    parts = [part.value for part in ast.walk(each.value) if isinstance(part, ast.Constant)]
                    found |= {part.split(" of ")[0] for part in [part for part in parts if isinstance(part, str)][:1]}
    return found


def section(page: str, title: str) -> str:
    """The text under a heading of the second level."""
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def codes(page: str) -> set[str]:
    """Everything in backticks outside of indented blocks."""
    lines = [line for line in page.splitlines() if not line.startswith("    ")]
    return set(re.findall(r"`([^`]+)`", "\n".join(lines)))


def first_column(page: str) -> list[str]:
    """Codes in the first column of the page's tables."""
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row)]


def blocks(page: str) -> Iterator[str]:
    """The indented blocks, without their indent."""
    block: list[str] = []
    for line in [*page.splitlines(), "end"]:
        if line.startswith("    "):
            block.append(line[4:])
        elif block and not line:
            block.append("")
        elif block:
            yield "\n".join(block).rstrip() + "\n"
            block = []


def commands(path: Path) -> Iterator[list[str]]:
    """The words of each command line on a page, or in the comments of a camera's file."""
    page = path.read_text()
    if path.suffix == ".yaml":
        page = "\n".join("    " + line[4:] for line in page.splitlines() if line.startswith("#   "))
    for block in blocks(page):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(vlocnetpp|replay|ros2|export) ", line):
                yield shlex.split(line, comments=True)


def test_the_page_of_benchmarks_names_every_method_without_a_row() -> None:
    text = section((ROOT / "docs/benchmarks/README.md").read_text(), "What is old, and what is missing")
    named = codes("\n".join(line for line in text.splitlines() if line.startswith("- ")))
    reports = [json.loads(path.read_text()) for path in (ROOT / "docs/benchmarks").glob("*/benchmark.json")]
    rows = {row["name"] for report in reports for row in report["rows"]}
    assert len(reports) == 7 and named == set(methods()) - rows


def test_the_table_of_parameters_is_that_of_the_declarations() -> None:
    assert (ROOT / "docs/parameters.md").read_text() == parameter_table.page()


def test_every_reason_to_drop_an_image_is_explained_and_no_other() -> None:
    explained = first_column(section(NODE, "Faults"))
    assert len(explained) == len(set(explained)) == len(drop_reasons())
    assert set(explained) == drop_reasons()


def test_every_cold_start_is_explained_and_no_other() -> None:
    rows = [line.rsplit("|", 2)[1] for line in section(NODE, "Time").splitlines() if line.startswith("| ")]
    explained = {code for row in rows[1:] for code in re.findall(r"`([^`]+)`", row)}
    assert explained == cold_start_reasons() >= {"gap", "stamp went back", "image size changed", "reset"}


def test_every_reason_to_withhold_a_pose_is_explained() -> None:
    source = (ROOT / "vlocnetpp_ros/gate.py").read_text()
    kinds = first_column(section(NODE, "The gate"))
    assert kinds == ["uncertain", "unlike the training images", "outside the map", "disagrees with odometry", "lost"]
    for kind in kinds:
        assert f'"{kind}"' in source, kind
    assert set(re.findall(r'return "([^"]+)", f', source)) | {"uncertain", "lost"} == set(kinds)


def test_every_key_of_the_diagnostics_is_explained() -> None:
    statistics = Statistics()
    statistics.answered(Times(**dict.fromkeys(Times.__dataclass_fields__, 0.1)), "gap of 1.0 s")
    statistics.judged(Verdict(False, False, "why", "lost"), np.array([0.1, 0.1]))
    keys = set(values(Counts(2, 1, {"wrong size": 1}), statistics, {"~/pose": 1}))
    for tree in trees("vlocnetpp_ros"):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name in ("_health", "status", "values"):
                for each in ast.walk(node):
                    if isinstance(each, ast.Subscript) and name_of(each.value) in ("values", "texts"):
                        keys |= text(each.slice, {})
                    if isinstance(each, ast.Dict):
                        keys |= {code for key in each.keys if key is not None for code in text(key, {})}
    keys |= {f"corrections/{name}" for name in CorrectionCounts.__dataclass_fields__}
    shown = first_column(section(NODE, "Diagnostics"))
    explained = {code.split("/")[0] for code in shown if not code.startswith("/")}
    assert {key.split("/")[0] for key in keys} == explained


def test_every_topic_and_service_has_its_row() -> None:
    topics = {topic for outputs in TOPICS.values() for topic, _ in outputs} | {LABEL_INFO, MAP, POINTS}
    rows = [code for title in ("Pose", "Odometry", "Semantics", "Views") for code in first_column(section(NODE, title))]
    assert set(rows) == topics
    assert first_column(section(NODE, "Services")) == ["~/reset", "~/set_enabled"]


@pytest.mark.parametrize("path", [*PAGES, *CAMERAS], ids=lambda path: path.name)
def test_every_command_can_be_given_as_written(path: Path) -> None:
    parameters = {declaration.name for declaration in DECLARATIONS}
    given = list(commands(path))
    assert given or path.suffix == ".md"
    for words in given:
        if words[0] in ("vlocnetpp", "replay"):
            parser = build_parser() if words[0] == "vlocnetpp" else replay._parser()
            told = io.StringIO()
            try:
                with contextlib.redirect_stderr(told):
                    args, rest = parser.parse_known_args(words[1:])
            except SystemExit:
                pytest.fail(f"{shlex.join(words)}: {told.getvalue()}")
            assert not rest or getattr(args, "command", None) is train, words
            for word in words:
                assert not word.startswith("config/") or (ROOT / word).exists(), word
        elif words[:3] == ["ros2", "launch", "vlocnetpp_ros"]:
            for word in words[4:]:
                name, _, value = word.partition(":=")
                assert name == "--show-args" or name in launch_arguments(words[3].removesuffix(".launch.py")), words
                assert name != "camera" or value == "NAME" or value in {camera.stem for camera in CAMERAS}, words
        elif words[:3] == ["ros2", "param", "set"]:
            assert words[3] == "/localizer", words
            assert words[4] in parameters, words
        elif words[:3] == ["ros2", "lifecycle", "set"]:
            assert words[4] in TRANSITIONS, words


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_snippets_are_python_that_compiles_and_yaml_that_loads(path: Path) -> None:
    declared = {declaration.name for declaration in DECLARATIONS} | {"qos_overrides"}
    for block in blocks(path.read_text()):
        if block.startswith("from launch"):
            compile(block, str(path), "exec")
            for name in re.findall(r'"(\w+)": "[^"]*",$', block, re.MULTILINE):
                assert name in launch_arguments("localize"), name
        elif block.startswith("/**:"):
            assert set(yaml.safe_load(block)["/**"]["ros__parameters"]) <= declared
        elif "ros__parameters:" in block:
            for filter_ in yaml.safe_load(block).values():
                settings = filter_["ros__parameters"]
                assert all(len(value) == 15 for value in settings.values() if isinstance(value, list))


@pytest.mark.parametrize("path", [*PAGES, ROOT / "docs/parameters.md"], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}, link


def test_the_table_of_cameras_is_that_of_the_files() -> None:
    page = (ROOT / "docs/cameras.md").read_text()
    rows = {line.split("`")[1]: codes(line) for line in page.splitlines() if line.startswith("| [`")}
    assert set(rows) == {path.stem for path in CAMERAS}
    for path in CAMERAS:
        settings = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
        assert settings["image_topic"] in rows[path.stem]
        assert not settings["depth_topic"] or settings["depth_topic"] in rows[path.stem]
