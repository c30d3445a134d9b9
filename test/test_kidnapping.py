"""A camera that is carried elsewhere in the middle of a bag: the real model, the real node, the rendered courtyard."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT
from ros_peers import isolate

from vlocnetpp.data import Dataset, Sequence, iter_bag, open_dataset, read_bag, write_bag
from vlocnetpp_ros.replay import main

BEFORE, AFTER = (40, 60), (240, 280)
"""Frames of the demo's loop: half a lap apart."""
PERIOD_NS = 66_666_667


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kidnapping")
    isolate(folder)
    return folder


@pytest.fixture(scope="module")
def kidnapped(folder: Path) -> Dataset:
    """Two stretches of the demo's recording as one, without a gap in its stamps."""
    read_bag(ROOT / "models/demo_bag", folder / "demo", split="test")
    demo = open_dataset(folder / "demo")
    frames = demo.frames("test")
    chosen = [*frames[slice(*BEFORE)], *frames[slice(*AFTER)]]
    first_ns = chosen[0].stamp_ns
    stamped = tuple(replace(frame, stamp_ns=first_ns + i * PERIOD_NS) for i, frame in enumerate(chosen))
    return replace(demo, splits={"test": (Sequence("kidnapped", stamped),)})


def test_poses_are_withheld_until_the_camera_is_found_at_its_new_place(folder: Path, kidnapped: Dataset) -> None:
    bag, out = folder / "bag", folder / "out"
    write_bag(kidnapped, "test", bag)
    assert main([str(ROOT / "models/demo.ts"), str(bag), "--out", str(out), "--fast", "--device", "cpu"]) == 0
    frames = kidnapped.frames("test")
    answered = {each.header_stamp_ns() for each in iter_bag(out / "bag", {"/localizer/pose"})}
    published = [frame.stamp_ns in answered for frame in frames]
    there = BEFORE[1] - BEFORE[0]
    assert all(published[:there]), "nothing is withheld before"
    # gate_lose_after 3 that disagree with the odometry, then gate_relocalize_after 10 that agree with each other, of
    # which the last is published.
    withheld = published[there:].index(True)
    assert 5 <= withheld <= 25 and all(published[there + withheld :])
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["localization"]["failed"] == withheld, "a withheld pose counts as infinitely wrong"
    assert metrics["node"]["processed"] == len(frames), "odometry and masks go on"
