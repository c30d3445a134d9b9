"""SE(3), quaternions and the pinhole camera on batched tensors; every function scripts and differentiates.

A pose is seven numbers: x, y, z in metres and a Hamilton quaternion w, x, y, z with w >= 0. `T_ab` maps points of frame
b into frame a, so the camera-to-world pose is `T_wc`. Camera frames are optical: x right, y down, z forward. Pixel
coordinates follow OpenCV: the centre of the first pixel is (0, 0).
"""

from __future__ import annotations

import torch
from torch import Tensor


def normalize_quaternion(q_B4: Tensor) -> Tensor:
    """Scale (..., 4) to unit length and choose the sign with w >= 0.

    A zero quaternion becomes the identity, with a finite gradient; NaN stays NaN.
    """
    norm = torch.linalg.vector_norm(q_B4, dim=-1, keepdim=True)
    identity = torch.zeros_like(q_B4)
    identity[..., 0].fill_(1.0)  # assigning a Python number would copy it to the GPU and wait for it
    # Written as `<=`, which is false for NaN, so that NaN does not take the place of a zero quaternion.
    unit = torch.where(norm <= 1e-12, identity, q_B4 / norm.clamp_min(1e-12))
    return torch.where(unit[..., :1] < 0, -unit, unit)


def multiply_quaternions(a_B4: Tensor, b_B4: Tensor) -> Tensor:
    """Hamilton product of (..., 4) and (..., 4): first the rotation b, then a."""
    aw, ax, ay, az = a_B4.unbind(-1)
    bw, bx, by, bz = b_B4.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        dim=-1,
    )


def conjugate_quaternion(q_B4: Tensor) -> Tensor:
    """The inverse rotation of unit quaternions (..., 4)."""
    return torch.cat((q_B4[..., :1], -q_B4[..., 1:]), dim=-1)


def log_quaternion(q_B4: Tensor) -> Tensor:
    """Logarithm (..., 3) of unit quaternions (..., 4) with w >= 0: the axis times half the angle in radians.

    Its gradient is defined at the identity too.
    """
    w, axis = q_B4[..., :1], q_B4[..., 1:]
    squared = axis.square().sum(dim=-1, keepdim=True)
    turns = squared > 1e-14  # below, the factor is 1 to the last digit of a float32
    sine = torch.where(turns, squared, torch.ones_like(squared)).sqrt()
    return axis * torch.where(turns, torch.atan2(sine, w) / sine, torch.ones_like(w))


def rotate(q_B4: Tensor, point_B3: Tensor) -> Tensor:
    """Rotate points (..., 3) by unit quaternions (..., 4)."""
    axis, w = q_B4[..., 1:], q_B4[..., :1]
    axis, point_B3 = torch.broadcast_tensors(axis, point_B3)
    twice = 2.0 * torch.linalg.cross(axis, point_B3)
    return point_B3 + w * twice + torch.linalg.cross(axis, twice)


def rotation_matrix(q_B4: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4)."""
    w, x, y, z = q_B4.unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quaternion_from_matrix(R_B33: Tensor) -> Tensor:
    """Unit quaternions (..., 4), w >= 0, of rotation matrices (..., 3, 3).

    Of the four classical formulas each sample takes the one with the largest pivot, so rotations by 180 degrees are as
    exact as any other.
    """
    m00, m11, m22 = R_B33[..., 0, 0], R_B33[..., 1, 1], R_B33[..., 2, 2]
    m01, m10 = R_B33[..., 0, 1], R_B33[..., 1, 0]
    m02, m20 = R_B33[..., 0, 2], R_B33[..., 2, 0]
    m12, m21 = R_B33[..., 1, 2], R_B33[..., 2, 1]
    # Row i is 4 q_i * (w, x, y, z).
    candidates = torch.stack(
        (
            torch.stack((1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01), dim=-1),
            torch.stack((m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20), dim=-1),
            torch.stack((m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m12 + m21), dim=-1),
            torch.stack((m10 - m01, m20 + m02, m21 + m12, 1 - m00 - m11 + m22), dim=-1),
        ),
        dim=-2,
    )
    pivots = torch.diagonal(candidates, dim1=-2, dim2=-1)
    best = pivots.argmax(dim=-1, keepdim=True).unsqueeze(-1)
    index = best.expand(best.shape[:-2] + (1, 4))
    return normalize_quaternion(torch.gather(candidates, -2, index).squeeze(-2))


def pose_from_matrix(T_B44: Tensor) -> Tensor:
    """Poses (..., 7) of homogeneous matrices (..., 4, 4)."""
    return torch.cat((T_B44[..., :3, 3], quaternion_from_matrix(T_B44[..., :3, :3])), dim=-1)


def matrix_from_pose(pose_B7: Tensor) -> Tensor:
    """Homogeneous matrices (..., 4, 4) of poses (..., 7)."""
    R_B33 = rotation_matrix(pose_B7[..., 3:])
    top = torch.cat((R_B33, pose_B7[..., :3].unsqueeze(-1)), dim=-1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 3] = 1.0
    return torch.cat((top, bottom), dim=-2)


def compose(ab_B7: Tensor, bc_B7: Tensor) -> Tensor:
    """T_ac = T_ab @ T_bc on poses (..., 7)."""
    position = rotate(ab_B7[..., 3:], bc_B7[..., :3]) + ab_B7[..., :3]
    rotation = multiply_quaternions(ab_B7[..., 3:], bc_B7[..., 3:])
    return torch.cat((position, normalize_quaternion(rotation)), dim=-1)


def inverse(ab_B7: Tensor) -> Tensor:
    """T_ba of T_ab on poses (..., 7)."""
    back = conjugate_quaternion(ab_B7[..., 3:])
    return torch.cat((-rotate(back, ab_B7[..., :3]), back), dim=-1)


def relative(previous_B7: Tensor, current_B7: Tensor) -> Tensor:
    """inv(T_{t-1}) @ T_t: the pose of the current camera in the previous one, (..., 7)."""
    return compose(inverse(previous_B7), current_B7)


def rotation_angle(a_B4: Tensor, b_B4: Tensor) -> Tensor:
    """Angle in radians between unit quaternions (..., 4), the same for q and -q and exact for small angles."""
    difference = multiply_quaternions(conjugate_quaternion(a_B4), b_B4)
    sine = torch.linalg.vector_norm(difference[..., 1:], dim=-1)
    return 2.0 * torch.atan2(sine, difference[..., 0].abs())


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Pixel coordinates (H, W, 2) as x, y, with the dtype and device of `like`."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=like.dtype, device=like.device),
        torch.arange(width, dtype=like.dtype, device=like.device),
        indexing="ij",
    )
    return torch.stack((x, y), dim=-1)


def back_project(pixels_BHW2: Tensor, depth_B1HW: Tensor, K_B33: Tensor) -> Tensor:
    """Points (B, H, W, 3) in the camera frame, metres, of pixels with their depth along z."""
    focal = torch.stack((K_B33[:, 0, 0], K_B33[:, 1, 1]), dim=-1)[:, None, None, :]
    centre = K_B33[:, None, None, :2, 2]
    z = depth_B1HW[:, 0].unsqueeze(-1)
    return torch.cat(((pixels_BHW2 - centre) / focal * z, z), dim=-1)


def project(points_BHW3: Tensor, K_B33: Tensor, min_depth: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Pixels (B, H, W, 2) of camera points, and (B, H, W) bool that is False for points behind or on the camera."""
    focal = torch.stack((K_B33[:, 0, 0], K_B33[:, 1, 1]), dim=-1)[:, None, None, :]
    centre = K_B33[:, None, None, :2, 2]
    z = points_BHW3[..., 2:]
    pixels = points_BHW3[..., :2] / z.clamp_min(min_depth) * focal + centre
    return pixels, z[..., 0] > min_depth


def reproject(depth_B1HW: Tensor, K_B33: Tensor, relative_B7: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel of the current image was seen in the previous one (eq. 7, read as an inverse warp).

    Args:
        depth_B1HW: depth of the current image in metres, 0 where unknown.
        K_B33: intrinsics shared by both images.
        relative_B7: inv(T_{t-1}) @ T_t.

    Returns:
        Pixels (B, H, W, 2) in the previous image and (B, H, W) bool: depth known, in front of the previous camera and
        inside its image.
    """
    height, width = depth_B1HW.shape[-2], depth_B1HW.shape[-1]
    known = depth_B1HW[:, 0] > 0
    here = pixel_grid(height, width, depth_B1HW).expand(depth_B1HW.shape[0], height, width, 2)
    # Unknown pixels get a harmless depth so that no gradient meets a division by zero; `known` masks them.
    safe = torch.where(known.unsqueeze(1), depth_B1HW, torch.ones_like(depth_B1HW))
    points = back_project(here, safe, K_B33)
    R_B33 = rotation_matrix(relative_B7[:, 3:])
    moved = torch.matmul(points.flatten(1, 2), R_B33.transpose(1, 2)).view_as(points) + relative_B7[:, None, None, :3]
    pixels, in_front = project(moved, K_B33)
    inside_x = (pixels[..., 0] >= -0.5) & (pixels[..., 0] <= width - 0.5)
    inside_y = (pixels[..., 1] >= -0.5) & (pixels[..., 1] <= height - 0.5)
    return pixels, known & in_front & inside_x & inside_y


def resized_shape(height: int, width: int, input_height: int, input_width: int, whole: bool) -> tuple[int, int]:
    """Rows and columns after the resize and before the crop; the paper scales the short side to 256 and crops 224."""
    if whole:
        return input_height, input_width
    ratio = max(256.0 / 224.0 * input_height / height, 256.0 / 224.0 * input_width / width)
    rows, columns = int(round(height * ratio)), int(round(width * ratio))  # noqa: RUF046 - TorchScript's is a float
    return max(input_height, rows), max(input_width, columns)


def central_view(
    height: int, width: int, input_height: int, input_width: int, whole: bool
) -> tuple[int, int, int, int]:
    """Rows and columns after the resize, then the row and column at which the network's central crop begins."""
    rows, columns = resized_shape(height, width, input_height, input_width, whole)
    return rows, columns, (rows - input_height) // 2, (columns - input_width) // 2


def scale_intrinsics(K_B33: Tensor, scale_x: float, scale_y: float, crop_x: float = 0.0, crop_y: float = 0.0) -> Tensor:
    """Intrinsics (..., 3, 3) after a resize by the scales and a crop that starts at (crop_x, crop_y) of the result."""
    K = K_B33.clone()
    K[..., 0, :] = K[..., 0, :] * scale_x
    K[..., 1, :] = K[..., 1, :] * scale_y
    # Pixel centres lie on integers, so the image's edge (-0.5) is what a resize keeps fixed.
    K[..., 0, 2] = K_B33[..., 0, 2] * scale_x + 0.5 * scale_x - 0.5 - crop_x
    K[..., 1, 2] = K_B33[..., 1, 2] * scale_y + 0.5 * scale_y - 0.5 - crop_y
    return K
