"""Odometry from the warping residual: the motion by which the previous image, warped (eq. 7), equals the current one.

Direct alignment by Gauss-Newton, coarse to fine, with the depth of the current image; a coarse and partly wrong one is
enough. The gradient is the current image's, so a level computes all but the residual once (Baker & Matthews,
Lucas-Kanade 20 Years On, 2004). Weights are those of Student's t (Kerl, Sturm & Cremers, Robust Odometry Estimation
for RGB-D Cameras, 2013). A change of brightness, gain and bias, is solved for along with the motion.

It scripts, exports, differentiates and runs on any device: plain arithmetic, because ONNX has no solver, a fixed number
of steps, and no step that depends on the data.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.geometry import pixel_grid, quaternion_from_matrix, rotation_matrix

STRIDE = 2
"""Pixels of the network's input per pixel of the grey image that is aligned and remembered."""


class Alignment(NamedTuple):
    """What two images tell about the motion between them."""

    relative_B7: Tensor
    """inv(T_{t-1}) @ T_t, the pose of the current camera in the previous one; the start where `found_B` is False."""
    log_scale_B2: Tensor
    """Log of the standard deviation of translation, metres, and rotation, radians; 0 where `found_B` is False."""
    agreeing_B: Tensor
    """Share of the current image's texture (of its squared gradient) that the motion explains, 0 to 1."""
    found_B: Tensor
    """Whether the images could be aligned (bool)."""


class Motion(NamedTuple):
    """What the levels refine: a point p of the current camera is R p + t in the previous one."""

    R_B33: Tensor
    t_B31: Tensor
    brightness_B2: Tensor
    """Gain and bias: the previous image shows c + gain (c / CONTRAST - 2) + bias where the current one shows c."""
    variance_B1: Tensor
    """Of a residual."""


class Pixels(NamedTuple):
    """Chosen pixels of one level of the current image."""

    rays_B4N: Tensor
    """x, y, 1 along the ray and the inverse depth, 1/m."""
    grey_BN: Tensor
    known_BN: Tensor
    """1 where the depth is known, 0 elsewhere."""
    depth_variance_BN: Tensor
    """Of the log of the depth."""
    texture_BN: Tensor
    """Squared gradient, per pixel of the level."""
    change_B8N: Tensor
    """How the current image changes there with gain, bias, move and turn of the camera."""


class Fit(NamedTuple):
    """The last step's equations."""

    inverse_B88: Tensor
    weight_BN: Tensor
    residual_BN: Tensor


def grey_image(image_B3HW: Tensor, stride: int = STRIDE) -> Tensor:
    """What is aligned, and remembered for the next step: (B, 1, H/2, W/2) grey, 0 to 255, of RGB from 0 to 255."""
    return F.avg_pool2d(image_B3HW.mean(dim=1, keepdim=True), stride)


class DirectAlignment(nn.Module):
    """Gauss-Newton on grey values, coarse to fine; without parameters, a module so that its constants are scripted."""

    STRIDE: Final[int] = STRIDE
    COARSEST: Final[tuple[int, int, int]] = (8, 1, 3)
    """A level: pixels of the grey image per pixel of its own; side of the cells of which each gives one pixel, the one
    with the steepest gradient; steps. The coarsest solves for the rotation and the brightness alone: between two frames
    the rotation moves most pixels most, and depth plays no part in it."""
    LEVELS: Final = ((4, 1, 3), (2, 2, 3))
    FINEST: Final[tuple[int, int, int]] = (1, 4, 3)
    FREEDOM: Final[float] = 5.0
    """Degrees of freedom of Student's t (Kerl et al. 2013)."""
    NOISE: Final[float] = 1.0
    """Least standard deviation of a residual, of 255."""
    FIRST_NOISE: Final[float] = 20.0
    """The one that is assumed at the start."""
    CONTRAST: Final[float] = 64.0
    """Grey values by which gain is measured, so that its equation is of the size of the others."""
    DAMPING: Final[float] = 1.0
    """Added to the diagonal of the normal equations, whose entries are inverse variances in m and rad."""
    STILL: Final[float] = 1e9
    """The damping of a move that is not solved for."""
    NEAREST_M: Final[float] = 0.05
    """Depth below this is unknown."""
    WITHIN_PX: Final[float] = 0.5
    """A pixel agrees where its residual is less than the gradient over so many pixels of its level."""
    MIN_AGREEING: Final[float] = 0.5
    """With a smaller share of the texture there is no answer."""
    MAX_DEVIATION: Final[float] = 0.1
    """With a larger deviation, metres or radians, there is none either."""
    PATCHES: Final[tuple[int, int]] = (6, 8)
    """Rows and columns of patches of the image; errors within one may be correlated."""
    PARAMETERS: Final[int] = 8
    """Gain, bias, move in metres and turn in radians, in this order."""

    def forward(
        self,
        current_B1hw: Tensor,
        previous_B1hw: Tensor,
        depth_B1yx: Tensor,
        log_deviation_B1yx: Tensor,
        K_B33: Tensor,
        start_B7: Tensor,
    ) -> Alignment:
        """The motion between two images, from their grey values and the depth of the current one.

        All is computed in the precision of K.

        Args:
            current_B1hw, previous_B1hw: of `grey_image`, its sides at least 8 pixels.
            depth_B1yx: metres along the optical axis of the current image, 0 where unknown; of any resolution.
            log_deviation_B1yx: log of the standard deviation of that depth, metres.
            K_B33: intrinsics at the network's input resolution.
            start_B7: where to begin, and what is answered where the images cannot be aligned: the identity, the motion
                between two global poses or the last motion. Images that have more than a fifth of their width in common
                with what it predicts are aligned.
        """
        current, previous, start = current_B1hw.to(K_B33.dtype), previous_B1hw.to(K_B33.dtype), start_B7.to(K_B33.dtype)
        depth, log_deviation = depth_B1yx.to(K_B33.dtype), log_deviation_B1yx.to(K_B33.dtype)
        known = (depth > self.NEAREST_M).to(depth.dtype)
        inverse_depth = known / depth.clamp_min(self.NEAREST_M)
        relative_variance = torch.exp(2.0 * log_deviation) * inverse_depth.square()
        geometry = torch.cat((inverse_depth, relative_variance * known, known), dim=1)
        unit_B1 = torch.ones_like(start[:, :1])
        motion = Motion(
            rotation_matrix(start[:, 3:]),
            start[:, :3, None],
            torch.zeros_like(start[:, :2]),
            self.FIRST_NOISE * self.FIRST_NOISE * unit_B1,
        )
        motion, _, _ = self.align_level(motion, current, previous, geometry, K_B33, self.COARSEST, True)
        for level in self.LEVELS:
            motion, _, _ = self.align_level(motion, current, previous, geometry, K_B33, level, False)
        motion, pixels, fit = self.align_level(motion, current, previous, geometry, K_B33, self.FINEST, False)
        agreeing_B = self.agreement(pixels, fit, motion)
        deviation_B2 = self.deviations(pixels, fit, current.shape[2] // self.FINEST[1])
        sure_B = (deviation_B2 < self.MAX_DEVIATION).all(dim=1)
        found_B = sure_B & (agreeing_B > self.MIN_AGREEING)
        relative_B7 = torch.cat((motion.t_B31[:, :, 0], quaternion_from_matrix(motion.R_B33)), dim=1)
        found_B1 = found_B.unsqueeze(1)
        log_scale_B2 = deviation_B2.clamp(1e-6, 1.0).log()
        return Alignment(
            torch.where(found_B1, relative_B7, start),
            torch.where(found_B1, log_scale_B2, torch.zeros_like(log_scale_B2)),
            agreeing_B,
            found_B,
        )

    def align_level(
        self,
        motion: Motion,
        current_B1hw: Tensor,
        previous_B1hw: Tensor,
        geometry_B3yx: Tensor,
        K_B33: Tensor,
        level: tuple[int, int, int],
        turn_only: bool,
    ) -> tuple[Motion, Pixels, Fit]:
        """Steps on images reduced by a factor, at the pixel of the steepest gradient in each cell of so many pixels."""
        reduction, cell, steps = level
        current, previous = F.avg_pool2d(current_B1hw, reduction), F.avg_pool2d(previous_B1hw, reduction)
        height, width = current.shape[2], current.shape[3]
        K = level_intrinsics(K_B33, float(self.STRIDE * reduction))
        pixels = self.choose_pixels(current, geometry_B3yx, K, cell)
        to_grid_B33 = grid_matrix(K, height, width)
        unit_88 = torch.eye(self.PARAMETERS, dtype=K.dtype, device=K.device)
        stiffness_8 = torch.full_like(unit_88[0], self.DAMPING)
        if turn_only:
            stiffness_8 = torch.cat((stiffness_8[:2], self.STILL * stiffness_8[:3], stiffness_8[:3]))
        damping_88 = unit_88 * stiffness_8
        residual_BN, weight_BN, inverse_B88 = pixels.grey_BN, pixels.grey_BN, unit_88.unsqueeze(0)
        for _ in range(steps):
            residual_BN, seen_BN = compare(motion, pixels, previous, to_grid_B33)
            variance_BN = depth_noise(motion, pixels) + motion.variance_B1
            weight_BN = seen_BN * (self.FREEDOM + 1.0) / (self.FREEDOM * variance_BN + residual_BN.square())
            weighted_B8N = pixels.change_B8N * weight_BN.unsqueeze(1)
            inverse_B88 = invert(torch.matmul(weighted_B8N, pixels.change_B8N.transpose(1, 2)) + damping_88)
            step_B81 = torch.matmul(inverse_B88, torch.matmul(weighted_B8N, residual_BN.unsqueeze(2)))
            # The deviation for which squared residuals, weighted, are as large as expected (Kerl et al. 2013, eq. 17).
            excess_B1 = (weight_BN * residual_BN.square()).sum(dim=1, keepdim=True)
            variance_B1 = motion.variance_B1 * excess_B1 / seen_BN.sum(dim=1, keepdim=True).clamp_min(1.0)
            variance_B1 = variance_B1.clamp_min(self.NOISE * self.NOISE)
            motion = moved(motion, step_B81, variance_B1)
        return motion, pixels, Fit(inverse_B88, weight_BN, residual_BN)

    def choose_pixels(self, image_B1hw: Tensor, geometry_B3yx: Tensor, K_B33: Tensor, cell: int) -> Pixels:
        """The pixel with the steepest gradient in each cell, and how its grey value changes as the camera moves."""
        batch, height, width = image_B1hw.shape[0], image_B1hw.shape[2], image_B1hw.shape[3]
        wide = F.pad(image_B1hw, (1, 1, 1, 1), mode="replicate")
        slope_x = 0.5 * (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2])
        slope_y = 0.5 * (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1])
        geometry = F.interpolate(geometry_B3yx, size=(height, width), mode="bilinear", align_corners=False)
        here_2hw = pixel_grid(height, width, image_B1hw).permute(2, 0, 1)
        centre_B211 = K_B33[:, :2, 2, None, None]
        focal_B211 = torch.stack((K_B33[:, 0, 0], K_B33[:, 1, 1]), dim=1)[:, :, None, None]
        rays_B2hw = (here_2hw - centre_B211) / focal_B211
        maps = torch.cat((image_B1hw, slope_x, slope_y, geometry, rays_B2hw), dim=1).flatten(2)
        if cell > 1:
            texture = slope_x.square() + slope_y.square()
            _, index_B1yx = F.max_pool2d(texture, cell, return_indices=True)
            maps = torch.gather(maps, 2, index_B1yx.flatten(2).expand(batch, maps.shape[1], -1))
        grey, slope_x, slope_y, inverse_depth, depth_variance, share, x, y = maps.unbind(1)
        known = (share > 0.5).to(share.dtype)
        # A cell that is unknown took no part in the average.
        inverse_depth, depth_variance = inverse_depth / share.clamp_min(0.5), depth_variance / share.clamp_min(0.5)
        ones = torch.ones_like(x)
        rays_B4N = torch.stack((x, y, ones, inverse_depth), dim=1)
        # A point p that moves by d and turns by w comes to p + d + w x p; along the ray, nothing changes.
        across_x, across_y = slope_x * focal_B211[:, 0, 0], slope_y * focal_B211[:, 1, 0]
        along_B3N = torch.stack((across_x, across_y, -(across_x * x + across_y * y)), dim=1)
        turn_B3N = torch.linalg.cross(rays_B4N[:, :3], along_B3N, dim=1)
        contrast = grey / self.CONTRAST - 2.0
        brightness_B2N = torch.stack((contrast, ones), dim=1)
        change_B8N = torch.cat((brightness_B2N, along_B3N * inverse_depth.unsqueeze(1), turn_B3N), dim=1)
        return Pixels(rays_B4N, grey, known, depth_variance, slope_x.square() + slope_y.square(), change_B8N)

    def agreement(self, pixels: Pixels, fit: Fit, motion: Motion) -> Tensor:
        """(B,) the share of the texture whose residual is less than what a small shift would make.

        Texture counts as it is seen in the previous image, so that an image without contrast explains nothing.
        """
        gain_B1 = 1.0 + motion.brightness_B2[:, :1] / self.CONTRAST
        shift_BN = (self.WITHIN_PX * gain_B1).square() * pixels.texture_BN
        agrees = ((fit.residual_BN.square() < shift_BN) & (fit.weight_BN > 0)).to(shift_BN.dtype)
        texture_BN = pixels.texture_BN * pixels.known_BN
        return (agrees * texture_BN).sum(dim=1) / texture_BN.sum(dim=1).clamp_min(1e-6)

    def deviations(self, pixels: Pixels, fit: Fit, rows: int) -> Tensor:
        """(B, 2) standard deviations of move and turn, where residuals of a patch of the image may err together.

        The covariance that is robust to clusters (Liang & Zeger, Longitudinal Data Analysis Using Generalized Linear
        Models, 1986): errors of depth and of interpolation are alike within an object or along an edge.

        Args:
            rows: of the cells of which the pixels are.
        """
        scores_B8N = pixels.change_B8N * (fit.weight_BN * fit.residual_BN).unsqueeze(1)
        columns = scores_B8N.shape[2] // rows
        patch_y, patch_x = max(1, rows // self.PATCHES[0]), max(1, columns // self.PATCHES[1])
        patches = F.avg_pool2d(scores_B8N.unflatten(2, (rows, columns)), (patch_y, patch_x)).flatten(2)
        half_B8P = torch.matmul(fit.inverse_B88, patches * float(patch_y * patch_x))
        count = patches.shape[2]
        variance_B8 = half_B8P.square().sum(dim=2) * count / max(1, count - self.PARAMETERS)
        # Where no pixel tells, none errs: there the inverse says it.
        variance_B8 = variance_B8 + torch.diagonal(fit.inverse_B88, dim1=1, dim2=2)
        return torch.stack((variance_B8[:, 2:5].sum(dim=1), variance_B8[:, 5:].sum(dim=1)), dim=1).sqrt()


def level_intrinsics(K_B33: Tensor, reduction: float) -> Tensor:
    """Intrinsics of an image reduced by averaging; the image's edge, at -0.5, stays."""
    focal_B3 = torch.stack((K_B33[:, 0, 0], K_B33[:, 1, 1]), dim=1) / reduction
    centre_B2 = (K_B33[:, :2, 2] + 0.5) / reduction - 0.5
    columns = torch.diag_embed(focal_B3)
    top_B23 = torch.cat((columns, centre_B2.unsqueeze(2)), dim=2)
    return torch.cat((top_B23, K_B33[:, 2:]), dim=1)


def grid_matrix(K_B33: Tensor, height: int, width: int) -> Tensor:
    """(B, 3, 3) that takes points of a camera to the coordinates of `grid_sample`, edges at -1 and 1, times z."""
    x, y, z = K_B33.unbind(1)
    return torch.stack(((2.0 * x + z) / width - z, (2.0 * y + z) / height - z, z), dim=1)


def compare(motion: Motion, pixels: Pixels, previous_B1hw: Tensor, to_grid_B33: Tensor) -> tuple[Tensor, Tensor]:
    """Grey value of the warped previous image less the current one's, (B, N), and where both are seen, 1 or 0."""
    pose_B34 = torch.cat((motion.R_B33, motion.t_B31), dim=2)
    points_B3N = torch.matmul(torch.matmul(to_grid_B33, pose_B34), pixels.rays_B4N)
    z_B1N = points_B3N[:, 2:]
    grid_B2N = points_B3N[:, :2] / z_B1N.clamp_min(1e-3)
    seen_BN = (z_B1N[:, 0] > 1e-3) & (grid_B2N.abs() < 1.0).all(dim=1)
    grid_B1N2 = grid_B2N.transpose(1, 2).unsqueeze(1)
    sampled = F.grid_sample(previous_B1hw, grid_B1N2, mode="bilinear", padding_mode="border", align_corners=False)
    brighter_BN = torch.matmul(motion.brightness_B2.unsqueeze(1), pixels.change_B8N[:, :2])[:, 0]
    return sampled[:, 0, 0] - pixels.grey_BN - brighter_BN, pixels.known_BN * seen_BN.to(pixels.known_BN.dtype)


def depth_noise(motion: Motion, pixels: Pixels) -> Tensor:
    """Variance (B, N) of a residual by that of the depth: a point that is farther looks as if it had moved less."""
    moved_B13 = torch.matmul(motion.R_B33.transpose(1, 2), motion.t_B31).transpose(1, 2)
    return torch.matmul(moved_B13, pixels.change_B8N[:, 2:5])[:, 0].square() * pixels.depth_variance_BN


def moved(motion: Motion, step_B81: Tensor, variance_B1: Tensor) -> Motion:
    """The motion after a step that brings the current image upon the warped one, undone on the side of the current."""
    move_B31, half_B13 = step_B81[:, 2:5], -0.5 * step_B81[:, 5:].transpose(1, 2)
    unit_33 = torch.eye(3, dtype=half_B13.dtype, device=half_B13.device)
    # Cayley's rotation, exact for any length.
    half_B33 = torch.linalg.cross(unit_33.expand_as(motion.R_B33), half_B13.expand_as(motion.R_B33))
    squared = half_B13.square().sum(dim=2, keepdim=True)
    turn_B33 = unit_33 + 2.0 / (1.0 + squared) * (half_B33 + torch.matmul(half_B33, half_B33))
    return Motion(
        torch.matmul(motion.R_B33, turn_B33),
        motion.t_B31 - torch.matmul(motion.R_B33, move_B31),
        motion.brightness_B2 + step_B81[:, :2, 0],
        variance_B1,
    )


def invert(matrix_BNN: Tensor) -> Tensor:
    """Inverse of symmetric positive definite matrices, by Gauss and Jordan's elimination.

    Scaled to ones on the diagonal first, whatever the units: no pivot is then above one, or it would cancel digits.
    """
    size = matrix_BNN.shape[1]
    scale_BN1 = torch.diagonal(matrix_BNN, dim1=1, dim2=2).rsqrt().unsqueeze(2)
    scale_BNN = scale_BN1 * scale_BN1.transpose(1, 2)
    unit_NN = torch.eye(size, dtype=matrix_BNN.dtype, device=matrix_BNN.device)
    both = torch.cat((matrix_BNN * scale_BNN, unit_NN.expand_as(matrix_BNN)), dim=2)
    for k in range(size):
        row = both[:, k : k + 1] / both[:, k : k + 1, k : k + 1]
        both = both - (both[:, :, k : k + 1] - unit_NN[:, k : k + 1]) * row
    return both[:, :, size:] * scale_BNN
