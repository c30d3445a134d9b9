"""Short versions of the node's overload, soak and cost benchmarks: nothing is late for ever, nothing grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT
from random_camera_models import random_model
from ros_peers import isolate

from benchmarks import node_cost, overload, soak

IMAGE_TOPIC = "/zed/zed_node/rgb/color/rect/image/compressed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("endurance")
    isolate(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return random_model(folder / "random.ts")


def test_a_flood_of_images_is_accounted_for_and_leaves_nothing_behind(model: Path) -> None:
    report = overload.run(model, seconds=3.0, factor=3.0, width=160, height=120, encoding="bgra8")
    assert report["accounted_for"]
    assert report["received"] > report["processed"] > 0
    assert report["dropped"] > 0, "three times what can be answered"
    assert report["memory_growth_mb"] < 20
    assert report["threads"][1] <= report["threads"][0]
    assert report["files"][1] <= report["files"][0]
    # A queue would make the last answers late by the length of the flood.
    assert report["latency_ms"]["p50"] < 1000


def test_a_looped_bag_and_a_few_lives_leave_nothing_behind() -> None:
    report = soak.run(ROOT / "models/demo.ts", ROOT / "models/demo_bag", IMAGE_TOPIC, 6.0, 2.0, rounds=3)
    looped, lives = report["loop"], report["lifecycle"]
    assert looped["received"] == looped["processed"] + looped["dropped"] > 0
    for figures in (looped, lives):
        assert figures["threads"][1] <= figures["threads"][0]
        assert figures["files"][1] <= figures["files"][0]
        assert figures["memory_mb"][1] - figures["memory_mb"][0] < 20


def test_the_node_tells_its_own_cost_from_the_network_s(model: Path) -> None:
    figures = node_cost.measure(model, "jpeg", images=20, reliable=False, seconds=1.0)
    assert figures["model_ms"]["p50"] > 0
    assert figures["own_ms"]["p50"] > 0
    assert figures["pixels_ms"]["p50"] + figures["publish_ms"]["p50"] <= 1.5 * figures["own_ms"]["p95"]
    assert figures["latency_ms"]["p50"] < figures["stamp_to_pose_ms"]["max"]
    arrived, sent = figures["arrived_of_30_hz"]
    assert 0 < arrived <= sent == 30
