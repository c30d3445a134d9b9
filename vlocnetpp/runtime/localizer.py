"""The streaming localizer: one image in, one estimate out, earlier features in the ring buffer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vlocnetpp.encodings import COLOR_ENCODINGS, RGB_CHANNELS, VOID
from vlocnetpp.geometry import central_view, scale_intrinsics
from vlocnetpp.runtime.cuda_graph import RecordedStep
from vlocnetpp.runtime.model_file import Model
from vlocnetpp.runtime.ring_buffer import RingBuffer
from vlocnetpp.runtime.transfers import Transfers

FOCAL_TOLERANCE = 0.03
"""Largest relative difference of focal length, and of principal point over image size, from the training camera."""


class ImageError(ValueError):
    """An image has another type, shape or encoding than it can have."""


class CameraMismatchError(ValueError):
    """The camera's intrinsics are not those that the network was trained with, even after rescaling."""


@dataclass(frozen=True)
class Estimate:
    """The estimate for one image. Fields are None where the preset lacks the task."""

    stamp_ns: int
    """Of the image."""
    pose_7: NDArray[np.float64] | None
    """Camera-to-map T_map_cam, optical frame: x, y, z in metres, qw, qx, qy, qz."""
    relative_7: NDArray[np.float64] | None
    """inv(T_{t-1}) @ T_t; None also at a cold start."""
    interval_s: float | None
    """Time since the frame that `relative_7` refers to; None at a cold start."""
    sigma_2: NDArray[np.float64] | None
    """Calibrated 68 % bounds of the pose's error: metres and radians."""
    mask_hw: NDArray[np.uint8] | None
    """Class ids at the network's resolution."""
    image_shape: tuple[int, int]
    """Rows and columns of the image that was given."""
    cold_start: str | None
    """Reason for a cold start; None where earlier frames were used."""
    motion_sigma_2: NDArray[np.float64] | None = None
    """Calibrated 68 % bounds of `relative_7`'s error: metres and radians; None where the model gives none."""
    novelty: float | None = None
    """How unlike the training images this one is; None where the model has no such score."""
    coordinates_hw3: NDArray[np.float32] | None = None
    """Where in the map what each cell of 8 x 8 pixels shows lies, metres, NaN where that is uncertain; None where the
    model does not say."""


UNCERTAIN = 0.1
"""A scene coordinate whose deviation is a larger share of its distance from the camera is no point to show."""


class Localizer:
    """Runs a model over a stream of images.

    Args:
        model: from `load_model`.
        capacity: frames whose features are kept.
        max_gap_s: a longer time between two images is a cold start, since the earlier frame may show another place.
        pinned, one_wait: how a GPU's images and answers are moved, see `Transfers`; not yet measured on one.
    """

    def __init__(
        self,
        model: Model,
        capacity: int = 8,
        max_gap_s: float = 0.5,
        pinned: bool = False,
        one_wait: bool = False,
    ) -> None:
        if max_gap_s <= 0:
            raise ValueError(f"max_gap_s must be positive, not {max_gap_s}")
        self.model = model
        self.max_gap_s = max_gap_s
        resident = isinstance(model.step, RecordedStep) and model.step.resident
        self.ring = RingBuffer(
            1 if resident else capacity, model.metadata.state_shapes, model.device, model.dtype, copies=not resident
        )
        self._transfers = Transfers(model.device, pinned, one_wait)
        self._reason = "first frame"
        self._image_shape: tuple[int, int] | None = None
        self._camera_checked: bytes | None = None
        self._no_depth = torch.zeros((1, 1, 1, 1), device=model.device)

    def reset(self, reason: str = "reset") -> None:
        """Clear the ring buffer; the next image is a cold start with this `reason`."""
        self.ring.clear()
        self._reason = reason

    def warm_up(self, height: int, width: int, passes: int = 3) -> None:
        """Run on a black image, so that compilation and allocation happen before the first real one."""
        K_33 = self.training_intrinsics(height, width)
        for i in range(passes):
            self.localize(np.zeros((height, width, 3), np.uint8), K_33, stamp_ns=i + 1)
        self.reset("first frame")
        self._image_shape = None

    def localize(
        self,
        image_HWC: NDArray[np.uint8],
        K_33: NDArray[np.float64],
        stamp_ns: int,
        encoding: str = "rgb8",
        depth_HW: NDArray[np.float32] | None = None,
    ) -> Estimate:
        """One step on one image.

        Args:
            image_HWC: uint8 as the camera gave it, (H, W) allowed for mono8.
            K_33: pinhole intrinsics in pixels of this image.
            stamp_ns: of the image; a stamp that does not advance starts cold.
            encoding: rgb8, rgba8, bgr8, bgra8 or mono8.
            depth_HW: metres, 0 or NaN where unknown, aligned with the image; read by presets with a depth sensor.

        Raises:
            ImageError: wrong type, shape or encoding; the past is kept.
            CameraMismatchError: intrinsics of another camera; the past is kept.
        """
        image, channels = self._check_image(image_HWC, encoding)
        height, width = image.shape[:2]
        self._check_camera(K_33, height, width)
        cold = self._cold_start(stamp_ns, (height, width))
        transfers = self._transfers
        with torch.inference_mode():
            state = self.ring.cold if cold else self.ring.latest()
            interval_s = None if cold else (stamp_ns - self.ring.stamps_ns[-1]) * 1e-9
            answer, new_state = self.model.step(
                transfers.up("image", image).unsqueeze(0),
                transfers.constant("channels", np.array(channels)),
                transfers.constant("K", np.asarray(K_33, np.float32)).unsqueeze(0),
                self._depth(depth_HW),
                state,
            )
            if cold:
                self.ring.clear()
            self.ring.push(stamp_ns, new_state)
            self._image_shape = (height, width)
            found = transfers.down(answer)
        metadata = self.model.metadata
        return Estimate(
            stamp_ns=stamp_ns,
            pose_7=found["pose_B7"].astype(np.float64) if "pose_B7" in found else None,
            relative_7=found["relative_B7"].astype(np.float64) if "relative_B7" in found and not cold else None,
            interval_s=interval_s,
            sigma_2=_bounds(found["log_scale_B2"], metadata.calibration_2) if "log_scale_B2" in found else None,
            motion_sigma_2=(
                _bounds(found["motion_log_scale_B2"], metadata.motion_calibration_2)
                if "motion_log_scale_B2" in found and metadata.motion_calibration_2 and not cold
                else None
            ),
            mask_hw=found.get("mask_BHW"),
            image_shape=(height, width),
            cold_start=cold,
            novelty=float(found["novelty_B"]) if "novelty_B" in found else None,
            coordinates_hw3=_seen_points(found) if "coordinates_B4HW" in found else None,
        )

    def training_intrinsics(self, height: int, width: int) -> NDArray[np.float64]:
        """K (3, 3) that an image of this size has if it comes from the training camera."""
        return self._network_to_image(height, width, np.array(self.model.metadata.K_33))

    def full_mask(self, estimate: Estimate) -> NDArray[np.uint8]:
        """(H, W) class ids at the image's own resolution, 255 outside the network's crop.

        Raises ValueError where the preset has no segmentation.
        """
        if estimate.mask_hw is None:
            raise ValueError(f"preset '{self.model.metadata.preset}' has no segmentation")
        height, width = estimate.image_shape
        rows, columns, top, left = self._view(height, width)
        y = ((np.arange(height) + 0.5) * rows / height).astype(np.int64) - top
        x = ((np.arange(width) + 0.5) * columns / width).astype(np.int64) - left
        h, w = estimate.mask_hw.shape
        full = estimate.mask_hw[y.clip(0, h - 1)][:, x.clip(0, w - 1)]
        full[(y < 0) | (y >= h), :] = VOID
        full[:, (x < 0) | (x >= w)] = VOID
        return full

    def seen_part(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The part of an image, (h, w, C) of its own pixels, that the network sees: all of it, or its middle."""
        height, width = image_HWC.shape[:2]
        meta = self.model.metadata
        rows, columns, top, left = self._view(height, width)
        y = slice(round(top * height / rows), round((top + meta.input_height) * height / rows))
        x = slice(round(left * width / columns), round((left + meta.input_width) * width / columns))
        return image_HWC[y, x]

    def _view(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Size of the image after the resize, and where the network's crop starts in it."""
        meta = self.model.metadata
        return central_view(height, width, meta.input_height, meta.input_width, meta.resize == "whole")

    def _network_to_image(self, height: int, width: int, K_33: NDArray[np.float64]) -> NDArray[np.float64]:
        """Intrinsics of an image of this size that the network would see as `K_33`."""
        rows, columns, top, left = self._view(height, width)
        K = torch.from_numpy(K_33.astype(np.float64).copy())
        K[0, 2] += left
        K[1, 2] += top
        return scale_intrinsics(K, width / columns, height / rows).numpy()

    def _check_image(self, image: NDArray[np.uint8], encoding: str) -> tuple[NDArray[np.uint8], list[int]]:
        if encoding not in RGB_CHANNELS:
            raise ImageError(f"encoding '{encoding}' is not supported; use one of {', '.join(RGB_CHANNELS)}")
        channels, _ = COLOR_ENCODINGS[encoding]
        if image.ndim == 2:
            image = image[:, :, None]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels or 0 in image.shape:
            raise ImageError(f"{encoding} needs (H, W, {channels}) uint8, not {image.shape} {image.dtype}")
        return image, list(RGB_CHANNELS[encoding])

    def _check_camera(self, K_33: NDArray[np.float64], height: int, width: int) -> None:
        key = np.asarray(K_33, np.float64).tobytes() + bytes(str((height, width)), "ascii")
        if key == self._camera_checked:
            return
        K = np.asarray(K_33, np.float64)
        if K.shape != (3, 3) or not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
            raise CameraMismatchError("the camera's intrinsics are empty or not finite; is the camera calibrated?")
        expected = self.training_intrinsics(height, width)
        differences = {
            "fx": abs(K[0, 0] / expected[0, 0] - 1),
            "fy": abs(K[1, 1] / expected[1, 1] - 1),
            "cx": abs(K[0, 2] - expected[0, 2]) / width,
            "cy": abs(K[1, 2] - expected[1, 2]) / height,
        }
        worst = max(differences, key=lambda name: differences[name])
        if differences[worst] > FOCAL_TOLERANCE:
            raise CameraMismatchError(
                f"{worst} differs by {differences[worst]:.0%} from the training camera "
                f"(at {width} x {height} it had fx {expected[0, 0]:.1f} fy {expected[1, 1]:.1f} "
                f"cx {expected[0, 2]:.1f} cy {expected[1, 2]:.1f}); rectify to that camera or train with this one; "
                "is it that one, its camera_info is not what the training had"
            )
        self._camera_checked = key

    def _cold_start(self, stamp_ns: int, image_shape: tuple[int, int]) -> str | None:
        """The reason why this image must start cold, or None."""
        if len(self.ring) == 0:
            return self._reason
        if image_shape != self._image_shape:
            return "image size changed"
        if stamp_ns <= self.ring.stamps_ns[-1]:
            return "stamp went back"
        gap_s = (stamp_ns - self.ring.stamps_ns[-1]) * 1e-9
        return f"gap of {gap_s:.1f} s" if gap_s > self.max_gap_s else None

    def _depth(self, depth_HW: NDArray[np.float32] | None) -> torch.Tensor:
        if depth_HW is None:
            return self._no_depth
        depth = np.nan_to_num(np.asarray(depth_HW, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        if depth.ndim != 2 or depth.size == 0:
            raise ImageError(f"a depth image must be (H, W), not {depth.shape}")
        return self._transfers.up("depth", depth)[None, None]


def _bounds(log_scale_2: NDArray[np.float32], factors: tuple[float, ...]) -> NDArray[np.float64]:
    """Predicted scales as calibrated 68 % bounds."""
    return np.exp(log_scale_2.astype(np.float64)) * np.array(factors)


def _seen_points(answer: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """(h, w, 3) the scene coordinates of an answer, NaN where they are uncertain, or the answer has no pose."""
    coordinates = answer["coordinates_B4HW"]
    points = coordinates[:3].transpose(1, 2, 0).astype(np.float32)
    if "pose_B7" not in answer:
        return np.full_like(points, np.nan)
    distance = np.linalg.norm(points - answer["pose_B7"][:3], axis=2, keepdims=True)
    certain = np.exp(coordinates[3])[:, :, None] <= UNCERTAIN * distance
    return np.where(certain, points, np.float32(np.nan)).astype(np.float32)
