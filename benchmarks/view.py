"""What RViz shows of the node, drawn from recorded topics: the map, what the camera sees, path, pose and overlay.

    replay models/demo.ts models/demo_bag --out out/demo --fast --overlay
    python -m benchmarks.view out/demo --model models/demo.ts --out docs/pictures/node-view.png

The map is that of the model file where it carries one; without, the picture has a grid instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.bags import messages as bag_messages
from vlocnetpp.data.bags.reader import iter_bag
from vlocnetpp.runtime import read_metadata
from vlocnetpp.runtime.map_cloud import read_map_cloud
from vlocnetpp_ros.frames import rotation_matrix
from vlocnetpp_ros.outputs import BOUND_TO_AXIS

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
WIDTH, HEIGHT = 1400, 850
SCENE = 1000
"""Columns of the 3D view; the rest is the overlay."""
BACKGROUND, GRID, PATH, BOUND, FRUSTUM, TEXT = (
    (30, 26, 24), (70, 66, 64), (233, 180, 86), (167, 121, 204), (66, 228, 240), (220, 220, 220),
)  # fmt: skip
"""Blue, green, red; those of rviz/localize.rviz."""


class Camera:
    """A pinhole that looks at a place from above and aside, z up."""

    def __init__(self, focus_3: Floats, distance: float, yaw: float, pitch: float) -> None:
        away = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
        forward = -away
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        self._R = np.stack((right, -np.cross(right, forward), forward))
        self._eye = focus_3 + distance * away
        self._focal = 0.9 * HEIGHT

    def project(self, xyz_N3: Floats) -> tuple[NDArray[np.int64], Floats]:
        """(N, 2) columns and rows, and (N,) depths; what lies behind has a depth of 0 or less."""
        seen = (xyz_N3 - self._eye) @ self._R.T
        depth = np.where(seen[:, 2] > 0.05, seen[:, 2], np.nan)
        at = self._focal * seen[:, :2] / depth[:, None] + (SCENE / 2, HEIGHT / 2)
        return np.nan_to_num(at, nan=-1e6).round().astype(np.int64), np.nan_to_num(depth, nan=0.0)

    def size(self, metres: float, depth: float) -> int:
        """Pixels of a length at a depth."""
        return max(1, round(self._focal * metres / depth))


def scene(
    camera: Camera, cloud: NDArray[np.void] | None, path_N7: Floats, bound_m: float, lens: tuple[float, float]
) -> Pixels:
    """The 3D view: the last pose of the path is the camera's; `lens` is half its view over the focal length."""
    picture = np.full((HEIGHT, SCENE, 3), BACKGROUND, np.uint8)
    for metre in range(-10, 11):
        for ends in (((metre, -10, 0), (metre, 10, 0)), ((-10, metre, 0), (10, metre, 0))):
            line(picture, camera, np.array(ends, float), GRID, 1)
    if cloud is not None:
        at, depth = camera.project(cloud["xyz"].astype(np.float64))
        for i in np.argsort(-depth):
            if depth[i] > 0:
                half = camera.size(0.02, depth[i])
                cv2.rectangle(picture, at[i] - half, at[i] + half, cloud["rgb"][i][::-1].tolist(), -1)
    line(picture, camera, path_N7[:, :3], PATH, 3)
    pose_7 = path_N7[-1]
    at, depth = camera.project(pose_7[None, :3])
    disc = picture.copy()
    cv2.circle(disc, at[0].tolist(), camera.size(bound_m, depth[0]), BOUND, -1, cv2.LINE_AA)
    cv2.addWeighted(disc, 0.35, picture, 0.65, 0.0, picture)
    corners = np.array([(x * lens[0], y * lens[1], 1.0) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]) * 0.6
    corners_map = corners @ rotation_matrix(pose_7[3:]).T + pose_7[:3]
    for corner in corners_map:
        line(picture, camera, np.stack((pose_7[:3], corner)), FRUSTUM, 2)
    line(picture, camera, np.concatenate((corners_map, corners_map[:1])), FRUSTUM, 2)
    return picture


def line(picture: Pixels, camera: Camera, xyz_N3: Floats, color: tuple[int, int, int], width: int) -> None:
    """A line through points, where they are before the camera."""
    at, depth = camera.project(xyz_N3)
    for i in range(len(at) - 1):
        if depth[i] > 0 and depth[i + 1] > 0 and max(abs(at[i]).max(), abs(at[i + 1]).max()) < 20_000:
            cv2.line(picture, at[i].tolist(), at[i + 1].tolist(), color, width, cv2.LINE_AA)


def draw(result: Path, model: Path, share: float) -> Pixels:
    """The whole window after a share of the recording."""
    recording = result / "bag"
    poses = []
    for each in iter_bag(recording, {"/localizer/pose_with_covariance"}):
        message = each.message()
        pose_7 = bag_messages.pose(message, str(recording))
        poses.append((each.header_stamp_ns(), pose_7, BOUND_TO_AXIS * message.pose.covariance[0] ** 0.5))
    if not poses:
        raise SystemExit(f"{recording}: has no pose on /localizer/pose_with_covariance")
    last = max(1, round(share * len(poses)))
    stamp_ns, _, bound_m = poses[last - 1]
    path_N7 = np.array([pose_7 for _, pose_7, _ in poses[:last]])
    metadata = read_metadata(model)
    lens = (metadata.input_width / 2 / metadata.K_33[0][0], metadata.input_height / 2 / metadata.K_33[1][1])
    middle = np.array([*path_N7[:, :2].mean(axis=0), 0.0])
    extent = float(np.linalg.norm(np.ptp(path_N7[:, :3], axis=0)))
    view = Camera(middle, 2.0 + 0.9 * extent, yaw=-0.9, pitch=0.75)
    window = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
    window[:, :SCENE] = scene(view, read_map_cloud(model), path_N7, bound_m, lens)
    for each in iter_bag(recording, {"/localizer/semantic/overlay"}):
        if each.header_stamp_ns() == stamp_ns:
            message = each.message()
            overlay = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)[:, :, ::-1]
            width = WIDTH - SCENE - 20
            overlay = cv2.resize(
                overlay, (width, width * message.height // message.width), interpolation=cv2.INTER_CUBIC
            )
            window[20 : 20 + len(overlay), SCENE + 10 : SCENE + 10 + width] = overlay
    forward = rotation_matrix(path_N7[-1, 3:])[:, 2]
    said = (
        f"{model.name}, {last} poses in frame {metadata.map_frame}",
        f"at {path_N7[-1, 0]:.2f} {path_N7[-1, 1]:.2f} {path_N7[-1, 2]:.2f} m, looks {forward[0]:.2f} {forward[1]:.2f}",
        f"68 % bound {bound_m:.2f} m",
    )
    for row, text in enumerate(said):
        cv2.putText(
            window, text, (SCENE + 12, HEIGHT - 90 + 28 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, TEXT, 1, cv2.LINE_AA
        )
    return window


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, help="result folder of replay, made with --overlay")
    parser.add_argument("--model", type=Path, required=True, help="model file that was replayed")
    parser.add_argument("--share", type=float, default=0.6, help="of the recording that is shown (default: 0.6)")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    args = parser.parse_args()
    picture = draw(args.result, args.model, args.share)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(args.out), picture):
        raise SystemExit(f"{args.out}: cannot be written")


if __name__ == "__main__":
    main()
