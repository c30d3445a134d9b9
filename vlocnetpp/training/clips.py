"""Frames of a dataset at the network's resolution in memory, and the clips that are cut from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlocnetpp.data import frames as data
from vlocnetpp.geometry import resized_shape, scale_intrinsics
from vlocnetpp.network import NetworkConfig
from vlocnetpp.network.preprocess import resize_depth, resize_image
from vlocnetpp.progress import track
from vlocnetpp.training.config import AugmentConfig


@dataclass(frozen=True)
class Clips:
    """A batch of B clips of L frames at the network's resolution."""

    image_BL3HW: Tensor
    """float, RGB 0..255."""
    K_BL33: Tensor
    depth_BL1HW: Tensor
    """Metres, 0 = unknown."""
    mask_BLHW: Tensor
    """uint8 class ids, 255 = unlabelled."""
    pose_BL7: Tensor
    posed_BL: Tensor
    """1 where the frame has a pose, else 0 and `pose_BL7` is meaningless."""

    def to(self, device: torch.device) -> Clips:
        """The same clips on a device."""
        return Clips(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class FrameStore:
    """All frames of some sequences, decoded once and resized as the robot resizes them, before the crop."""

    names: tuple[str, ...]
    image_N3HW: Tensor
    depth_N1HW: Tensor
    mask_NHW: Tensor
    K_N33: Tensor
    pose_N7: Tensor
    posed_N: Tensor
    sequence_N: np.ndarray
    """Which sequence each frame belongs to; frames of a sequence are consecutive."""

    @property
    def has_depth(self) -> bool:
        return bool((self.depth_N1HW > 0).any())


def load_frames(sequences: Sequence[data.Sequence], config: NetworkConfig, description: str) -> FrameStore:
    """Decode and resize every frame. Raises DataError for a frame that cannot be read or has another shape."""
    frames = [frame for sequence in sequences for frame in sequence.frames]
    if not frames:
        raise data.DataError(f"{description}: the split has no frames")
    wants_mask, wants_depth = "segmentation" in config.tasks, config.depth != "none"
    with ThreadPoolExecutor(2) as pool:
        loaded = list(
            track(
                pool.map(lambda frame: _load(frame, config, wants_mask, wants_depth), frames), description, len(frames)
            )
        )
    shapes = {tuple(item[0].shape) for item in loaded}
    if len(shapes) > 1:
        raise data.DataError(f"{description}: images of different proportions ({shapes}) cannot share a batch")
    images, depths, masks, cameras = (torch.stack(column) for column in zip(*loaded, strict=True))
    poses = [frame.pose_7 if frame.pose_7 is not None else np.full(7, np.nan) for frame in frames]
    pose_N7 = torch.from_numpy(np.array(poses)).float()
    posed = torch.isfinite(pose_N7).all(dim=1)
    index = np.concatenate([np.full(len(s.frames), i) for i, s in enumerate(sequences)])
    return FrameStore(
        names=tuple(frame.name for frame in frames),
        image_N3HW=images,
        depth_N1HW=depths,
        mask_NHW=masks,
        K_N33=cameras,
        pose_N7=torch.where(posed[:, None], pose_N7, torch.tensor([0.0, 0, 0, 1, 0, 0, 0])),
        posed_N=posed.float(),
        sequence_N=index,
    )


def _load(
    frame: data.Frame, config: NetworkConfig, wants_mask: bool, wants_depth: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image (3, H, W) uint8, depth (1, H, W), mask (H, W) uint8 and intrinsics after the resize, before the crop."""
    pixels = frame.image()
    height, width = pixels.shape[:2]
    rows, columns = resized_shape(height, width, config.height, config.width_px, config.resize == "whole")
    image = resize_image(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), rows, columns)[0].to(torch.uint8)
    metres = frame.depth() if wants_depth else None
    depth = torch.zeros((1, rows, columns))
    if metres is not None:
        depth = resize_depth(torch.from_numpy(metres)[None, None], rows, columns)[0]
    ids = frame.mask() if wants_mask else None
    mask = torch.full((rows, columns), data.VOID, dtype=torch.uint8)
    if ids is not None:
        labelled = ids[ids != data.VOID]
        if labelled.size and labelled.max() >= config.classes:
            raise data.DataError(f"{frame.mask_path}: class id {labelled.max()}, there are {config.classes} classes")
        mask = resize_depth(torch.from_numpy(ids)[None, None].float(), rows, columns)[0, 0].to(torch.uint8)
    K = scale_intrinsics(torch.from_numpy(np.asarray(frame.K_33, np.float64)), columns / width, rows / height)
    return image, depth, mask, K.float()


def cut_clips(
    store: FrameStore, length: int, max_skip: int, batch: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """One epoch of (B, L) frame indices, never across a sequence's border.

    Every frame is once the last of its clip, but for a last batch that would not be full.
    A clip near the start of a sequence steps more densely; the very first frame is repeated, as of a camera at rest.
    """
    count = len(store.names)
    first = np.searchsorted(store.sequence_N, store.sequence_N)
    order = generator.permutation(count)
    skips = generator.integers(1, max_skip + 1, count)
    steps = np.arange(length)[::-1]
    for start in range(0, max(1, count - batch + 1), batch):
        last = order[start : start + batch]
        room = last - first[last]
        skip = np.minimum(skips[last], np.maximum(room // max(length - 1, 1), 1))
        yield np.maximum(last[:, None] - steps[None, :] * skip[:, None], first[last][:, None])


def gather_clips(
    store: FrameStore,
    index_BL: np.ndarray,
    config: NetworkConfig,
    augment: AugmentConfig | None,
    generator: np.random.Generator,
) -> Clips:
    """The pixels of clips: one random crop for a clip where the preset crops, one photometric change for a clip.

    Without `augment` the crop is central and the pixels are untouched, as on the robot.
    """
    index = torch.from_numpy(index_BL)
    rows, columns = store.image_N3HW.shape[-2:]
    free_y, free_x = rows - config.height, columns - config.width_px
    images, depths, masks, cameras = [], [], [], []
    for clip in index:
        top, left = free_y // 2, free_x // 2
        if augment is not None:
            top, left = int(generator.integers(0, free_y + 1)), int(generator.integers(0, free_x + 1))
        y, x = slice(top, top + config.height), slice(left, left + config.width_px)
        images.append(store.image_N3HW[clip][..., y, x])
        depths.append(store.depth_N1HW[clip][..., y, x])
        masks.append(store.mask_NHW[clip][..., y, x])
        cameras.append(scale_intrinsics(store.K_N33[clip], 1.0, 1.0, left, top))
    image_BL3HW = torch.stack(images).float()
    if augment is not None:
        image_BL3HW = change_light(image_BL3HW, augment, generator)
    return Clips(
        image_BL3HW,
        torch.stack(cameras),
        torch.stack(depths),
        torch.stack(masks),
        store.pose_N7[index],
        store.posed_N[index],
    )


def change_light(image_BL3HW: Tensor, augment: AugmentConfig, generator: np.random.Generator) -> Tensor:
    """Brightness, contrast, colour and noise, the first three the same for all frames of a clip."""
    batch = image_BL3HW.shape[0]

    def gains(amount: float, channels: int) -> Tensor:
        values = generator.uniform(1 - amount, 1 + amount, (batch, 1, channels, 1, 1))
        return torch.from_numpy(values.astype(np.float32))

    mean = image_BL3HW.mean(dim=(1, 2, 3, 4), keepdim=True)
    changed = (image_BL3HW - mean) * gains(augment.contrast, 1) + mean
    changed = changed * gains(augment.brightness, 1) * gains(augment.colour, 3)
    if augment.noise > 0:
        seeded = torch.Generator().manual_seed(int(generator.integers(2**31)))
        changed = changed + augment.noise * torch.randn(changed.shape, generator=seeded)
    return changed.clamp(0, 255)
