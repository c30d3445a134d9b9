"""A dataset as the rosbag2 that its camera would have recorded, with the ground truth as further topics.

    <camera>/rgb/color/rect/image/compressed   sensor_msgs/CompressedImage   the stored JPEG or PNG, byte for byte
    <camera>/rgb/color/rect/camera_info        sensor_msgs/CameraInfo        no distortion
    <camera>/depth/depth_registered            sensor_msgs/Image 16UC1       millimetres, 0 = unknown (REP-118), or
                                                                 32FC1       metres, NaN = unknown
    /ground_truth/pose                         geometry_msgs/PoseStamped     of the camera's optical frame in the map
    /ground_truth/mask/compressed              sensor_msgs/CompressedImage   PNG of class ids, 255 = unlabelled
    /ground_truth/classes                      std_msgs/String, latched      YAML list of {name, color}, id = position

Topic names follow the ZED wrapper from 5.1 on. Header stamp and log time of a message are its frame's stamp, so the
gaps between sequences stay. Depth is 16UC1 where the dataset counts millimetres, so that nothing is rounded; finer or
coarser counts (TUM's 1/5000 m, KITTI's 1/256 m) become 32FC1.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray

from vlocnetpp.data.bags.reader import SECOND_NS, BagSummary, ros2_types, size_on_disk
from vlocnetpp.data.frames import DataError, Dataset, Frame, LabelClass, Sequence, decode_image, read_bytes
from vlocnetpp.data.layouts.folder import image_suffix
from vlocnetpp.progress import track

if TYPE_CHECKING:
    from rosbags.rosbag2 import Writer

CAMERA = "/zed/zed_node"
OPTICAL_FRAME = "zed_left_camera_frame_optical"
POSE_TOPIC = "/ground_truth/pose"
MASK_TOPIC = "/ground_truth/mask/compressed"
CLASSES_TOPIC = "/ground_truth/classes"


def write_bag(
    dataset: Dataset,
    split: str,
    bag: Path,
    *,
    storage: Literal["mcap", "sqlite3"] = "mcap",
    jpeg_quality: int | None = None,
    camera: str = CAMERA,
    depth: bool = True,
    sequence: str | None = None,
) -> BagSummary:
    """Write one split of a dataset as a rosbag2, whole or not at all.

    sequence: only the one of this name; None writes all, which must follow each other in time.
    jpeg_quality: None passes the stored image files through unchanged; a number encodes the pixels anew.
    camera: namespace of the camera's topics. depth: whether depth, where the frames have any, goes into the bag.
    Depth in an mcap is compressed with zstd, which every ROS 2 reads; images alone are not, they do not shrink.
    Raises DataError if `bag` exists, the sequences overlap in time, or a file of the dataset cannot be read.
    """
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    bag = Path(bag)
    sequences = _in_time_order(dataset, split, sequence)
    frames = [frame for sequence in sequences for frame in sequence.frames]
    if storage not in ("mcap", "sqlite3"):
        raise DataError(f"{bag}: no storage '{storage}', there is mcap and sqlite3")
    if bag.exists():
        raise DataError(f"{bag}: exists already and is not overwritten; remove it or name another")
    # rosbag2 names its files after their folder, so the partial bag lies in a folder of its own under its final name.
    partial = bag.with_name(bag.name + ".partial")
    if partial.exists():
        raise DataError(f"{partial}: another run is writing here or was killed; remove it if none is running")
    camera = _namespace(camera)
    depth = depth and any(frame.depth_path for frame in frames)
    try:
        # version 8 is the newest that Humble reads too
        writer = Writer(partial / bag.name, version=8, storage_plugin=StoragePlugin[storage.upper()])
        if depth and storage == "mcap":
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            recorder = _Recorder(writer)
            if dataset.classes:
                recorder.write(CLASSES_TOPIC, frames[0].stamp_ns, _classes(dataset.classes))
            for frame in track(frames, f"writing {bag.name}"):
                _write_frame(recorder, frame, camera, dataset.map_frame, jpeg_quality, depth)
        (partial / bag.name).rename(bag)
    except (OSError, sqlite3.Error) as error:
        raise DataError(f"{bag}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    topics = {topic: f"{recorder.types[topic]}  {count}" for topic, count in sorted(recorder.counts.items())}
    without_pose = sum(frame.pose_7 is None for frame in frames)
    notes = dataset.notes
    if without_pose:
        notes += (f"{without_pose} of {len(frames)} frames have no ground-truth pose",)
    seconds = sum(each.frames[-1].stamp_ns - each.frames[0].stamp_ns for each in sequences) / SECOND_NS
    return BagSummary(bag, len(frames), len(sequences), seconds, topics, size_on_disk(bag), notes)


def _in_time_order(dataset: Dataset, split: str, name: str | None) -> list[Sequence]:
    every = [each for each in dataset.sequences(split) if each.frames]
    if name is not None and name not in {each.name for each in every}:
        names = ", ".join(each.name for each in every)
        raise DataError(f"{dataset.root}: split '{split}' has no sequence '{name}'; there is {names}")
    sequences = sorted((each for each in every if name in (None, each.name)), key=lambda s: s.frames[0].stamp_ns)
    if not sequences:
        raise DataError(f"{dataset.root}: split '{split}' has no frame")
    if sequences[0].frames[0].stamp_ns < 0 or sequences[-1].frames[-1].stamp_ns >= 2**31 * SECOND_NS:
        raise DataError(f"{dataset.root}: stamps of split '{split}' do not fit a ROS header (0 to 2^31 seconds)")
    for before, after in pairwise(sequences):
        if after.frames[0].stamp_ns <= before.frames[-1].stamp_ns:
            raise DataError(
                f"{dataset.root}: sequences '{before.name}' and '{after.name}' overlap in time; "
                f"write each as a bag of its own (--sequence {before.name})"
            )
    return sequences


def _namespace(camera: str) -> str:
    """The camera's namespace as topics begin with it. Raises DataError where ROS would refuse such topics."""
    names = [name for name in camera.split("/") if name]
    if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in names):
        raise DataError(f"camera '{camera}' is no namespace; names of letters, digits and '_' between '/' are")
    return "".join(f"/{name}" for name in names)


def _write_frame(
    recorder: _Recorder, frame: Frame, camera: str, map_frame: str, jpeg_quality: int | None, depth: bool
) -> None:
    data, suffix, (height, width) = _encoded(frame, jpeg_quality)
    stamp = frame.stamp_ns
    recorder.write(f"{camera}/rgb/color/rect/camera_info", stamp, _camera_info(frame, width, height))
    if frame.pose_7 is not None:
        recorder.write(POSE_TOPIC, stamp, _pose(frame.pose_7, stamp, map_frame))
    if depth and (metres_HW := frame.depth()) is not None:
        _same_size(frame.depth_path, metres_HW, frame.image_path, (height, width))
        recorder.write(f"{camera}/depth/depth_registered", stamp, _depth(metres_HW, stamp, frame.depth_units_per_m))
    if (mask_HW := frame.mask()) is not None:
        _same_size(frame.mask_path, mask_HW, frame.image_path, (height, width))
        png = cv2.imencode(".png", mask_HW)[1].tobytes()
        recorder.write(MASK_TOPIC, stamp, _compressed(png, ".png", stamp))
    # last, so that whoever plays the messages one by one has everything else when the image arrives
    recorder.write(f"{camera}/rgb/color/rect/image/compressed", stamp, _compressed(data, suffix, stamp))


def _same_size(path: Path | None, pixels_HW: NDArray, image: Path, size: tuple[int, int]) -> None:
    if pixels_HW.shape != size:
        theirs, ours = (f"{columns} x {rows}" for rows, columns in (pixels_HW.shape, size))
        raise DataError(f"{path}: is {theirs}, its image {image.name} is {ours}")


class _Recorder:
    """Adds a topic at its first message and counts what it writes."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.counts: Counter[str] = Counter()
        self.types: dict[str, str] = {}
        self._connections: dict[str, Any] = {}

    def write(self, topic: str, stamp_ns: int, message: Any) -> None:
        msgtype = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self.writer.add_connection(
                topic, msgtype, typestore=ros2_types(), offered_qos_profiles=[_qos(latched=topic == CLASSES_TOPIC)]
            )
            self.types[topic] = msgtype
        self.writer.write(self._connections[topic], stamp_ns, ros2_types().serialize_cdr(message, msgtype))
        self.counts[topic] += 1


def _qos(latched: bool) -> Any:
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    never = QosTime(2147483647, 4294967295)
    return Qos(
        QosHistory.KEEP_LAST,
        1 if latched else 10,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        False,
    )


def _encoded(frame: Frame, jpeg_quality: int | None) -> tuple[bytes, str, tuple[int, int]]:
    """The image's bytes, `.jpg` or `.png`, and (height, width)."""
    if jpeg_quality is None:
        data = read_bytes(frame.image_path)
        height, width = decode_image(data, frame.image_path, cv2.IMREAD_GRAYSCALE).shape
        if not data.startswith((b"\xff\xd8\xff", b"\x89PNG")):
            raise DataError(f"{frame.image_path}: is neither JPEG nor PNG; --jpeg-quality 95 encodes the images anew")
        return data, image_suffix(data, frame.image_path), (height, width)
    image_HW3 = frame.image()
    bgr = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])[1].tobytes()
    return data, ".jpg", (image_HW3.shape[0], image_HW3.shape[1])


def _header(stamp_ns: int, frame_id: str) -> Any:
    types = ros2_types().types
    seconds, nanoseconds = divmod(stamp_ns, SECOND_NS)
    stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def _compressed(data: bytes, suffix: str, stamp_ns: int) -> Any:
    return ros2_types().types["sensor_msgs/msg/CompressedImage"](
        header=_header(stamp_ns, OPTICAL_FRAME),
        format={".jpg": "jpeg", ".png": "png"}[suffix],
        data=np.frombuffer(data, np.uint8),
    )


def _camera_info(frame: Frame, width: int, height: int) -> Any:
    types = ros2_types().types
    K = frame.K_33
    return types["sensor_msgs/msg/CameraInfo"](
        header=_header(frame.stamp_ns, OPTICAL_FRAME),
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=K.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([K, np.zeros((3, 1))]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def _depth(metres_HW: NDArray[np.float32], stamp_ns: int, units_per_m: float) -> Any:
    height, width = metres_HW.shape
    encoding = "16UC1" if units_per_m == 1000.0 else "32FC1"
    if encoding == "16UC1":
        pixels: NDArray[Any] = np.rint(metres_HW * np.float32(1000.0)).astype("<u2")
    else:
        pixels = np.where(metres_HW > 0, metres_HW, np.float32(np.nan)).astype("<f4")
    return ros2_types().types["sensor_msgs/msg/Image"](
        header=_header(stamp_ns, OPTICAL_FRAME),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels.itemsize * width,
        data=pixels.reshape(-1).view(np.uint8),
    )


def _pose(pose_7: NDArray[np.float64], stamp_ns: int, map_frame: str) -> Any:
    types = ros2_types().types
    x, y, z, qw, qx, qy, qz = (float(value) for value in pose_7)
    position = types["geometry_msgs/msg/Point"](x=x, y=y, z=z)
    orientation = types["geometry_msgs/msg/Quaternion"](x=qx, y=qy, z=qz, w=qw)
    pose = types["geometry_msgs/msg/Pose"](position=position, orientation=orientation)
    return types["geometry_msgs/msg/PoseStamped"](header=_header(stamp_ns, map_frame), pose=pose)


def _classes(classes: tuple[LabelClass, ...]) -> Any:
    entries = [{"name": each.name, "color": list(each.color)} for each in classes]
    text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return ros2_types().types["std_msgs/msg/String"](data=text)
