"""Drives in different maps: found by the doctor with the transform that joins them, and joined by `data align`."""

from __future__ import annotations

import shutil
from pathlib import Path

import broken_copies as broken
import numpy as np
import pytest
from conftest import real_data
from made_room import PAIRS, Room, drive, write_room
from scipy.spatial.transform import Rotation
from test_doctor import kinds, the

from vlocnetpp.cli import main
from vlocnetpp.data import open_dataset
from vlocnetpp.data.doctor import examine, maps, survey
from vlocnetpp.poses import relative, rotation_angle

ELSEWHERE = np.eye(4)
"""From the map of the training drive to that of the other one."""
ELSEWHERE[:3, :3] = Rotation.from_euler("y", 50, degrees=True).as_matrix()
ELSEWHERE[:3, 3] = 3.0, -0.5, 7.0


@pytest.fixture(scope="module")
def drawn():
    """A training drive, a second one beside it, and a test drive, each of 20 frames."""
    room = Room()
    sides = {"train": 0.0, "test": 0.25}
    return {split: [(T, *room.draw(T)) for T in drive(20, side)] for split, side in sides.items()}


def moved(drawn, transform: np.ndarray, scale: float = 1.0):
    """The test drive's poses in another map."""
    scaling = np.diag([scale, scale, scale])

    def move(T: np.ndarray) -> np.ndarray:
        return transform @ np.vstack([np.column_stack([T[:3, :3], scaling @ T[:3, 3]]), T[3]])

    return {"train": drawn["train"], "test": [(move(T), image, metres) for T, image, metres in drawn["test"]]}


def difference(root: Path, other: Path, split: str) -> tuple[float, float]:
    """Largest distance and angle between the poses of two datasets, metres and degrees."""
    a, b = (np.array([frame.pose_7 for frame in open_dataset(each).frames(split)]) for each in (root, other))
    apart = relative(a, b)
    return float(np.linalg.norm(apart[:, :3], axis=1).max()), float(np.degrees(rotation_angle(apart[:, 3:])).max())


@pytest.mark.parametrize("depth", [True, False])
def test_a_drive_in_another_map_is_an_error_and_is_joined(tmp_path, drawn, depth, capsys):
    whole = write_room(tmp_path / "whole", drawn, depth=depth)
    apart = write_room(tmp_path / "apart", moved(drawn, ELSEWHERE), depth=depth)
    assert "maps" not in kinds(examine(whole, pairs=PAIRS))
    report = examine(apart, pairs=PAIRS)
    assert kinds(report) == ["maps"]
    finding = the(report, "maps")
    assert "it is in another map than train" in finding.what
    assert finding.do == f"vlocnetpp data align {apart} test --out NEW"
    words = ["data", "align", str(apart), "test", "--out", str(tmp_path / "joined"), "--pairs", str(PAIRS)]
    assert main(words) == 0
    assert "apart is unchanged" in capsys.readouterr().out
    metres, degrees = difference(whole, tmp_path / "joined", "test")
    assert metres < 0.12 and degrees < 1.5
    assert difference(whole, tmp_path / "joined", "train") == (0.0, pytest.approx(0.0, abs=1e-5))
    assert "maps" not in kinds(examine(tmp_path / "joined", pairs=PAIRS))
    assert main(words) == 2, "nothing is overwritten"
    assert "exists already" in capsys.readouterr().err
    assert main([*words[:2], str(whole), *words[3:5], str(tmp_path / "new"), *words[6:]]) == 2
    assert "test is in the map of train already" in capsys.readouterr().err
    assert main([*words[:3], "tset", *words[4:5], str(tmp_path / "new")]) == 2
    assert "no sequence 'tset'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_another_scale_is_part_of_the_transform(tmp_path, drawn):
    """As of two reconstructions from images alone; depth would have it as an error of its own."""
    report = examine(write_room(tmp_path / "apart", moved(drawn, ELSEWHERE, 0.4), depth=False), pairs=PAIRS)
    assert "positions times 2." in the(report, "maps").what


def test_two_places_that_both_start_at_zero_are_no_one_map(tmp_path, drawn):
    other = Room(pattern=4)
    strangers = {"train": drawn["train"], "test": [(T, *other.draw(T)) for T in drive(20, 0.02)]}
    report = examine(write_room(tmp_path / "strangers", strangers), pairs=PAIRS)
    assert kinds(report) == ["maps"]
    assert "have nothing in common with the image there" in the(report, "maps").what
    far = {**strangers, "test": [(ELSEWHERE @ T, *layers) for T, *layers in strangers["test"]]}
    report = examine(write_room(tmp_path / "far", far), pairs=PAIRS)
    assert kinds(report) == [] and "maps cannot be compared" in " ".join(each.what for each in report.findings)


def test_of_many_drives_some_are_compared_and_those_that_align_is_given(tmp_path, drawn, monkeypatch, capsys):
    monkeypatch.setattr(maps, "MOST_DRIVES", 2)
    apart = moved(drawn, ELSEWHERE)
    root = write_room(tmp_path / "apart", {"train": apart["train"], "val": apart["test"], "test": drawn["train"]})
    report = examine(root, pairs=PAIRS)
    assert "1 of 3 drives were not compared, to end in time" in " ".join(each.what for each in report.findings)
    assert "maps" not in kinds(report), "the drive between the two was not looked at"
    words = ["data", "align", str(root), "val", "--out", str(tmp_path / "joined"), "--pairs", str(PAIRS)]
    assert main(words) == 0
    assert "val: moved by" in capsys.readouterr().out


def test_of_many_images_runs_are_looked_at(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(survey, "RUN", 5)
    monkeypatch.setattr(survey, "MOST_FRAMES", 20)
    report = examine(write_room(tmp_path / "room", drawn), pairs=PAIRS)
    assert "20 of 40 images were not looked at" in " ".join(each.what for each in report.findings)
    assert kinds(report) == []
    assert [each.read for each in report.study.splits["train"][0]] == 2 * ([True] * 5 + [False] * 5)


@pytest.mark.parametrize("depth", [True, False])
def test_a_drive_of_redkitchen_in_a_map_of_its_own(tmp_path, depth):
    root = broken.copy_recording(real_data("redkitchen"), tmp_path / "copy", train=(1, 2), test=((9, 9),))
    for file in (root / "seq-09").glob("*.pose.txt"):
        T_44 = ELSEWHERE @ np.loadtxt(file)
        file.unlink()
        np.savetxt(file, T_44, fmt="%.12g")
    if not depth:
        for file in root.glob("seq-*/*.depth.png"):
            file.unlink()
    shutil.copy(real_data("redkitchen") / "camera-intrinsics.txt", root)
    report = examine(root, pairs=PAIRS)
    (finding,) = (each for each in report.findings if each.kind == "maps")
    assert finding.severity == "error" and finding.where == "seq-09"
    joint = next(part for part in finding.what.split(", turned by ") if " deg (w x y z" in part)
    assert float(joint.split()[0]) == pytest.approx(50, abs=3.5)
