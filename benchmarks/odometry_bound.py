"""What of an odometry's error two halves of the images share: each aligned by itself, with measured depth.

    python -m benchmarks.odometry_bound ROOT [--split test] [--focal 1.1143 --offset -0.0255 0 0]

At every level the halves choose their pixels from the black and the white squares of a chessboard. Noise of pixels
differs between them. Where they agree with each other much better than with the ground truth, most of the error is
shared by both: an error of the ground truth, of its clock, of K or of the depth, which a better solver does not mend.
All rows are judged on the frames that all of them answer. The focal length and offset are those of `data.depth_camera`.
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
            replace(each, frames=tuple(of_colour_camera(frame, camera) for frame in each.frames))
            for each in dataset.sequences(args.split)
        ]
        frames = [frame for each in sequences for frame in each.frames]
        for label in ("pose_7", "depth_path"):
            if lacking := [frame.name for frame in frames if getattr(frame, label) is None]:
                raise DataError(f"{args.root}: {len(lacking)} frames have no {label.split('_')[0]}, e.g. {lacking[0]}")
    except DataError as error:
        sys.exit(str(error))
    peers = (NO_MOTION, DIRECT_ALIGNMENT, half(0), half(1))
    motions, valid_N = [], np.ones(len(frames), bool)
    for peer in peers:
        motion_N7, may_N, _ = run_odometry_peer(peer, sequences)
        motions.append(motion_N7)
        valid_N &= may_N & np.isfinite(motion_N7).all(axis=1)
    print(f"{valid_N.sum()} of {len(frames) - len(sequences)} motions, which all rows answer; root mean square a frame")
    for peer, motion_N7 in zip(peers, motions, strict=True):
        of = odometry_metrics(motion_N7, poses_of(frames), valid_N)
        print(
            f"{peer.name:32s}  {1e3 * of['rpe_translation_m']:8.2f} mm {of['rpe_rotation_deg']:.3f} deg  "
            f"drift {of['translation_percent']:5.1f} % {of['rotation_deg_per_m']:4.1f} deg/m"
        )
    metres, degrees = (np.sqrt(np.mean(each**2)) for each in pose_errors(motions[2][valid_N], motions[3][valid_N]))
    print(f"{'one half against the other':32s}  {1e3 * metres:8.2f} mm {degrees:.3f} deg")


if __name__ == "__main__":
    main()
