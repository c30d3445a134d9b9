"""Point clouds: bytes as RViz reads them, points of a depth image, and the map that a model file carries."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from std_msgs.msg import Header

from vlocnetpp.runtime import ModelFileError
from vlocnetpp.runtime.map_cloud import POINT, cloud_to_bytes, read_map_cloud
from vlocnetpp_ros import clouds


def map_points(count: int = 100) -> np.ndarray:
    rng = np.random.default_rng(0)
    points = np.zeros(count, POINT)
    points["xyz"], points["rgb"] = rng.uniform(-3, 3, (count, 3)), rng.integers(0, 256, (count, 3))
    return points


def carry(model: Path, data: bytes) -> Path:
    """Add a map cloud to a model file, as an exporter writes an extra file."""
    with zipfile.ZipFile(model, "a") as archive:
        folder = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{folder}/extra/map_cloud", data)
    return model


def test_a_cloud_message_holds_the_points_and_their_colours() -> None:
    xyz = np.array([[1.0, 2.0, 3.0], [np.nan, 0.0, 0.0], [-1.0, 0.5, 0.25]])
    rgb = np.array([[10, 20, 30], [1, 1, 1], [255, 0, 128]], np.uint8)
    message = clouds.cloud_message(Header(frame_id="map"), xyz, rgb)
    assert (message.width, message.height, message.point_step, message.row_step) == (2, 1, 16, 32)
    assert [(field.name, field.offset) for field in message.fields] == [("x", 0), ("y", 4), ("z", 8), ("rgb", 12)]
    values = np.frombuffer(bytes(message.data), np.float32).reshape(2, 4)
    np.testing.assert_array_equal(values[:, :3], xyz[[0, 2]])
    packed = values[:, 3].copy().view(np.uint32)
    assert [(int(each) >> 16, int(each) >> 8 & 255, int(each) & 255) for each in packed] == [
        (10, 20, 30),
        (255, 0, 128),
    ]


def test_points_of_a_depth_image_project_back_to_their_pixels() -> None:
    K = np.array([[60.0, 0, 31.5], [0, 55.0, 23.5], [0, 0, 1]])
    depth = np.random.default_rng(0).uniform(0.5, 5.0, (48, 64)).astype(np.float32)
    depth[3, 5] = 0.0
    points = clouds.points_of_depth(depth, K)
    assert np.isnan(points[3, 5]).all()
    seen = points.reshape(-1, 3) @ K.T
    rows, columns = np.mgrid[:48, :64]
    known = depth.ravel() > 0
    np.testing.assert_allclose((seen[:, 0] / seen[:, 2])[known], columns.ravel()[known], atol=1e-3)
    np.testing.assert_allclose((seen[:, 1] / seen[:, 2])[known], rows.ravel()[known], atol=1e-3)


def test_a_map_survives_the_model_file_and_a_file_without_one_has_none(tmp_path: Path) -> None:
    copy = Path(shutil.copy(ROOT / "models/demo.ts", tmp_path / "copy.ts"))
    points = map_points()
    np.testing.assert_array_equal(read_map_cloud(carry(copy, cloud_to_bytes(points))), points)


@pytest.mark.parametrize("data", [b"", b"junk", cloud_to_bytes(map_points())[:-3], b"\x93NUMPY\x01\x00"])
def test_a_map_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    copy = Path(shutil.copy(ROOT / "models/demo.ts", tmp_path / "copy.ts"))
    with pytest.raises(ModelFileError, match="its map_cloud cannot be read") as caught:
        read_map_cloud(carry(copy, data))
    assert "\n" not in str(caught.value)


def test_a_map_of_another_kind_is_not_written() -> None:
    far = map_points()
    far["xyz"][0, 0] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        cloud_to_bytes(far)
    with pytest.raises(ValueError, match="up to 1000000 points"):
        cloud_to_bytes(np.zeros((2, 3)))  # type: ignore[arg-type]
