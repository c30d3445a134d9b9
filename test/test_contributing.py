"""The recipes of CONTRIBUTING.md work as they are printed, and name only what exists."""

from __future__ import annotations

import re
import types

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT

from vlocnetpp.data.layouts import recognize
from vlocnetpp.data.layouts.recognize import open_dataset
from vlocnetpp.losses import Frame, LossConfig, LossInput, MultitaskLoss, term_means
from vlocnetpp.peers import run_peer

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = {re.search(r"# (\S+)", text)[1]: text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)}  # type: ignore[index]


def module_of(path: str) -> types.ModuleType:
    """A recipe as the module that it says it is."""
    module = types.ModuleType(path.removesuffix(".py").replace("/", "."))
    exec(compile(RECIPES[path], path, "exec"), module.__dict__)  # noqa: S102 - the page's own text
    return module


@pytest.fixture
def recording(tmp_path):
    (tmp_path / "images").mkdir()
    np.savetxt(tmp_path / "K.txt", [[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]])
    rows = ["name,x,y,z,qw,qx,qy,qz"]
    for i in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), np.full((48, 64, 3), 40 * i, np.uint8))
        rows.append(f"{i}.png,{i},0,1,1,0,0,0")
    (tmp_path / "poses.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_the_layout_is_recognized_and_read(recording, monkeypatch):
    monkeypatch.setitem(recognize.LAYOUTS, "csv_poses", module_of("vlocnetpp/data/layouts/csv_poses.py"))
    dataset = open_dataset(recording)
    assert dataset.layout == "csv_poses" and [frame.pose_7[0] for frame in dataset.frames("train")] == [0, 1, 2]
    assert dataset.frames("train")[2].image().mean() == 80


def test_the_peer_answers(recording, monkeypatch):
    monkeypatch.setitem(recognize.LAYOUTS, "csv_poses", module_of("vlocnetpp/data/layouts/csv_poses.py"))
    frames = open_dataset(recording).frames("train")
    peer = module_of("vlocnetpp/peers/last_training_pose.py").LAST_TRAINING_POSE
    assert (run_peer(peer, frames[:2], frames).pose_N7[:, 0] == 1).all()


def test_the_loss_term_is_weighed_like_any_other():
    terms = module_of("vlocnetpp/losses/height.py").height_terms(LossConfig())
    pose_B7 = torch.tensor([[0.0, 0, 1, 1, 0, 0, 0], [0, 0, 4, 1, 0, 0, 0]])
    frame = Frame(*[torch.zeros(2, 1)] * 4, pose_B7=torch.zeros(2, 7), posed_B=torch.ones(2))
    means = term_means(terms, LossInput({"pose_B7": pose_B7}, frame), {"poses": 2.0})
    assert means["height"] == 2.5
    loss = MultitaskLoss(terms)
    assert loss(means) == 2.5 and loss.scalars() == {"height.s_z": 0.0}


def test_every_file_and_name_of_the_page_exists():
    for path in re.findall(r"`((?:vlocnetpp|vlocnetpp_ros|test|config)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
    for name, path in re.findall(r"`(\w+)` in `([\w/]+\.py)`", PAGE):
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(), re.MULTILINE), f"{name} in {path}"
    contract = (ROOT / "vlocnetpp/network/contract.py").read_text()
    for method in ("parts", "part_for", "pretrained_parts", "depth_network", "explanation", "state_shapes"):
        assert f"def {method}(" in contract
