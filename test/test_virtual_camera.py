"""Images of another camera remapped to the training camera: the same rays at the same pixels."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlocnetpp_ros.virtual_camera import VOID, view

HEIGHT, WIDTH = 96, 128
TRAINING_K = np.array([[100.0, 0, 63.5], [0, 100.0, 47.5], [0, 0, 1]])


def camera(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def picture_of_rays(K: np.ndarray) -> np.ndarray:
    """A smooth scene at infinity, as a camera at the origin sees it: colour is a function of the ray alone."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    a, b = (x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1]
    waves = np.stack([np.sin(6 * a), np.cos(5 * b), np.sin(4 * a + 3 * b)], axis=-1)
    return np.rint(127.5 + 100 * waves).astype(np.uint8)


def test_the_training_camera_itself_is_left_alone() -> None:
    assert view(TRAINING_K, TRAINING_K.copy(), HEIGHT, WIDTH) is None


@pytest.mark.parametrize("other", [camera(80, 80, 63.5, 47.5), camera(90, 85, 60.0, 50.0), camera(70, 95, 66.0, 44.0)])
def test_a_wider_camera_sees_all_that_the_training_camera_sees(other: np.ndarray) -> None:
    way = view(other, TRAINING_K, HEIGHT, WIDTH)
    assert way is not None
    assert way.covered > 0.93
    remapped, expected = way.image(picture_of_rays(other)).astype(int), picture_of_rays(TRAINING_K).astype(int)
    inside = way.image(np.full((HEIGHT, WIDTH), 255, np.uint8)) == 255
    assert np.abs(remapped - expected)[inside].max() <= 3


def test_a_narrower_camera_leaves_a_black_frame_and_says_how_much_it_covers() -> None:
    way = view(camera(200, 200, 63.5, 47.5), TRAINING_K, HEIGHT, WIDTH)
    assert way is not None
    assert way.covered == pytest.approx(0.25, abs=0.02)
    remapped = way.image(np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    assert not remapped[0].any()
    assert (remapped[HEIGHT // 2, WIDTH // 2] == 200).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0.7, 1.4), st.floats(0.7, 1.4), st.floats(-8, 8), st.floats(-8, 8))
def test_masks_come_back_to_the_pixels_they_were_seen_at(sx: float, sy: float, dx: float, dy: float) -> None:
    way = view(camera(100 * sx, 100 * sy, 63.5 + dx, 47.5 + dy), TRAINING_K, HEIGHT, WIDTH)
    if way is None:
        return
    # Blobs large enough that a pixel's rounding there and back does not leave them.
    ids = cv2.resize(np.arange(12, dtype=np.uint8).reshape(3, 4), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    back = way.mask(np.rint(way.depth(ids.astype(np.float32))).astype(np.uint8))
    edges = cv2.dilate((cv2.Laplacian(ids.astype(np.float32), cv2.CV_32F) != 0).astype(np.uint8), np.ones((5, 5)))
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    x, y = (u - 63.5 - dx) / sx + 63.5, (v - 47.5 - dy) / sy + 47.5
    seen = (x >= 1) & (x <= WIDTH - 2) & (y >= 1) & (y <= HEIGHT - 2)
    rim = (u < 2) | (u > WIDTH - 3) | (v < 2) | (v > HEIGHT - 3)  # there a rounded pixel may fall out of the image
    sure = seen & (edges == 0) & ~rim
    assert (back[sure] == ids[sure]).all()
    outside = (x < -1) | (x > WIDTH) | (y < -1) | (y > HEIGHT)
    assert (back[outside] == VOID).all()
