"""What every reader's data become in a bag and back, and what a killed writer leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_recorder import MS, START, K
from conftest import real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_datasets import WRITERS

from vlocnetpp.cli import main
from vlocnetpp.data import VOID, DataError, Dataset, Frame, Sequence, iter_bag, open_dataset, read_bag, write_bag
from vlocnetpp.data.layouts.folder import SETTINGS
from vlocnetpp.data.poses import checked_pose

# --- what every reader's data become in a bag, and back


def frames_on_disk(root: Path, count: int, suffix: str = ".png", gray: bool = False) -> list[Frame]:
    """Images, depth of 16 bits and masks as a reader hands them over."""
    rng = np.random.default_rng(5)
    root.mkdir(exist_ok=True)
    frames = []
    for index in range(count):
        image = rng.integers(0, 255, (8, 12) if gray else (8, 12, 3), dtype=np.uint8)
        depth = rng.integers(0, 60000, (8, 12)).astype(np.uint16)
        mask = rng.choice([0, 1, 11], (8, 12)).astype(np.uint8)
        for kind, pixels in (("image" + suffix, image), ("depth.png", depth), ("mask.png", mask)):
            cv2.imwrite(str(root / f"{index}.{kind}"), pixels)
        x, y, z, w = np.roll(np.array([1.0, 2.0, 3.0, 4.0]) / np.sqrt(30.0), index)
        frames.append(
            Frame(
                f"s/{index}",
                START + index * 33 * MS,
                root / f"{index}.image{suffix}",
                K,
                checked_pose((index, 2.0, 3.0, w, x, y, z), "test"),
                root / f"{index}.depth.png",
                root / f"{index}.mask.png",
            )
        )
    return frames


def there_and_back(tmp_path: Path, frames: list[Frame], **options: Any) -> list[Frame]:
    dataset = Dataset(tmp_path / "set", "hand-made", {"test": (Sequence("s", tuple(frames)),)})
    write_bag(dataset, "test", tmp_path / "bag", **options)
    read_bag(tmp_path / "bag", tmp_path / "out")
    return open_dataset(tmp_path / "out").frames("train")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("units_per_m", [1000.0, 5000.0, 256.0])
def test_depth_of_any_unit_comes_back_to_the_millimetre(tmp_path: Path, units_per_m: float, storage: str) -> None:
    frames = [replace(frame, depth_units_per_m=units_per_m) for frame in frames_on_disk(tmp_path / "set", 3)]
    back = there_and_back(tmp_path, frames, storage=storage)
    for before, after in zip(frames, back, strict=True):
        want, got = before.depth(), after.depth()
        assert want is not None and got is not None
        storable = want <= 65.534  # the folder counts millimetres in 16 bits
        assert np.abs(got - want)[storable].max() <= 0.0005001
        assert (got[~storable] == 0).all() and storable.all() == (units_per_m != 256.0)
    depth = next(each for each in iter_bag(tmp_path / "bag") if each.topic.endswith("depth_registered")).message()
    assert depth.encoding == ("16UC1" if units_per_m == 1000.0 else "32FC1")
    if depth.encoding == "32FC1":  # the bag itself rounds nothing
        metres = np.nan_to_num(depth.data.view("<f4").reshape(8, 12))
        np.testing.assert_array_equal(metres, frames[0].depth())


def test_gray_images_numbered_void_and_frames_without_poses(tmp_path: Path) -> None:
    frames = [replace(frame, void_from=11, depth_path=None) for frame in frames_on_disk(tmp_path / "set", 4, gray=True)]
    frames = [replace(frame, pose_7=None) for frame in frames]
    back = there_and_back(tmp_path, frames)
    for before, after in zip(frames, back, strict=True):
        assert after.image_path.read_bytes() == before.image_path.read_bytes()
        np.testing.assert_array_equal(after.image(), before.image())
        np.testing.assert_array_equal(after.mask(), before.mask())
        assert VOID in after.mask() and after.pose_7 is None and after.depth_path is None  # type: ignore[operator]
        np.testing.assert_array_equal(after.K_33, before.K_33)


def test_sequences_at_the_same_time_become_a_bag_each(tmp_path: Path) -> None:
    frames = frames_on_disk(tmp_path / "set", 2)
    both = (Sequence("00", (frames[0],)), Sequence("01", (frames[0], frames[1])))
    dataset = Dataset(tmp_path / "set", "kitti", {"train": both})
    with pytest.raises(DataError, match=r"'00' and '01' overlap in time; write each .*--sequence 00"):
        write_bag(dataset, "train", tmp_path / "bag")
    assert write_bag(dataset, "train", tmp_path / "bag", sequence="01").frames == 2
    with pytest.raises(DataError, match="split 'train' has no sequence '7'; there is 00, 01"):
        write_bag(dataset, "train", tmp_path / "x", sequence="7")


def test_an_image_that_ros_cannot_carry_is_named(tmp_path: Path) -> None:
    frames = frames_on_disk(tmp_path / "set", 1, ".bmp")
    with pytest.raises(DataError, match=r"0\.image\.bmp: is neither JPEG nor PNG; --jpeg-quality 95"):
        there_and_back(tmp_path, frames)
    assert len(there_and_back(tmp_path, frames, jpeg_quality=95)) == 1


numbers = st.floats(-1e4, 1e4, allow_subnormal=False)


@given(
    places=st.lists(st.tuples(numbers, numbers, numbers, *[st.floats(-1, 1)] * 4), min_size=1, max_size=12),
    start=st.integers(1, 2**31 * 10**9 - 10**11),
    steps=st.lists(st.integers(1, 10**9), min_size=12, max_size=12),
    focal=st.tuples(*[st.floats(1e-3, 1e5)] * 4),
    storage=st.sampled_from(["mcap", "sqlite3"]),
)
@settings(max_examples=8, deadline=None)
def test_poses_stamps_and_intrinsics_survive(
    tmp_path_factory: pytest.TempPathFactory,
    places: list,
    start: int,
    steps: list[int],
    focal: tuple[float, ...],
    storage: str,
) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    fx, fy, cx, cy = focal
    (frame,) = frames_on_disk(tmp_path / "set", 1)
    K_33 = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    frames = []
    for index, place in enumerate(places):
        q = np.array(place[3:])
        q = q / np.linalg.norm(q) if np.linalg.norm(q) > 0.1 else np.array([1.0, 0, 0, 0])
        stamp = start + sum(steps[: index + 1])
        pose_7 = checked_pose((*place[:3], *q), "test")
        frames.append(replace(frame, stamp_ns=stamp, pose_7=pose_7, K_33=K_33))
    back = there_and_back(tmp_path, frames, storage=storage)
    assert [each.stamp_ns for each in back] == [each.stamp_ns for each in frames]
    for before, after in zip(frames, back, strict=True):
        np.testing.assert_allclose(after.pose_7, before.pose_7, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(after.K_33, before.K_33)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_passes_through_a_bag(tmp_path: Path, layout: str) -> None:
    WRITERS[layout][1](tmp_path / "set")
    dataset = open_dataset(tmp_path / "set")
    for split in dataset.splits:
        write_bag(dataset, split, tmp_path / f"{split}-bag")
        # what a reader lists as a sequence of its own stays apart: ten seconds lie between
        read_bag(tmp_path / f"{split}-bag", tmp_path / split, split=split, max_pose_distance_s=0.0)
        before = [frame for frame in dataset.frames(split) if frame.pose_7 is not None] or dataset.frames(split)
        after = open_dataset(tmp_path / split).frames(split)
        assert [each.stamp_ns for each in after] == [each.stamp_ns for each in before]
        for old, new in zip(before, after, strict=True):
            assert new.image_path.read_bytes() == old.image_path.read_bytes()
            np.testing.assert_array_equal(new.K_33, old.K_33)
            assert (new.pose_7 is None) == (old.pose_7 is None)
            if old.pose_7 is not None:
                np.testing.assert_allclose(new.pose_7, old.pose_7, rtol=0, atol=1e-9)
            old_depth, new_depth = old.depth(), new.depth()
            assert (old_depth is None) == (new_depth is None)
            if old_depth is not None:
                assert np.abs(new_depth - old_depth)[old_depth <= 65.534].max() <= 0.0005001
            np.testing.assert_array_equal(new.mask(), old.mask())
        assert open_dataset(tmp_path / split).classes == dataset.classes


@pytest.mark.parametrize(("name", "split"), [("redkitchen", "test"), ("camvid", "val")])
def test_real_data_of_every_layout_pass_through_a_bag(tmp_path: Path, name: str, split: str) -> None:
    dataset = open_dataset(real_data(name))
    before = dataset.frames(split)
    write_bag(dataset, split, tmp_path / "bag", storage="sqlite3")
    read_bag(tmp_path / "bag", tmp_path / "out", split=split)
    after = open_dataset(tmp_path / "out").frames(split)
    assert [each.stamp_ns for each in after] == [each.stamp_ns for each in before]
    for old, new in zip(before, after, strict=True):
        assert new.image_path.read_bytes() == old.image_path.read_bytes()
        np.testing.assert_array_equal(new.K_33, old.K_33)
        if old.pose_7 is not None:
            np.testing.assert_allclose(new.pose_7, old.pose_7, rtol=0, atol=1e-9)
    for index in (0, len(before) // 2, len(before) - 1):
        for kind in ("depth", "mask"):
            old_pixels, new_pixels = getattr(before[index], kind)(), getattr(after[index], kind)()
            assert (old_pixels is None) == (new_pixels is None)
            if old_pixels is not None:
                np.testing.assert_array_equal(new_pixels, old_pixels)


# --- kills


@pytest.fixture(scope="module")
def long_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording whose conversion takes a second."""
    root = tmp_path_factory.mktemp("long")
    frame = replace(frames_on_disk(root, 1, ".jpg")[0], depth_path=None, mask_path=None)
    cv2.imwrite(str(frame.image_path), np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8))
    frames = [replace(frame, stamp_ns=START + index * 33 * MS) for index in range(150)]
    write_bag(Dataset(root, "x", {"train": (Sequence("s", tuple(frames)),)}), "train", root / "bag")
    return root / "bag"


@pytest.mark.parametrize(
    ("action", "kill"),
    [("from-bag", signal.SIGKILL), ("to-bag", signal.SIGKILL), ("from-bag", signal.SIGTERM), ("to-bag", signal.SIGINT)],
)
def test_a_killed_conversion_leaves_nothing_that_passes_for_whole(
    long_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture, action: str, kill: signal.Signals
) -> None:
    """The child is killed as soon as it has begun to write; its work would go on for a second."""
    arguments = ["data", "from-bag", str(long_bag), str(tmp_path / "out")]
    if action == "to-bag":
        read_bag(long_bag, tmp_path / "folder")
        arguments = ["data", "to-bag", str(tmp_path / "folder"), str(tmp_path / "out"), "--split", "train"]
    command = [sys.executable, "-m", "vlocnetpp.cli", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    partial = tmp_path / "out.partial"
    while child.poll() is None and not (partial.exists() and any(path.is_file() for path in partial.rglob("*"))):
        os.sched_yield()
    child.send_signal(kill)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == (-kill if kill == signal.SIGKILL else 130), said
    assert not (tmp_path / "out").exists()
    if kill != signal.SIGKILL:
        assert not partial.exists() and said.endswith("vlocnetpp: interrupted\n") and "Traceback" not in said
        return
    if action == "to-bag":
        assert main(arguments) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == f"vlocnetpp: {partial}: another run is writing here or was killed; remove it if none is running"
        shutil.rmtree(partial)
    assert main(arguments) == 0 and not partial.exists()  # from-bag goes on where it was, here from the beginning
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize("settings", [False, True])
def test_a_conversion_killed_before_it_wrote_its_settings_is_begun_anew(long_bag, tmp_path, settings):
    partial = tmp_path / "out.partial"
    partial.mkdir()
    if settings:
        (partial / SETTINGS).touch()
    assert main(["data", "from-bag", str(long_bag), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").is_dir() and not partial.exists()


def test_a_file_in_the_way_of_a_conversion_is_named(long_bag, tmp_path, capsys):
    (tmp_path / "out.partial").touch()
    assert main(["data", "from-bag", str(long_bag), str(tmp_path / "out")]) == 2
    assert "out.partial: is in the way and cannot be gone on with" in capsys.readouterr().err
