"""Odometry from the warping residual: the motion by which the previous image, warped (eq. 7), equals the current one.

Direct alignment by Gauss-Newton, coarse to fine, with the depth of the current image; a coarse and partly wrong one is
enough. The gradient is the current image's, so a level computes all but the residual once (Baker & Matthews,
Lucas-Kanade 20 Years On, 2004). Weights are those of Student's t (Kerl, Sturm & Cremers, Robust Odometry Estimation
for RGB-D Cameras, 2013); the expected residual grows with the gradient, so that an edge counts whatever its contrast. A
change of brightness, gain and bias, is solved for along with the motion.

A person who walks by may have the strongest edges, and would be taken for what stands still. So the coarse levels are
solved several times, from other parts of the image; the motion by which most of the whole image agrees is refined.

It scripts, exports, differentiates and runs on any device: plain arithmetic, because ONNX has no solver, a fixed number
of steps, and no branch that depends on the data.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.geometry import normalize_quaternion, quaternion_from_matrix, rotation_matrix
from vlocnetpp.network.blocks.alignment_equations import (
    Fit,
    Motion,
    Pixels,
    apply_step,
    compare,
    invert,
    level_grid,
    level_intrinsics,
    part_masks,
    repeat_pixels,
    slope_by_depth,
)

STRIDE = 2
"""Pixels of the network's input per pixel of the grey image that is aligned and remembered."""


class Alignment(NamedTuple):
    """The motion between two images, as estimated from them."""

    relative_B7: Tensor
    """inv(T_{t-1}) @ T_t, the pose of the current camera in the previous one; the start where `found_B` is False."""
    log_scale_B2: Tensor
    """Log of the standard deviation of translation, metres, and rotation, radians; 0 where `found_B` is False."""
    agreeing_B: Tensor
    """Share of the current image's edges that the motion explains, 0 to 1."""
    found_B: Tensor
    """Whether the alignment succeeded (bool)."""


def grey_image(image_B3HW: Tensor, stride: int = STRIDE) -> Tensor:
    """The grey image that is aligned and kept for the next step: (B, 1, H/2, W/2), 0 to 255, from RGB of 0 to 255."""
    return F.avg_pool2d(image_B3HW, stride).mean(dim=1, keepdim=True)


class DirectAlignment(nn.Module):
    """Gauss-Newton on grey values. It has no parameters; it is a module because TorchScript reads constants from
    modules.
    """

    STRIDE: Final[int] = STRIDE
    COARSEST: Final[tuple[int, int]] = (1, 3)
    """Of a level: side of the cells, of which each gives its pixel with the steepest gradient, and steps. The coarsest
    level, at an eighth of the grey image's size, solves for rotation and brightness alone: rotation causes most of the
    large displacements and does not depend on depth."""
    COARSE: Final[tuple[int, int]] = (1, 3)
    FINE: Final[tuple[int, int]] = (2, 3)
    FINEST: Final[tuple[int, int]] = (4, 4)
    PARTS: Final[int] = 4
    """Parts of the image that the coarse levels are solved from, see `part_masks`."""
    FREEDOM: Final[float] = 2.0
    """Degrees of freedom of Student's t, fewer than the 5 of Kerl et al. 2013, so that what moves by itself loses more
    of its weight from step to step. This, the noise and `OFF_PX` were chosen on training drives (docs/decisions.md)."""
    NOISE: Final[float] = 1.0
    """Smallest standard deviation of a residual, in grey levels of 255."""
    FIRST_NOISE: Final[float] = 3.0
    """Standard deviation assumed at the start."""
    OFF_PX: Final[float] = 0.25
    """Standard deviation of an edge's displacement, pixels of the finest level; a level that is smaller by a factor,
    where less is known of the motion, has that factor times as many of its own pixels."""
    CONTRAST: Final[float] = 64.0
    """Grey levels per unit of gain, so that its equation has the scale of the others."""
    DAMPING: Final[float] = 1.0
    """Added to the diagonal of the normal equations, whose entries are inverse variances in m and rad."""
    STILL: Final[float] = 1e9
    """Damping of the translation where it is not solved for."""
    NEAREST_M: Final[float] = 0.05
    """Depth below this is unknown."""
    WITHIN_PX: Final[float] = 0.5
    """A pixel agrees where its residual is less than the change of grey value over so many pixels of its level."""
    MIN_AGREEING: Final[float] = 0.5
    """With a smaller share of the edges in agreement, the alignment has failed."""
    MAX_DEVIATION: Final[float] = 0.1
    """With a larger deviation, metres or radians, it has failed too."""
    PATCHES: Final[tuple[int, int]] = (6, 8)
    """Rows and columns of image patches; residuals within a patch may have correlated errors."""
    DEPTH_PATCHES: Final[tuple[int, int]] = (3, 4)
    """The same for depth, whose errors are correlated over larger areas."""
    PARAMETERS: Final[int] = 8
    """Gain, bias, translation in metres and rotation in radians, in this order."""

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
            current_B1hw, previous_B1hw: of `grey_image`, of at least 48 x 48 pixels.
            depth_B1yx: metres along the optical axis of the current image, 0 where unknown; of any resolution.
            log_deviation_B1yx: log of the standard deviation of that depth, metres.
            K_B33: intrinsics at the network's input resolution.
            start_B7: initial motion, also returned where the alignment fails: the identity, the motion
                between two global poses or the last motion.
        """
        dtype = K_B33.dtype
        current, previous, start = current_B1hw.to(dtype), previous_B1hw.to(dtype), start_B7.to(dtype)
        depth = depth_B1yx.to(dtype)
        known = (depth > self.NEAREST_M).to(dtype)
        inverse_depth = known / depth.clamp_min(self.NEAREST_M)
        relative_variance = torch.exp(2.0 * log_deviation_B1yx.to(dtype)) * inverse_depth.square()
        # Averaged, because noise in the inputs of a regression biases its result to zero: the translation would be too
        # short.
        geometry = torch.cat((inverse_depth, relative_variance, known), dim=1)
        geometry = F.avg_pool2d(geometry, 3, stride=1, padding=1, count_include_pad=False)
        current_2, previous_2 = F.avg_pool2d(current, 2), F.avg_pool2d(previous, 2)
        current_4, previous_4 = F.avg_pool2d(current_2, 2), F.avg_pool2d(previous_2, 2)
        current_8, previous_8 = F.avg_pool2d(current_4, 2), F.avg_pool2d(previous_4, 2)

        starts = start.repeat(self.PARTS, 1)  # a row for each part of each image, from here to `best_part`
        brightness_B2 = torch.zeros_like(starts[:, :2])
        variance_B1 = torch.full_like(starts[:, :1], self.FIRST_NOISE * self.FIRST_NOISE)
        R_B33 = rotation_matrix(normalize_quaternion(starts[:, 3:]))
        motion = Motion(R_B33, starts[:, :3, None], brightness_B2, variance_B1)
        pixels = self.choose_pixels(current_8, geometry, K_B33, 8, self.COARSEST[0])
        motion = self.align_parts(motion, pixels, previous_8, K_B33, 8, self.COARSEST, True)
        pixels = self.choose_pixels(current_4, geometry, K_B33, 4, self.COARSE[0])
        motion = self.align_parts(motion, pixels, previous_4, K_B33, 4, self.COARSE, False)
        pixels = self.choose_pixels(current_2, geometry, K_B33, 2, self.FINE[0])
        motion = self.align_parts(motion, pixels, previous_2, K_B33, 2, self.FINE, False)
        motion = self.best_part(motion, pixels, previous_2, K_B33, 2)
        pixels = self.choose_pixels(current, geometry, K_B33, 1, self.FINEST[0])
        motion, fit = self.align_level(motion, pixels, previous, K_B33, 1, self.FINEST[1], False)

        agreeing_B = self.agreement(motion, pixels, fit)
        deviation_B2 = self.deviations(motion, pixels, fit, (current.shape[2] - 2) // self.FINEST[0])
        found_B = (deviation_B2 < self.MAX_DEVIATION).all(dim=1) & (agreeing_B > self.MIN_AGREEING)
        relative_B7 = torch.cat((motion.t_B31[:, :, 0], quaternion_from_matrix(motion.R_B33)), dim=1)
        log_scale_B2 = deviation_B2.clamp(1e-6, 1.0).log()
        found_B1 = found_B.unsqueeze(1)
        return Alignment(
            torch.where(found_B1, relative_B7, start),
            torch.where(found_B1, log_scale_B2, torch.zeros_like(log_scale_B2)),
            agreeing_B,
            found_B,
        )

    def align_parts(
        self,
        motion: Motion,
        pixels: Pixels,
        previous_B1hw: Tensor,
        K_B33: Tensor,
        reduction: int,
        level: tuple[int, int],
        turn_only: bool,
    ) -> Motion:
        """`align_level` for each part of the image by itself."""
        cell, steps = level
        columns = (previous_B1hw.shape[3] - 2) // cell
        mask_PN = part_masks(pixels.grey_BN.shape[1] // columns, columns, K_B33).to(K_B33.dtype)
        parts = repeat_pixels(pixels, (mask_PN.unsqueeze(1) * pixels.known_BN).flatten(0, 1), self.PARTS)
        before, K = previous_B1hw.repeat(self.PARTS, 1, 1, 1), K_B33.repeat(self.PARTS, 1, 1)
        motion, _ = self.align_level(motion, parts, before, K, reduction, steps, turn_only)
        return motion

    def best_part(self, motion: Motion, pixels: Pixels, previous_B1hw: Tensor, K_B33: Tensor, reduction: int) -> Motion:
        """Of the motions of all parts, the one by which most edges of the whole image agree."""
        batch = K_B33.shape[0]
        whole = repeat_pixels(pixels, pixels.known_BN.repeat(self.PARTS, 1), self.PARTS)
        before, K = previous_B1hw.repeat(self.PARTS, 1, 1, 1), K_B33.repeat(self.PARTS, 1, 1)
        to_grid_B33 = level_grid(K, float(self.STRIDE * reduction), before.shape[2], before.shape[3])
        residual_BN, seen_BN = compare(motion, whole, before, to_grid_B33)
        variance_BN = self.NOISE * self.NOISE + self.OFF_PX * self.OFF_PX * whole.texture_BN
        agreeing_BN = seen_BN * self.edges(whole) / (1.0 + residual_BN.square() / variance_BN)
        best_B = agreeing_BN.sum(dim=1).unflatten(0, (self.PARTS, -1)).argmax(dim=0)
        row_B = best_B * batch + torch.arange(batch, device=best_B.device)
        return Motion(
            motion.R_B33[row_B], motion.t_B31[row_B], motion.brightness_B2[row_B],
            torch.full_like(motion.variance_B1[row_B], self.FIRST_NOISE * self.FIRST_NOISE),
        )  # fmt: skip

    def align_level(
        self,
        motion: Motion,
        pixels: Pixels,
        previous_B1hw: Tensor,
        K_B33: Tensor,
        reduction: int,
        steps: int,
        turn_only: bool,
    ) -> tuple[Motion, Fit]:
        """Gauss-Newton steps with chosen pixels of grey images that were reduced by a factor."""
        height, width = previous_B1hw.shape[2], previous_B1hw.shape[3]
        to_grid_B33 = level_grid(K_B33, float(self.STRIDE * reduction), height, width)
        damping_8 = self.damping(K_B33, turn_only)
        off_px = self.OFF_PX * reduction
        displaced_BN = off_px * off_px * pixels.texture_BN
        weight_BN, residual_BN, inverse_B88 = pixels.grey_BN, pixels.grey_BN, K_B33
        for _step in range(steps):
            residual_BN, seen_BN = compare(motion, pixels, previous_B1hw, to_grid_B33)
            by_depth_BN = slope_by_depth(motion, pixels).square() * pixels.depth_variance_BN
            variance_BN = by_depth_BN + displaced_BN + motion.variance_B1
            weight_BN = seen_BN * (self.FREEDOM + 1.0) / (self.FREEDOM * variance_BN + residual_BN.square())
            weighted_B8N = pixels.change_B8N * weight_BN.unsqueeze(1)
            inverse_B88 = invert(torch.matmul(weighted_B8N, pixels.change_B8N.transpose(1, 2)), damping_8)
            # The deviation for which squared residuals, weighted, are as large as expected (Kerl et al. 2013, eq. 17).
            excess_B1 = (weight_BN * residual_BN.square()).sum(dim=1, keepdim=True)
            variance_B1 = motion.variance_B1 * excess_B1 / seen_BN.sum(dim=1, keepdim=True).clamp_min(1.0)
            variance_B1 = variance_B1.clamp_min(self.NOISE * self.NOISE)
            side_B81 = torch.matmul(weighted_B8N, residual_BN.unsqueeze(2))
            motion = apply_step(motion, torch.matmul(inverse_B88, side_B81), variance_B1)
        return motion, Fit(inverse_B88, weight_BN, residual_BN)

    def damping(self, like: Tensor, turn_only: bool) -> Tensor:
        """(8,) damping of the diagonal of the normal equations."""
        damping_8 = torch.full([self.PARAMETERS], self.DAMPING, dtype=like.dtype, device=like.device)
        if turn_only:
            damping_8 = torch.cat((damping_8[:2], self.STILL * damping_8[2:5], damping_8[5:]))
        return damping_8

    def choose_pixels(
        self, image_B1hw: Tensor, geometry_B3yx: Tensor, K_B33: Tensor, reduction: int, cell: int
    ) -> Pixels:
        """The pixel with the steepest gradient in each cell, and how its grey value changes as the camera moves."""
        height, width = image_B1hw.shape[2], image_B1hw.shape[3]
        inner = image_B1hw[:, :, 1:-1, 1:-1]
        slope_x = 0.5 * (image_B1hw[:, :, 1:-1, 2:] - image_B1hw[:, :, 1:-1, :-2])
        slope_y = 0.5 * (image_B1hw[:, :, 2:, 1:-1] - image_B1hw[:, :, :-2, 1:-1])
        texture, index_B1yx = F.max_pool2d(slope_x.square() + slope_y.square(), cell, return_indices=True)
        index_B1N = index_B1yx.flatten(2)
        maps_B3M = torch.cat((inner, slope_x, slope_y), dim=1).flatten(2)
        grey, slope_x, slope_y = torch.gather(maps_B3M, 2, index_B1N.expand(-1, 3, -1)).unbind(1)
        u_B1N, v_B1N = index_B1N % (width - 2) + 1, index_B1N // (width - 2) + 1
        pixel_B2N = torch.cat((u_B1N, v_B1N), dim=1).to(grey.dtype)

        K_B3 = level_intrinsics(K_B33, float(self.STRIDE * reduction)).unbind(1)
        grid = torch.stack(((pixel_B2N[:, 0] + 0.5) * (2.0 / width), (pixel_B2N[:, 1] + 0.5) * (2.0 / height)), dim=2)
        geometry = F.grid_sample(
            geometry_B3yx, grid.unsqueeze(1) - 1.0, mode="bilinear", padding_mode="border", align_corners=False
        )
        inverse_depth, depth_variance, share = geometry[:, :, 0].unbind(1)
        # Unknown depths were left out of the average.
        inverse_depth, depth_variance = inverse_depth / share.clamp_min(0.5), depth_variance / share.clamp_min(0.5)
        focal_x, focal_y = K_B3[0][:, :1], K_B3[1][:, 1:2]
        x, y = (pixel_B2N[:, 0] - K_B3[0][:, 2:]) / focal_x, (pixel_B2N[:, 1] - K_B3[1][:, 2:]) / focal_y
        ones = torch.ones_like(x)
        # A point p that moves by d and turns by w comes to p + d + w x p; along its ray, nothing changes.
        along_x, along_y = slope_x * focal_x, slope_y * focal_y
        along_z = -(along_x * x + along_y * y)
        change = (
            grey / self.CONTRAST - 2.0, ones,
            along_x * inverse_depth, along_y * inverse_depth, along_z * inverse_depth,
            y * along_z - along_y, along_x - x * along_z, x * along_y - y * along_x,
        )  # fmt: skip
        return Pixels(
            torch.stack((x, y, ones, inverse_depth), dim=1),
            grey,
            (share > 0.5).to(grey.dtype),
            depth_variance,
            texture.flatten(1),
            torch.stack(change, dim=1),
        )

    def agreement(self, motion: Motion, pixels: Pixels, fit: Fit) -> Tensor:
        """(B,) the share of the edges whose residual is less than the effect of a small shift."""
        gain_B1 = 1.0 + motion.brightness_B2[:, :1] / self.CONTRAST
        shift_BN = (self.WITHIN_PX * gain_B1).square() * pixels.texture_BN
        agrees = ((fit.residual_BN.square() < shift_BN) & (fit.weight_BN > 0)).to(shift_BN.dtype)
        edges_BN = self.edges(pixels) * pixels.known_BN
        return (agrees * edges_BN).sum(dim=1) / edges_BN.sum(dim=1).clamp_min(1e-6)

    def edges(self, pixels: Pixels) -> Tensor:
        """(B, N) how far a pixel is an edge, 0 to 1: what has no gradient agrees with any motion."""
        displaced_BN = self.OFF_PX * self.OFF_PX * pixels.texture_BN
        return displaced_BN / (self.NOISE * self.NOISE + displaced_BN)

    def deviations(self, motion: Motion, pixels: Pixels, fit: Fit, rows: int) -> Tensor:
        """(B, 2) standard deviations of translation and rotation, with errors that may be correlated within an image
        patch.

        The covariance that is robust to clusters (Liang & Zeger, Longitudinal Data Analysis Using Generalized Linear
        Models, 1986) from the residuals, plus that of independent errors, and the effect of errors in depth, which
        residuals do not show.

        Args:
            rows: of the cells of which the pixels are.
        """
        weighted_B8N = pixels.change_B8N * fit.weight_BN.unsqueeze(1)
        depth_BN = slope_by_depth(motion, pixels) * pixels.depth_variance_BN.sqrt()
        # Of independent errors: what the weights expect of residuals, scaled to what they are. One more residual, as
        # large as expected, keeps the bound above zero for images that are equal, and large where no pixel is seen.
        seen_B1 = (fit.weight_BN > 0).sum(dim=1, keepdim=True) + 1.0
        excess_B1 = ((fit.weight_BN * fit.residual_BN.square()).sum(dim=1, keepdim=True) + 1.0) / seen_B1
        variance_B8 = excess_B1 * torch.diagonal(fit.inverse_B88, dim1=1, dim2=2)
        for error_BN, (patch_rows, patch_columns) in (
            (fit.residual_BN, self.PATCHES),
            (depth_BN, self.DEPTH_PATCHES),
        ):
            scores_B8yx = (weighted_B8N * error_BN.unsqueeze(1)).unflatten(2, (rows, -1))
            patch_y, patch_x = max(1, rows // patch_rows), max(1, scores_B8yx.shape[3] // patch_columns)
            patches_B8P = F.avg_pool2d(scores_B8yx, (patch_y, patch_x)).flatten(2) * float(patch_y * patch_x)
            variance_B8 = variance_B8 + torch.matmul(fit.inverse_B88, patches_B8P).square().sum(dim=2)
        return torch.stack((variance_B8[:, 2:5].sum(dim=1), variance_B8[:, 5:].sum(dim=1)), dim=1).sqrt()
