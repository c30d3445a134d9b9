"""How true new views are: a frame re-rendered at the pose of a real neighbour, against that neighbour.

    python benchmarks/new_views.py ROOT [--split train] [--pairs 20] [--out DIR]

Prints the mean absolute difference to the neighbour, of 255, on the pixels that the view knows, before and after; what
a linear regression can read of the motion from the holes alone; and views per second on one core.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vlocnetpp.data import DataError, Frame, Sequence, open_dataset
from vlocnetpp.data.new_views import View, move_view
from vlocnetpp.geometry import relative, scale_intrinsics
from vlocnetpp.progress import track

BASELINES_M = (0.05, 0.1, 0.2, 0.3)
"""Borders of the ranges of distance in which pairs are chosen."""
MAX_ROTATION_DEG = 10.0
TRAINING_SHAPE = (128, 160)


class Pair(NamedTuple):
    """A frame, a real neighbour, and its camera in that of the frame."""

    frame: Frame
    neighbour: Frame
    motion_7: NDArray[np.float64]

    @property
    def distance_m(self) -> float:
        return float(np.linalg.norm(self.motion_7[:3]))

    @property
    def rotation_deg(self) -> float:
        return float(np.degrees(2 * np.arctan2(np.linalg.norm(self.motion_7[4:]), self.motion_7[3])))


class Outcome(NamedTuple):
    """A pair with its pixels and what re-rendering changed."""

    pair: Pair
    image_HW3: NDArray
    neighbour_HW3: NDArray
    view: View

    def error(self, image_HW3: NDArray) -> float:
        """Mean absolute difference to the neighbour on the pixels whose depth the view knows."""
        known_HW = self.view.depth_HW > 0
        return float(np.abs(image_HW3[known_HW] - self.neighbour_HW3[known_HW]).mean())


def choose_pairs(sequences: tuple[Sequence, ...], low_m: float, high_m: float, count: int) -> list[Pair]:
    """Up to `count` pairs spread over the sequences, whose cameras are so far apart."""
    found = []
    for sequence in sequences:
        frames = [frame for frame in sequence.frames if frame.pose_7 is not None and frame.depth_path is not None]
        if not frames:
            continue
        pose_N7 = torch.from_numpy(np.stack([frame.pose_7 for frame in frames if frame.pose_7 is not None]))
        for i, frame in enumerate(frames):
            motion_M7 = relative(pose_N7[i].expand_as(pose_N7[i + 1 :]), pose_N7[i + 1 :]).numpy()
            for j, motion_7 in enumerate(motion_M7, i + 1):
                pair = Pair(frame, frames[j], motion_7)
                if low_m <= pair.distance_m < high_m and pair.rotation_deg <= MAX_ROTATION_DEG:
                    found.append(pair)
                    break
    return [found[i] for i in np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)]


def render(pair: Pair) -> Outcome:
    """Re-render a frame at its neighbour's pose."""
    image_HW3, depth_HW = pair.frame.image().astype(np.float32), pair.frame.depth()
    assert depth_HW is not None  # choose_pairs takes no others
    no_mask = np.zeros(depth_HW.shape, np.uint8)
    view = move_view(image_HW3, depth_HW, no_mask, pair.frame.K_33, pair.motion_7)
    return Outcome(pair, image_HW3, pair.neighbour.image().astype(np.float32), view)


def print_errors(rows: list[tuple[str, list[Outcome]]]) -> None:
    """One line for each range of distances, and one for all."""
    print("distance     pairs  rotation  known   not warped  re-rendered  ratio")
    for name, outcomes in rows:
        before = np.mean([outcome.error(outcome.image_HW3) for outcome in outcomes])
        after = np.mean([outcome.error(outcome.view.image_HW3) for outcome in outcomes])
        rotation = np.mean([outcome.pair.rotation_deg for outcome in outcomes])
        known = np.mean([(outcome.view.depth_HW > 0).mean() for outcome in outcomes])
        print(
            f"{name:<12} {len(outcomes):5d} {rotation:7.1f}°  {known:5.0%}  {before:11.2f} {after:12.2f} "
            f"{after / before:6.2f}"
        )


def print_holes(outcomes: list[Outcome]) -> None:
    """How well the pixels that the frame does not show are filled, against one colour for all of them."""
    filled, mean = [], []
    for outcome in outcomes:
        hole_HW, seen_HW = ~outcome.view.seen_HW, outcome.view.seen_HW
        if hole_HW.any():
            real_N3 = outcome.neighbour_HW3[hole_HW]
            filled.append(np.abs(outcome.view.image_HW3[hole_HW] - real_N3).mean())
            mean.append(np.abs(outcome.view.image_HW3[seen_HW].mean(axis=0) - real_N3).mean())
    if filled:
        print(f"in the holes: {np.mean(filled):.2f} as filled, {np.mean(mean):.2f} with the mean colour")


def training_frame(frame: Frame) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Image, depth, empty mask and K at the size at which small networks train."""
    height, width = TRAINING_SHAPE
    image_HW3, depth_HW = frame.image().astype(np.float32), frame.depth()
    assert depth_HW is not None  # choose_pairs takes no others
    scale_y, scale_x = height / image_HW3.shape[0], width / image_HW3.shape[1]
    return (
        cv2.resize(image_HW3, (width, height), interpolation=cv2.INTER_AREA),
        cv2.resize(depth_HW, (width, height), interpolation=cv2.INTER_NEAREST),
        np.zeros(TRAINING_SHAPE, np.uint8),
        scale_intrinsics(torch.from_numpy(frame.K_33), scale_x, scale_y).numpy(),
    )


def print_cue_and_speed(frames: list[Frame], draws: int) -> None:
    """What the holes tell of the motion, and how fast views are rendered, for motions of up to 0.1 m and 5 degrees."""
    loaded = [training_frame(frame) for frame in frames]
    for even_holes in (False, True):
        generator = np.random.default_rng(0)
        holes, motions, seconds = [], [], []
        for i in range(draws):
            turn = np.radians(generator.uniform(-5, 5, 3)) / np.sqrt(3)
            shift = generator.uniform(-0.1, 0.1, 3) / np.sqrt(3)
            angle = np.linalg.norm(turn)
            motion_7 = np.concatenate((shift, [np.cos(angle / 2)], turn / angle * np.sin(angle / 2)))
            start = time.process_time()
            view = move_view(*loaded[i % len(loaded)], motion_7, even_holes)
            seconds.append(time.process_time() - start)
            unseen_HW = (~view.seen_HW).astype(np.float32)
            holes.append(cv2.resize(unseen_HW, (10, 8), interpolation=cv2.INTER_AREA).ravel())
            motions.append(np.concatenate((shift, turn)))
        told = explained(np.stack(holes), np.stack(motions))
        print(
            f"holes {'of both directions' if even_holes else 'as they come':<18}  "
            f"motion explained by the holes alone (R²): x {told[0]:.2f}  y {told[1]:.2f}  z {told[2]:.2f}  "
            f"pitch {told[3]:.2f}  yaw {told[4]:.2f}  roll {told[5]:.2f};  {1 / np.median(seconds):.0f} views/s"
        )


def explained(x_NF: NDArray, y_NT: NDArray, ridge: float = 1.0) -> NDArray:
    """Share of the variance of each target that ridge regression explains on the last quarter of the samples."""
    cut = len(x_NF) * 3 // 4
    x_NF, y_NT = x_NF - x_NF[:cut].mean(0), y_NT - y_NT[:cut].mean(0)
    weights = np.linalg.solve(x_NF[:cut].T @ x_NF[:cut] + ridge * np.eye(x_NF.shape[1]), x_NF[:cut].T @ y_NT[:cut])
    left = y_NT[cut:] - x_NF[cut:] @ weights
    return np.asarray(1 - (left**2).sum(0) / (y_NT[cut:] ** 2).sum(0))


def save_picture(outcomes: list[Outcome], path: Path) -> None:
    """For some pairs: the frame, re-rendered, the real neighbour, and both differences."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 2.5 * len(outcomes)), layout="constrained")
    for row, outcome in zip(np.atleast_2d(figure.subplots(len(outcomes), 5)), outcomes, strict=True):
        known_HW = outcome.view.depth_HW > 0
        before, after = (
            np.where(known_HW, np.abs(image - outcome.neighbour_HW3).mean(axis=2), np.nan)
            for image in (outcome.image_HW3, outcome.view.image_HW3)
        )
        titles = (
            f"frame {outcome.pair.frame.name}",
            f"re-rendered, moved {100 * outcome.pair.distance_m:.0f} cm, {outcome.pair.rotation_deg:.1f}°",
            f"real {outcome.pair.neighbour.name}",
            f"difference before: {outcome.error(outcome.image_HW3):.1f}",
            f"difference re-rendered: {outcome.error(outcome.view.image_HW3):.1f}",
        )
        images = (outcome.image_HW3, outcome.view.image_HW3, outcome.neighbour_HW3)
        for axes, title, content in zip(row, titles, (*images, before, after), strict=True):
            axes.set_title(title, fontsize=9)
            axes.axis("off")
            if content.ndim == 3:
                axes.imshow(content.astype(np.uint8))
            else:
                axes.set_facecolor("lightgrey")
                shown = axes.imshow(content, cmap="magma", vmin=0, vmax=100)
        figure.colorbar(shown, ax=row[-1], label="of 255; white: unknown", shrink=0.9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"picture in {path}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="dataset with poses and depth, e.g. ../shared/data/redkitchen")
    parser.add_argument("--split", default="train", help="whose frames to use (default: train)")
    parser.add_argument("--pairs", type=int, default=20, help="most pairs for each range of distances (default: 20)")
    parser.add_argument("--out", type=Path, help="folder for the picture new_views.png")
    arguments = parser.parse_args()
    if arguments.pairs < 1:
        parser.error(f"--pairs: {arguments.pairs} is not at least 1")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        sequences = open_dataset(arguments.root).sequences(arguments.split)
        rows = []
        for low_m, high_m in itertools.pairwise(BASELINES_M):
            pairs = choose_pairs(sequences, low_m, high_m, arguments.pairs)
            if pairs:
                name = f"{100 * low_m:.0f} - {100 * high_m:.0f} cm"
                rows.append((name, [render(pair) for pair in track(pairs, name)]))
        if not rows:
            raise DataError(
                f"{arguments.root}: no two frames with pose and depth are {100 * BASELINES_M[0]:.0f} to "
                f"{100 * BASELINES_M[-1]:.0f} cm apart; new views need both"
            )
        everything = [outcome for _, outcomes in rows for outcome in outcomes]
        print_errors([*rows, ("all", everything)])
        print_holes(everything)
        frames = [outcome.pair.frame for outcome in everything]
        print_cue_and_speed(frames, draws=400)
        if arguments.out:
            save_picture([outcomes[len(outcomes) // 2] for _, outcomes in rows], arguments.out / "new_views.png")
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
