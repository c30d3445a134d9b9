"""Copies of a recording, each with one mistake that people make: images are links, poses are written anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

Change = Callable[[np.ndarray, int], np.ndarray]


def copy_recording(
    source: Path,
    root: Path,
    pose: Callable[[np.ndarray], np.ndarray] = lambda T_44: T_44,
    order: Callable[[int], list[int]] = lambda frames: list(range(frames)),
    pose_follows: bool = True,
    focal: float = 1.0,
    train: tuple[int, ...] = (2,),
    test: tuple[tuple[int, int], ...] = ((9, 9),),
) -> Path:
    """A 7-Scenes folder of a few sequences of another one.

    pose: applied to every 4 x 4 pose. order: which frame stands at each place; its pose goes with it or stays where it
    was. focal: what fx and fy are multiplied by. test: number in the copy and in the source.
    """
    root.mkdir()
    for name, sequences in (("Train", train), ("Test", [new for new, _ in test])):
        (root / f"{name}Split.txt").write_text("".join(f"sequence{i}\n" for i in sequences))
    K = np.loadtxt(source / "camera-intrinsics.txt")
    K[[0, 1], [0, 1]] *= focal
    np.savetxt(root / "camera-intrinsics.txt", K)
    for new, old in (*((i, i) for i in train), *test):
        folder = root / f"seq-{new:02d}"
        folder.mkdir()
        colors = sorted((source / f"seq-{old:02d}").glob("*.color.*"))
        for place, shown in enumerate(order(len(colors))):
            stem = folder / f"frame-{place:06d}"
            color = colors[shown]
            number = color.name.split(".")[0]
            stem.with_suffix(f".color{color.suffix}").symlink_to(color.resolve())
            stem.with_suffix(".depth.png").symlink_to((color.parent / f"{number}.depth.png").resolve())
            posed = color if pose_follows else colors[place]
            T_44 = np.loadtxt(color.parent / f"{posed.name.split('.')[0]}.pose.txt")
            np.savetxt(stem.with_suffix(".pose.txt"), pose(T_44), fmt="%.12g")
    return root


def inverted(T_44: np.ndarray) -> np.ndarray:
    """World-to-camera."""
    return np.linalg.inv(T_44)


def xyzw_as_wxyz(T_44: np.ndarray) -> np.ndarray:
    """The quaternion written x, y, z, w and read w, x, y, z."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(T_44[:3, :3]).as_quat()
    result = T_44.copy()
    result[:3, :3] = Rotation.from_quat([y, z, w, x]).as_matrix()
    return result


def millimetres(T_44: np.ndarray) -> np.ndarray:
    """Translations in millimetres."""
    return np.vstack([T_44[:3] * [1, 1, 1, 1000], T_44[3]])


def scaled_rotation(T_44: np.ndarray) -> np.ndarray:
    """The rotation times 1.01."""
    return np.vstack([T_44[:3] * [1.01, 1.01, 1.01, 1], T_44[3]])


def swapped(frames: int) -> list[int]:
    """Two far frames exchanged."""
    order = list(range(frames))
    order[5], order[frames - 8] = order[frames - 8], order[5]
    return order


def repeated(frames: int) -> list[int]:
    """One frame shown six times."""
    return [10 if 10 <= i < 16 else i for i in range(frames)]


def shuffled(frames: int) -> list[int]:
    """All frames in a random order."""
    return np.random.default_rng(0).permutation(frames).tolist()
