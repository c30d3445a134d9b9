"""Changes of light, and rotation, zoom, crop, shear and flip of image, depth, mask and K together, a clip at a time.

Every draw comes from the generator that is passed in, and every frame of a clip of L frames changes alike, so that the
motion within it stays true. Images are float RGB 0..255, depths metres with 0 = unknown, masks uint8 ids with 255 =
unlabelled. The paper's section III-E names the geometric ones and brightness and contrast for learning semantics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vlocnetpp.data.frames import VOID, DataError
from vlocnetpp.geometry import compose

GAMMA = 2.2
"""Exponent of the camera's encoding: light = (value / 255) ** GAMMA."""
WAVELENGTH_NM = (600.0, 550.0, 450.0)
"""Wavelengths assumed for red, green and blue."""
RADIATION_NM_K = 1.4388e7
"""Second radiation constant of Planck's law."""


def check_limits(what: str, config: object, **highest: float) -> None:
    """Raise DataError with the name of the first setting that is not within 0 and its limit."""
    for name, limit in highest.items():
        value = getattr(config, name)
        if not 0 <= value <= limit:
            fault = "is negative" if value < 0 else f"is not within 0 and {limit:g}"
            raise DataError(f"{what}: {name} {value:g} {fault}")


@dataclass(frozen=True)
class PhotometricConfig:
    """Changes of light and lens, drawn once for a clip; 0 switches a change off. Poses and masks stay true."""

    brightness: float = 0.3
    """Gain between 1 - b and 1 + b."""
    contrast: float = 0.3
    """Contrast around the clip's mean between 1 - c and 1 + c."""
    colour: float = 0.1
    """Gain of each channel between 1 - c and 1 + c."""
    noise: float = 4.0
    """Standard deviation of pixel noise, of 255, new in every frame."""
    exposure: float = 0.0
    """Stops (EV): the light is multiplied by between 2^-e and 2^e, and what is too bright clips, as on a sensor."""
    temperature: float = 0.0
    """Mired (10^6 / K): the colour temperature moves by up to so much; 50 leads from 6500 K to 4900 or 9600 K."""
    blur: float = 0.0
    """Pixels: standard deviation of a lens out of focus, between 0 and this."""
    motion_blur: float = 0.0
    """Pixels: length of a shake in a random direction, between 0 and this."""
    cutout: int = 0
    """Boxes of a random colour that cover the image; each crosses it at a speed of its own, as someone walking by."""
    cutout_share: float = 0.1
    """Largest share of the image that one box covers, of 1."""

    def __post_init__(self) -> None:
        check_limits("changes of light", self, brightness=1, contrast=1, colour=1, noise=255, exposure=10)
        check_limits("changes of light", self, temperature=150, blur=100, motion_blur=100, cutout=100, cutout_share=1)


def change_light(image_L3HW: Tensor, config: PhotometricConfig, generator: np.random.Generator) -> Tensor:
    """A clip in another light and through another lens.

    In the order of a camera: colour and amount of light, occlusion, blur, the camera's gains, noise.

    Returns:
        (L, 3, H, W) within 0..255.
    """
    changed = image_L3HW.clone(memory_format=torch.contiguous_format)
    if config.exposure > 0 or config.temperature > 0:
        stops = generator.uniform(-config.exposure, config.exposure)
        mired = generator.uniform(-config.temperature, config.temperature)
        changed = (changed * (2 ** (stops / GAMMA) * _temperature_gains(mired))).clamp_(0, 255)
    for _ in range(config.cutout):
        _cover(changed, config.cutout_share, generator)
    if config.blur > 0 or config.motion_blur > 0:
        _blur(changed, generator.uniform(0, config.blur), generator.uniform(0, config.motion_blur), generator)
    if config.contrast > 0:
        mean = changed.mean()
        changed = (changed - mean) * generator.uniform(1 - config.contrast, 1 + config.contrast) + mean
    if config.brightness > 0 or config.colour > 0:
        gains = generator.uniform(1 - config.colour, 1 + config.colour, (3, 1, 1))
        gains = gains * generator.uniform(1 - config.brightness, 1 + config.brightness)
        changed = changed * torch.from_numpy(gains.astype(np.float32))
    if config.noise > 0:
        # NumPy's own normal numbers would cost more than everything else here together.
        seeded = torch.Generator().manual_seed(int(generator.integers(2**63)))
        changed = changed + config.noise * torch.randn(changed.shape, generator=seeded)
    return changed.clamp_(0, 255)


def _temperature_gains(mired: float) -> Tensor:
    """Gains (3, 1, 1) of red, green and blue in the camera's encoding, green 1, by Wien's form of Planck's law."""
    inverse_nm = 1.0 / np.array(WAVELENGTH_NM)
    light = np.exp(-RADIATION_NM_K * 1e-6 * mired * (inverse_nm - inverse_nm[1]))
    return torch.from_numpy((light ** (1 / GAMMA)).astype(np.float32))[:, None, None]


def _cover(image_L3HW: Tensor, share: float, generator: np.random.Generator) -> None:
    """Paint one moving box into a clip; its speed is up to a twentieth of the image a frame."""
    length, _, height, width = image_L3HW.shape
    area, aspect = generator.uniform(0, share), generator.uniform(0.5, 2.0)
    rows = min(height, int(height * math.sqrt(area * aspect)))
    columns = min(width, int(width * math.sqrt(area / aspect)))
    colour = torch.from_numpy(generator.uniform(0, 255, (3, 1, 1)).astype(np.float32))
    start, speed = generator.uniform(0, 1, 2), generator.uniform(-0.05, 0.05, 2)
    for i in range(length):
        # Reflected at the border, so that a box keeps its area.
        y, x = (1 - np.abs(1 - np.abs(start + i * speed) % 2)) * (height - rows, width - columns)
        image_L3HW[i, :, int(y) : int(y) + rows, int(x) : int(x) + columns] = colour


def _blur(image_L3HW: Tensor, sigma_px: float, length_px: float, generator: np.random.Generator) -> None:
    """Blur a clip in place: out of focus, then shaken along a line."""
    import cv2

    half = math.ceil(length_px / 2)
    line = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    line[half] = np.clip(length_px / 2 + 0.5 - np.abs(np.arange(-half, half + 1)), 0, 1)
    turn = cv2.getRotationMatrix2D((half, half), generator.uniform(0, 180), 1.0)
    kernel = np.asarray(cv2.warpAffine(line, turn, line.shape), np.float32)
    kernel /= kernel.sum()
    for plane_HW in image_L3HW.numpy().reshape(-1, *image_L3HW.shape[-2:]):
        if sigma_px > 0.1:
            plane_HW[:] = cv2.GaussianBlur(plane_HW, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
        if half > 0:
            plane_HW[:] = cv2.filter2D(plane_HW, -1, kernel, borderType=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class GeometricConfig:
    """Changes of image, depth, mask and K together; 0 switches a change off."""

    probability: float = 0.0
    """Share of the clips that are changed at all."""
    rotation_deg: float = 0.0
    """Degrees: the camera rolls about its optical axis by up to so much."""
    translation: float = 0.0
    """The picture moves by up to this share of its width and height."""
    scale: float = 0.0
    """Zoom about the image's centre between 1 / (1 + s) and 1 + s."""
    crop: float = 0.0
    """A window that lacks up to this share of the sides, enlarged to the whole image."""
    shear_deg: float = 0.0
    """Degrees: rows slide along x and columns along y by up to so much. Breaks poses."""
    flip: float = 0.0
    """Probability of a mirrored image. Breaks poses."""

    def __post_init__(self) -> None:
        check_limits("geometric changes", self, probability=1, rotation_deg=180, translation=1, scale=10, crop=0.9)
        check_limits("geometric changes", self, shear_deg=40, flip=1)

    def rigid(self) -> GeometricConfig:
        """The same without shear and flip, for clips whose pose is trained: these do not correspond to any camera."""
        return replace(self, shear_deg=0.0, flip=0.0)


def warp_together(
    image_L3HW: Tensor,
    depth_L1HW: Tensor,
    mask_LHW: Tensor,
    K_L33: Tensor,
    pose_L7: Tensor,
    posed_L: Tensor,
    config: GeometricConfig,
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Image, depth, mask, K and pose of a clip after one affine change of its pixels.

    Zoom, crop and translation are another K, and the rotation is a roll of the camera that its pose follows exactly,
    T_new = T R_z^-1. A shear or flip is no camera's view: `posed_L` comes back 0 then, so use `config.rigid()` where
    the pose is trained. Depth and mask take the nearest pixel; outside the old image they are 0 and 255, and the image
    repeats its border.

    Returns:
        image (L, 3, H, W), depth (L, 1, H, W), mask (L, H, W), K (L, 3, 3), pose (L, 7), posed (L).
    """
    if generator.uniform() >= config.probability:
        return image_L3HW, depth_L1HW, mask_LHW, K_L33, pose_L7, posed_L
    import kornia

    height, width = image_L3HW.shape[-2:]
    view, slant = _zoom(config, height, width, generator), _slant(config, height, width, generator)
    roll = math.radians(generator.uniform(-config.rotation_deg, config.rotation_deg))
    R_z = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    K = K_L33.double().numpy()
    # The camera's points turn by R_z, so its axes turn by the inverse.
    pixels = torch.from_numpy((view @ slant @ K @ R_z @ np.linalg.inv(K))[:, :2]).float()
    back = torch.tensor([0.0, 0, 0, math.cos(roll / 2), 0, 0, -math.sin(roll / 2)], dtype=pose_L7.dtype)
    # One more than the id, so that zeros from outside the image differ from class 0.
    labels_L2HW = torch.cat((depth_L1HW.float(), mask_LHW[:, None].float() + 1), dim=1)
    warp = kornia.geometry.transform.warp_affine
    image = warp(image_L3HW, pixels, (height, width), "bilinear", "border", align_corners=True)
    labels = warp(labels_L2HW, pixels, (height, width), "nearest", "zeros", align_corners=True)
    mask = torch.where(labels[:, 1] > 0, labels[:, 1] - 1, float(VOID)).to(mask_LHW.dtype)
    seen_by_a_camera = bool(np.array_equal(slant, np.eye(3)))
    return (
        image,
        labels[:, :1].to(depth_L1HW.dtype),
        mask,
        torch.from_numpy(view @ K).to(K_L33.dtype),
        compose(pose_L7, back.expand_as(pose_L7)),
        posed_L if seen_by_a_camera else torch.zeros_like(posed_L),
    )


def _about(linear_22: np.ndarray, x: float, y: float) -> np.ndarray:
    """The (3, 3) change of pixels that applies a linear one about a point."""
    change = np.eye(3)
    change[:2, :2] = linear_22
    change[:2, 2] = np.array([x, y]) - linear_22 @ np.array([x, y])
    return change


def _zoom(config: GeometricConfig, height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Zoom, crop and translation: what another K does to pixels."""
    size = np.array([width, height])
    zoom = (1 + config.scale) ** generator.uniform(-1, 1)
    window = 1 - config.crop * generator.uniform()
    # The window lies anywhere within the image: the point that stays where it is does, too.
    fixed = generator.uniform(0, 1, 2) * (size - 1)
    shift = np.eye(3)
    shift[:2, 2] = generator.uniform(-config.translation, config.translation, 2) * size
    centre = (size - 1) / 2
    return shift @ _about(np.eye(2) * zoom, *centre) @ _about(np.eye(2) / window, *fixed)


def _slant(config: GeometricConfig, height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Shear and flip about the image's centre."""
    x, y = np.tan(np.radians(generator.uniform(-config.shear_deg, config.shear_deg, 2)))
    mirror = -1.0 if generator.uniform() < config.flip else 1.0
    return _about(np.array([[1.0, x], [y, 1.0]]) @ np.diag([mirror, 1.0]), (width - 1) / 2, (height - 1) / 2)
