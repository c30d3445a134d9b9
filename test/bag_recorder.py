"""Small recordings as a robot would make them, for the tests of bags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from vlocnetpp.data import DataError, read_bag

K = np.array([[9.0, 0.0, 5.5], [0.0, 8.5, 3.5], [0.0, 0.0, 1.0]])
MS = 1_000_000
START = 1_700_000_000_123_456_789
IMAGE, INFO, POSE, DEPTH = "/cam/image_rect", "/cam/camera_info", "/slam/pose", "/cam/depth"
TF, OLD_TF = "tf2_msgs/msg/TFMessage", "tf/msg/tfMessage"


class Recorder:
    """Writes small recordings as a robot would, in any of the three formats."""

    def __init__(self, path: Path, kind: str = "mcap", compression: CompressionMode | None = None) -> None:
        self.ros1 = kind == "rosbag1"
        self.store = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        if self.ros1:  # not among the common messages of ROS 1
            for name in (TF, OLD_TF):
                self.store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", name))
        self.writer: Any = (
            Writer1(path) if self.ros1 else Writer2(path, version=8, storage_plugin=StoragePlugin[kind.upper()])
        )
        if compression:
            self.writer.set_compression(compression, CompressionFormat.ZSTD)
        self.writer.open()
        self.topics: dict[str, Any] = {}
        self.frame = "cam_optical"
        """Of the images."""
        self.tf_type = TF

    def make(self, msgtype: str, **fields: Any) -> Any:
        return self.store.types[msgtype](**fields)

    def header(self, stamp: int, frame_id: str) -> Any:
        time = self.make("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
        return self.make("std_msgs/msg/Header", **({"seq": 7} if self.ros1 else {}), stamp=time, frame_id=frame_id)

    def write(self, topic: str, log_time: int, message: Any) -> None:
        kind = message.__msgtype__
        if topic not in self.topics:
            self.topics[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        serialize = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
        self.writer.write(self.topics[topic], log_time, serialize(message, kind))

    def image(
        self,
        stamp: int,
        pixels: NDArray,
        encoding: str,
        topic: str = IMAGE,
        pad: int = 0,
        late: int = 0,
        big: bool = False,
    ) -> None:
        height, width = pixels.shape[:2]
        rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
        data = np.pad(rows, ((0, 0), (0, pad)), constant_values=99)
        message = self.make(
            "sensor_msgs/msg/Image",
            header=self.header(stamp, self.frame),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=int(big),
            step=data.shape[1],
            data=data.ravel(),
        )
        self.write(topic, stamp + late, message)

    def jpeg(self, stamp: int, data: bytes, topic: str = f"{IMAGE}/compressed", said: str = "jpeg") -> None:
        header, pixels = self.header(stamp, self.frame), np.frombuffer(data, np.uint8)
        self.write(topic, stamp, self.make("sensor_msgs/msg/CompressedImage", header=header, format=said, data=pixels))

    def info(
        self,
        stamp: int,
        size: tuple[int, int] = (8, 12),
        K_33: NDArray = K,
        topic: str = INFO,
        d: Any = (),
        P_33: NDArray | None = None,
    ) -> None:
        """P_33: left part of P; None makes it twice K."""
        roi = self.make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        P = np.hstack([2 * K_33 if P_33 is None else P_33, np.zeros((3, 1))])
        P[2, 2] = float(K_33.any() or P_33 is not None)
        matrices = {"d": np.array(d, np.float64), "k": K_33.ravel(), "r": np.eye(3).ravel(), "p": P.ravel()}
        message = self.make(
            "sensor_msgs/msg/CameraInfo",
            header=self.header(stamp, self.frame),
            height=size[0],
            width=size[1],
            distortion_model="plumb_bob",
            **{name.upper() if self.ros1 else name: value for name, value in matrices.items()},
            binning_x=0,
            binning_y=0,
            roi=roi,
        )
        self.write(topic, stamp, message)

    def pose(
        self,
        stamp: int,
        x: float,
        yaw: float = 0.0,
        kind: str = "PoseStamped",
        topic: str = POSE,
        child: str = "base",
        scale: float = 1.0,
        parent: str = "map3d",
    ) -> None:
        """scale: what the unit quaternion is multiplied by."""
        header = self.header(stamp, parent)
        pose = self.make(
            "geometry_msgs/msg/Pose",
            position=self.make("geometry_msgs/msg/Point", x=x, y=0.0, z=0.0),
            orientation=self.make(
                "geometry_msgs/msg/Quaternion",
                x=0.0,
                y=0.0,
                z=scale * float(np.sin(yaw / 2)),
                w=scale * float(np.cos(yaw / 2)),
            ),
        )
        if kind == "PoseStamped":
            self.write(topic, stamp, self.make("geometry_msgs/msg/PoseStamped", header=header, pose=pose))
            return
        covered = self.make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36))
        if kind == "PoseWithCovarianceStamped":
            self.write(topic, stamp, self.make(f"geometry_msgs/msg/{kind}", header=header, pose=covered))
            return
        zero = self.make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
        twist = self.make(
            "geometry_msgs/msg/TwistWithCovariance",
            twist=self.make("geometry_msgs/msg/Twist", linear=zero, angular=zero),
            covariance=np.zeros(36),
        )
        message = self.make("nav_msgs/msg/Odometry", header=header, child_frame_id=child, pose=covered, twist=twist)
        self.write(topic, stamp, message)

    def tf(self, stamp: int, parent: str, child: str, pose_7: Any, topic: str = "/tf", late: int = 0) -> None:
        x, y, z, qw, qx, qy, qz = (float(value) for value in pose_7)
        transform = self.make(
            "geometry_msgs/msg/Transform",
            translation=self.make("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
            rotation=self.make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
        )
        stamped = self.make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(stamp, parent),
            child_frame_id=child,
            transform=transform,
        )
        self.write(topic, stamp + late, self.make(self.tf_type, transforms=[stamped]))


def rgb(seed: int = 0) -> NDArray[np.uint8]:
    """(8, 12, 3) smooth enough that JPEG keeps its colours, with red, green and blue far apart."""
    ramp = np.linspace(0, 60, 12, dtype=np.uint8)[None, :, None] + np.uint8(seed)
    return np.ascontiguousarray(np.broadcast_to(ramp, (8, 12, 3)) + np.array([180, 90, 10], np.uint8))


def refused(
    record: Callable[..., Recorder], content: Callable[[Recorder], object], folder: Path, reason: str, **options: Any
) -> str:
    """The one line by which `read_bag` refuses a recording at `folder / "bag"`; nothing but the recording is left."""
    recorder = record()
    content(recorder)
    recorder.writer.close()
    with pytest.raises(DataError, match=reason) as caught:
        read_bag(folder / "bag", folder / "out", **options)
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.iterdir()] == ["bag"]
    return str(caught.value)
