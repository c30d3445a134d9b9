"""How well two images can tell a motion: each half of them aligned by itself, with measured depth.

    python -m benchmarks.odometry_bound ROOT [--split test] [--focal 1.1143 --offset -0.0255 0 0]

The halves are the squares of a chessboard, black and white, so that no pixel is in both. Where they agree with each
other much better than with the ground truth, what is left is an error of the ground truth, or of its clock, and no
method can come nearer. The focal length and offset are those of `data.depth_camera`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlocnetpp.data import DataError, open_dataset
from vlocnetpp.data.registration import DepthCameraConfig
from vlocnetpp.metrics import odometry_metrics
from vlocnetpp.metrics.localization import pose_errors
from vlocnetpp.network.blocks.alignment import DirectAlignment
from vlocnetpp.network.blocks.alignment_equations import Pixels
from vlocnetpp.peers.colour_camera import of_colour_camera
from vlocnetpp.peers.direct_alignment import DIRECT_ALIGNMENT, start
from vlocnetpp.peers.odometry import NO_MOTION, OdometryPeer, run_odometry_peer
from vlocnetpp.peers.peer import poses_of
from vlocnetpp.poses import Floats

SQUARES = (6, 8)
"""Rows and columns of the chessboard."""


class HalfAlignment(DirectAlignment):
    """Direct alignment that only sees the squares of one colour, 0 or 1, of the current image."""

    def __init__(self, colour: int) -> None:
        super().__init__()
        self.colour = colour

    def choose_pixels(
        self, image_B1hw: Tensor, geometry_B3yx: Tensor, K_B33: Tensor, reduction: int, cell: int
    ) -> Pixels:
        pixels = super().choose_pixels(image_B1hw, geometry_B3yx, K_B33, reduction, cell)
        rows, columns = ((side - 2) // cell for side in image_B1hw.shape[2:])
        row_y1 = torch.arange(rows)[:, None] * SQUARES[0] // rows
        column_1x = torch.arange(columns)[None] * SQUARES[1] // columns
        seen_N = ((row_y1 + column_1x) % 2 == self.colour).flatten()
        return pixels._replace(known_BN=pixels.known_BN * seen_N)


def half(colour: int) -> OdometryPeer:
    """Odometry from one half of the images."""
    return OdometryPeer(f"chessboard, squares {colour}", lambda: start(HalfAlignment(colour)), "one half of the pixels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of a dataset with depth images")
    parser.add_argument("--split", default="test", help="which frames (default: test)")
    parser.add_argument("--focal", type=float, default=1.0, help="of the depth camera, over that of the colour camera")
    parser.add_argument("--offset", type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar=("X", "Y", "Z"),
                        help="of the depth camera in the colour camera, metres")  # fmt: skip
    args = parser.parse_args()
    camera = DepthCameraConfig(focal=args.focal, offset_m=tuple(args.offset))
    try:
        dataset = open_dataset(args.root, None)
        sequences = [
            replace(
                each, frames=tuple(of_colour_camera(frame, camera) for frame in each.frames if frame.pose_7 is not None)
            )
            for each in dataset.sequences(args.split)
        ]
        if all(frame.depth_path is None for each in sequences for frame in each.frames):
            raise DataError(f"{args.root}: the frames of '{args.split}' have no depth")
    except DataError as error:
        sys.exit(str(error))
    truth_N7 = poses_of([frame for each in sequences for frame in each.frames])
    found: dict[str, Floats] = {}
    print(f"{'against the ground truth':32s}  {'error a frame':>20s}  {'drift':>18s}  answered")
    for peer in (NO_MOTION, DIRECT_ALIGNMENT, half(0), half(1)):
        motion_N7, valid_N, _ = run_odometry_peer(peer, sequences)
        found[peer.name] = motion_N7
        answered_N = valid_N & np.isfinite(motion_N7).all(axis=1)
        # A motion without an answer is left out, since none of the rows is a method that is compared here.
        of = odometry_metrics(motion_N7, truth_N7, answered_N)
        print(
            f"{peer.name:32s}  {1e3 * of['rpe_translation_m']:8.2f} mm {of['rpe_rotation_deg']:.3f} deg  "
            f"{of['translation_percent']:5.1f} % {of['rotation_deg_per_m']:4.1f} deg/m  "
            f"{answered_N.sum()} of {valid_N.sum()}"
        )
    first_N7, second_N7 = found[half(0).name], found[half(1).name]
    both_N = np.isfinite(first_N7).all(axis=1) & np.isfinite(second_N7).all(axis=1)
    metres, degrees = (np.sqrt(np.mean(each**2)) for each in pose_errors(first_N7[both_N], second_N7[both_N]))
    print(f"{'one half against the other':32s}  {1e3 * metres:8.2f} mm {degrees:.3f} deg")


if __name__ == "__main__":
    main()
