"""Frames of a dataset at the network's resolution, and the clips that are cut from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlocnetpp.data import frames as data
from vlocnetpp.data.cache import frame_arrays
from vlocnetpp.data.new_views import move_clip
from vlocnetpp.data.registration import REGISTERED, DepthCameraConfig
from vlocnetpp.data.transforms import change_light, warp_together
from vlocnetpp.geometry import resized_shape, scale_intrinsics
from vlocnetpp.losses import Frame
from vlocnetpp.network import NetworkConfig
from vlocnetpp.network.preprocess import correct_focal, resize_depth, resize_image
from vlocnetpp.training.config import AugmentConfig

NOWHERE_7 = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
"""Placeholder for a frame without a pose; `posed` is 0 there."""


@dataclass(frozen=True)
class Clips:
    """A batch of B clips of L frames at the network's resolution."""

    image_BL3HW: Tensor
    """RGB 0..255; uint8, and float once `to` has brought the clips to the device of the network."""
    K_BL33: Tensor
    depth_BL1HW: Tensor
    """Metres, 0 = unknown."""
    mask_BLHW: Tensor
    """uint8 class ids, 255 = unlabelled."""
    pose_BL7: Tensor
    posed_BL: Tensor
    """1 where the frame has a pose, else 0 and `pose_BL7` is meaningless."""

    def to(self, device: torch.device) -> Clips:
        """The same clips on a device, images in float."""
        image, *others = (getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__)
        return Clips(image.float(), *others)

    def frames(self) -> list[Frame]:
        """The L frames of the clips."""
        return [Frame(*(getattr(self, name)[:, t] for name in self.__dataclass_fields__)) for t in range(self.length)]

    def last_frames(self) -> Clips:
        """Clips of the last frame alone."""
        return Clips(*(getattr(self, name)[:, -1:] for name in self.__dataclass_fields__))

    @property
    def length(self) -> int:
        """Frames of each clip."""
        return self.image_BL3HW.shape[1]


@dataclass(frozen=True)
class FrameStore:
    """All frames of some sequences, resized as the robot resizes them, before the crop; pixels stay on disk."""

    names: tuple[str, ...]
    image_N3HW: NDArray[np.uint8]
    depth_NHW: NDArray[np.uint16] | None
    """In the units that the dataset stores, so that nothing is rounded; None where no frame has a wanted depth."""
    deep_N: NDArray[np.bool_]
    """Whether each frame has a depth image, wanted or not."""
    depth_units_per_m_N: NDArray[np.float32]
    mask_NHW: NDArray[np.uint8] | None
    """None where no frame has a wanted mask."""
    K_N33: Tensor
    pose_N7: Tensor
    posed_N: Tensor
    sequence_N: NDArray[np.int64]
    """Which sequence each frame belongs to; frames of a sequence are consecutive."""

    @property
    def has_depth(self) -> bool:
        return self.depth_NHW is not None

    def class_pixels(self, classes: int) -> NDArray[np.int64]:
        """How many pixels each class has."""
        counts = np.zeros(classes, np.int64)
        for mask_HW in () if self.mask_NHW is None else self.mask_NHW:
            counts += np.bincount(mask_HW[mask_HW < classes], minlength=classes)
        return counts

    @cached_property
    def first_N(self) -> NDArray[np.int64]:
        """The first frame of each frame's sequence."""
        return np.searchsorted(self.sequence_N, self.sequence_N)


def map_store(stores: Sequence[FrameStore]) -> FrameStore:
    """The store of the map: the one with the most posed frames."""
    return max(stores, key=lambda store: int(store.posed_N.sum()))


def open_store(
    sequences: Sequence[data.Sequence],
    config: NetworkConfig,
    description: str,
    cache: Path | None,
    with_depth: bool = False,
    depth_camera: DepthCameraConfig = REGISTERED,
) -> FrameStore:
    """Frames decoded and resized once, then memory-mapped from the folder `cache`; None keeps them in memory.

    Masks are stored for networks that segment, depth for those that need one or `with_depth`, for new views and scene
    coordinates, registered to the colour images where `depth_camera` says that it is not.
    Raises DataError for a frame that cannot be read or has another shape, and where the cache cannot be written.
    """
    frames = [frame for sequence in sequences for frame in sequence.frames]
    if not frames:
        raise data.DataError(f"{description}: the split has no frames")
    shape = _stored_shape(frames[0].image().shape, config)
    layers: dict[str, tuple[tuple[int, ...], type]] = {"image": ((3, *shape), np.uint8), "size": ((2,), np.int32)}
    if (with_depth or config.traits.reads_depth or config.traits.trains_depth) and any(
        frame.depth_path for frame in frames
    ):
        layers["depth"] = (shape, np.uint16)
    if "segmentation" in config.tasks and any(frame.mask_path for frame in frames):
        layers["mask"] = (shape, np.uint8)

    def prepare(frame: data.Frame) -> dict[str, NDArray]:
        return _resized(frame, config, shape, layers, depth_camera)

    settings: tuple[object, ...] = (
        config.view.height, config.view.width_px, config.view.resize, config.scene.classes if "mask" in layers else None
    )  # fmt: skip
    if depth_camera != REGISTERED:
        # Where a pixel of such depth falls depends on K, which the cache's name has nothing of otherwise.
        settings = (*settings, depth_camera, [_intrinsics(frame, config).tolist() for frame in frames])
    arrays = frame_arrays(frames, layers, prepare, settings, cache, description)
    cameras = [
        scale_intrinsics(_intrinsics(frame, config), shape[1] / width, shape[0] / height)
        for frame, (height, width) in zip(frames, arrays["size"].tolist(), strict=True)
    ]
    poses = [frame.pose_7 if frame.pose_7 is not None else np.full(7, np.nan) for frame in frames]
    pose_N7 = torch.from_numpy(np.array(poses)).float()
    posed = torch.isfinite(pose_N7).all(dim=1)
    return FrameStore(
        names=tuple(frame.name for frame in frames),
        image_N3HW=arrays["image"],
        depth_NHW=arrays.get("depth"),
        deep_N=np.array([frame.depth_path is not None for frame in frames]),
        depth_units_per_m_N=np.array([frame.depth_units_per_m for frame in frames], np.float32),
        mask_NHW=arrays.get("mask"),
        K_N33=torch.stack(cameras).float(),
        pose_N7=torch.where(posed[:, None], pose_N7, torch.tensor(NOWHERE_7)),
        posed_N=posed.float(),
        sequence_N=np.concatenate([np.full(len(s.frames), i) for i, s in enumerate(sequences)]),
    )


def _stored_shape(image_shape: tuple[int, ...], config: NetworkConfig) -> tuple[int, int]:
    """Rows and columns after the resize, before the crop."""
    return resized_shape(
        image_shape[0], image_shape[1], config.view.height, config.view.width_px, config.view.resize == "whole"
    )


def _intrinsics(frame: data.Frame, config: NetworkConfig) -> Tensor:
    """K (3, 3) of the colour image."""
    return correct_focal(torch.from_numpy(np.asarray(frame.K_33, np.float64)), config.scene.focal_correction)


def _resized(
    frame: data.Frame,
    config: NetworkConfig,
    shape: tuple[int, int],
    layers: dict[str, tuple[tuple[int, ...], type]],
    depth_camera: DepthCameraConfig,
) -> dict[str, NDArray]:
    """The layers of one frame after the resize, before the crop."""
    pixels = frame.image()
    if _stored_shape(pixels.shape, config) != shape:
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise data.DataError(
            f"{frame.image_path}: {size} has other proportions than the first frame and cannot share a batch with it; "
            "use --network.resize whole, or give it a dataset of its own"
        )
    image = resize_image(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), *shape)[0].to(torch.uint8)
    made = {"image": image.numpy(), "size": np.array(pixels.shape[:2], np.int32)}
    if "depth" in layers:
        colour = replace(frame, K_33=_intrinsics(frame, config).numpy(), depth_camera=depth_camera)
        metres, units = colour.depth(), torch.zeros(shape)
        if metres is not None:
            if depth_camera != REGISTERED and metres.shape != pixels.shape[:2]:
                sizes = f"{metres.shape[1]} x {metres.shape[0]}, the image {pixels.shape[1]} x {pixels.shape[0]}"
                raise data.DataError(f"{frame.depth_path}: {sizes}: with data.depth_camera, both must have one size")
            units = resize_depth(torch.from_numpy(metres)[None, None], *shape)[0, 0] * frame.depth_units_per_m
        made["depth"] = units.round().numpy().astype(np.uint16)
    if "mask" in layers:
        ids, mask = frame.mask(), np.full(shape, data.VOID, np.uint8)
        if ids is not None:
            labelled = ids[ids != data.VOID]
            if labelled.size and labelled.max() >= config.scene.classes:
                raise data.DataError(
                    f"{frame.mask_path}: class id {labelled.max()}, there are {config.scene.classes} classes"
                )
            mask = resize_depth(torch.from_numpy(ids)[None, None].float(), *shape)[0, 0].numpy().astype(np.uint8)
        made["mask"] = mask
    return made


def clip_frames(store: FrameStore, last_B: NDArray, length: int, skip_B: NDArray) -> NDArray[np.int64]:
    """(B, L) frames of clips that end at `last_B` and step by `skip_B`, never across a sequence's border.

    A clip near the start of a sequence steps more densely; the very first frame is repeated, as of a camera at rest.
    """
    first_B = store.first_N[last_B]
    skip_B = np.minimum(skip_B, np.maximum((last_B - first_B) // max(length - 1, 1), 1))
    steps_L = np.arange(length)[::-1]
    return np.maximum(last_B[:, None] - steps_L * skip_B[:, None], first_B[:, None])


def gather_clips(
    store: FrameStore,
    index_BL: NDArray,
    config: NetworkConfig,
    augment: AugmentConfig | None,
    generator: np.random.Generator,
) -> Clips:
    """The pixels of clips. Without `augment` the crop is central and the pixels are untouched, as on the robot."""
    return stack_clips([gather_clip(store, index_L, config, augment, generator) for index_L in index_BL])


def stack_clips(clips: Sequence[Clips]) -> Clips:
    """Single clips, without their first dimension, as a batch."""
    return Clips(*(_stack([getattr(clip, field.name) for clip in clips]) for field in fields(Clips)))


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """Stack; a layer that no clip has stays a single number."""
    if all(not any(tensor.stride()) for tensor in tensors):
        return tensors[0].expand(len(tensors), *tensors[0].shape)
    return torch.stack(list(tensors))


def gather_clip(
    store: FrameStore,
    index_L: NDArray,
    config: NetworkConfig,
    augment: AugmentConfig | None,
    generator: np.random.Generator,
) -> Clips:
    """One clip without the first dimension: another view, a random crop, a geometric change and another light.

    Each is drawn once for the clip. Where the network trains on poses, clips that have one are only changed as a moved
    camera would have seen it.
    """
    image_L3HW = torch.from_numpy(store.image_N3HW[index_L])
    length, _, rows, columns = image_L3HW.shape
    if store.depth_NHW is None:
        depth_L1HW = torch.zeros(()).expand(length, 1, rows, columns)
    else:
        metres = store.depth_NHW[index_L] / store.depth_units_per_m_N[index_L, None, None]
        depth_L1HW = torch.from_numpy(metres)[:, None]
    if store.mask_NHW is None:
        mask_LHW = torch.tensor(data.VOID, dtype=torch.uint8).expand(length, rows, columns)
    else:
        mask_LHW = torch.from_numpy(store.mask_NHW[index_L])
    index = torch.from_numpy(index_L)
    K_L33, pose_L7, posed_L = store.K_N33[index], store.pose_N7[index], store.posed_N[index]
    free_y, free_x = rows - config.view.height, columns - config.view.width_px
    top, left = free_y // 2, free_x // 2
    if augment is not None:
        if augment.views.probability > 0:
            image_L3HW, depth_L1HW, mask_LHW, K_L33, pose_L7, posed_L = move_clip(
                image_L3HW, depth_L1HW, mask_LHW, K_L33, pose_L7, posed_L, augment.views, generator
            )
        top, left = int(generator.integers(0, free_y + 1)), int(generator.integers(0, free_x + 1))
    y, x = slice(top, top + config.view.height), slice(left, left + config.view.width_px)
    image_L3HW, depth_L1HW, mask_LHW = image_L3HW[..., y, x], depth_L1HW[..., y, x], mask_LHW[..., y, x]
    K_L33 = scale_intrinsics(K_L33, 1.0, 1.0, left, top)
    if augment is not None:
        image_L3HW = image_L3HW.float()
        if augment.geometric.probability > 0:
            trains_pose = {"localization", "odometry"} & set(config.tasks) and bool(posed_L.any())
            geometric = augment.geometric.rigid() if trains_pose else augment.geometric
            image_L3HW, depth_L1HW, mask_LHW, K_L33, pose_L7, posed_L = warp_together(
                image_L3HW, depth_L1HW, mask_LHW, K_L33, pose_L7, posed_L, geometric, generator
            )
        if not config.traits.uses_depth:  # it was only needed for the new view
            depth_L1HW = torch.zeros(()).expand(depth_L1HW.shape)
        # A camera's pixels are whole numbers, too.
        image_L3HW = change_light(image_L3HW, augment, generator).round_().to(torch.uint8)
    return Clips(image_L3HW, K_L33, depth_L1HW, mask_LHW, pose_L7, posed_L)
