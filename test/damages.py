"""Ways to spoil a good dataset or recording, for the tests of what bad data are answered with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from bag_recorder import START, K, Recorder, rgb
from dataset_parts import save
from tiny_datasets import write_folder

Damage = Callable[[Path], None]
"""Does its harm below the folder that it gets."""
STEP_NS = 33_000_000


@dataclass(frozen=True)
class Bag:
    """Writes a recording of four images with poses, with one thing out of order."""

    kind: str = "mcap"
    encoding: str = "rgb8"
    info: bool = True
    size: tuple[int, int] = (8, 12)
    """Of the images by camera_info."""
    focal: float = 1.0
    """What the focal length is multiplied by."""
    x: float = 1.0
    turn: float = 0.1
    poses_late_s: float = 0.0
    images: int = 4
    rows_cut: int = 0
    """Of every image."""
    bytes_cut: int = 0
    """Of every image's data, which then is shorter than its header says."""

    def __call__(self, root: Path) -> None:
        recorder = Recorder(root, self.kind)
        for index in range(4):
            stamp = START + index * STEP_NS
            if self.info:
                recorder.info(stamp, self.size, K * np.array([[self.focal], [self.focal], [1.0]]))
            recorder.pose(stamp + round(self.poses_late_s * 1e9), self.x * index, self.turn * index)
            if index >= self.images:
                continue
            if self.bytes_cut:
                image = recorder.make(
                    "sensor_msgs/msg/Image",
                    header=recorder.header(stamp, "cam_optical"),
                    height=8,
                    width=12,
                    encoding=self.encoding,
                    is_bigendian=0,
                    step=36,
                    data=rgb(index).ravel()[: -self.bytes_cut],
                )
                recorder.write("/cam/image_rect", stamp, image)
            else:
                recorder.image(stamp, rgb(index)[: 8 - self.rows_cut], self.encoding)
        recorder.writer.close()


def nothing(root: Path) -> None:
    """No damage, or no file at all."""


def put(file: str, content: str | bytes) -> Damage:
    """Another content of a file; the folder itself, where `file` is empty."""
    data = content.encode() if isinstance(content, str) else content

    def damage(root: Path) -> None:
        (root / file).write_bytes(data)

    return damage


def text(file: str, old: str, new: str) -> Damage:
    """Replace the first occurrence in a text file."""

    def damage(root: Path) -> None:
        before = (root / file).read_text()
        assert old in before, before
        (root / file).write_text(before.replace(old, new, 1))

    return damage


def cut(file: str, share: float = 0.5) -> Damage:
    """Keep the first part of a file."""

    def damage(root: Path) -> None:
        data = (root / file).read_bytes()
        (root / file).write_bytes(data[: int(len(data) * share)])

    return damage


def cut_storage(root: Path) -> None:
    """Cut the storage file of a recording in the middle."""
    (file,) = [path for path in root.iterdir() if path.suffix in (".mcap", ".db3")]
    cut(file.name)(root)


def picture(file: str, pixels: np.ndarray) -> Damage:
    """Another image under the same name."""
    return lambda root: save(root / file, pixels)


def jpeg_cut(file: str) -> Damage:
    """A PNG replaced by a JPEG that ends in the middle."""

    def damage(root: Path) -> None:
        pixels = cv2.imread(str(root / file))
        (root / file).unlink()
        (root / file).with_suffix(".jpg").write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes()[:-40])

    return damage


def folder_instead(file: str) -> Damage:
    """A folder where a file is expected."""

    def damage(root: Path) -> None:
        (root / file).unlink()
        (root / file).mkdir()

    return damage


def loop(file: str) -> Damage:
    """A symbolic link that leads to itself; the folder itself, where `file` is empty."""

    def damage(root: Path) -> None:
        (root / file).unlink(missing_ok=True)
        (root / file).symlink_to((root / file).name)

    return damage


def every_pose(file: str, cells: str) -> Damage:
    """Other numbers in the pose of every row of a folder's table."""

    def damage(root: Path) -> None:
        head, *rows = (root / file).read_text().splitlines()
        written = [",".join([*row.split(",")[:2], cells, *row.split(",")[9:]]) for row in rows]
        (root / file).write_text("\n".join([head, *written]) + "\n")

    return damage


def swap_lines(file: str) -> Damage:
    """The last two lines in the wrong order."""

    def damage(root: Path) -> None:
        lines = (root / file).read_text().splitlines()
        (root / file).write_text("\n".join([*lines[:-2], lines[-1], lines[-2]]) + "\n")

    return damage


def gone(file: str) -> Damage:
    """A file or folder that is missing."""

    def damage(root: Path) -> None:
        shutil.rmtree(root / file) if (root / file).is_dir() else (root / file).unlink()

    return damage


def write_one_frame(root: Path) -> None:
    """A folder with one frame, which has a pose."""
    write_folder(root)
    shutil.rmtree(root / "loop_a")
    (root / "dataset.yaml").write_text("format: 1\nsplits: {train: [loop-b.2]}\n")
    table = root / "loop-b.2/frames.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:2]))
