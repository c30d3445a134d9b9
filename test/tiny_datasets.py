"""A tiny folder of every layout, and what it must be read back as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from dataset_parts import (
    CLASSES,
    HEIGHT,
    SECOND_NS,
    WIDTH,
    K,
    Want,
    gapped,
    inverted,
    matrix_of,
    random_image,
    random_pose,
    row,
    save,
    write,
)
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from tiny_reconstructions import write_blender, write_colmap, write_colmap_binary, write_nerf_transforms

from vlocnetpp.data import VOID, FolderWriter
from vlocnetpp.data.poses import checked_pose


def write_folder(root: Path) -> list[Want]:
    """Two sequences of three frames, one frame without a pose, one of each without depth and mask."""
    rng = np.random.default_rng(1)
    wants = []
    with FolderWriter(root, CLASSES, map_frame="lab") as writer:
        for sequence, split in (("loop_a", "train"), ("loop-b.2", "test")):
            for index in range(3):
                image = random_image(rng)
                pose = None if (sequence, index) == ("loop_a", 0) else random_pose(rng)
                depth = rng.integers(0, 65535, (HEIGHT, WIDTH)).astype(np.float32) / np.float32(1000)
                mask = rng.choice([0, 1, VOID], (HEIGHT, WIDTH)).astype(np.uint8)
                labels = (None, None) if index == 1 else (depth, mask)
                stamp = 1_700_000_000_123_456_789 + index * 33_333_333 + len(wants) * SECOND_NS
                png = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
                writer.add(sequence, split, stamp, None, K, pose, *labels, encoded=png)
                wants.append(Want(split, sequence, f"{sequence}/{index:06d}", stamp, image, K, pose, *labels))
    return wants


def write_seven_scenes(root: Path) -> list[Want]:
    """Three sequences in the original layout; tracking lost a pose."""
    rng = np.random.default_rng(2)
    write(root / "TrainSplit.txt", "sequence1\r", "sequence10\r")
    write(root / "TestSplit.txt", "seq-02")
    write(root / "camera-intrinsics.txt", *(row(each) for each in K))
    wants = []
    for number, (sequence, split) in enumerate((("seq-01", "train"), ("seq-02", "test"), ("seq-10", "train"))):
        for frame in (3, 4, 7):
            stem = root / sequence / f"frame-{frame:06d}"
            image, pose = random_image(rng), random_pose(rng)
            depth = rng.integers(0, 65535, (HEIGHT, WIDTH)).astype(np.uint16)
            depth[0, :2] = 0, 65535
            save(Path(f"{stem}.color.png"), image)
            save(Path(f"{stem}.depth.png"), depth)
            lost = (sequence, frame) == ("seq-02", 4)
            pose_lines = ["-1.#IND " * 4] * 3 + ["0 0 0 1"] if lost else [row(line) for line in matrix_of(pose)]
            write(Path(f"{stem}.pose.txt"), *pose_lines)
            metres = np.where(depth == 65535, 0, depth).astype(np.float32) / np.float32(1000)
            # sequences of 4/30 s follow each other with ten seconds between
            start = 10 * SECOND_NS + number * (10 * SECOND_NS + 4 * SECOND_NS // 30)
            stamp = start + (frame - 3) * SECOND_NS // 30
            name = f"{sequence}/{stem.name}"
            wants.append(Want(split, sequence, name, stamp, image, K, None if lost else pose, metres))
    return wants


def write_deeploc(root: Path) -> list[Want]:
    """Two loops in train, the border a jump in the numbering, and one in test; one image without label, one posed."""
    rng = np.random.default_rng(3)
    focal = 700 / 1280 * WIDTH
    K_33 = np.array([[focal, 0.0, (WIDTH - 1) / 2], [0.0, focal, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]])
    wants = []
    stamp = 10 * SECOND_NS
    for split, loops in (("train", ((100, 115, 130), (900, 915))), ("test", ((145, 160),))):
        lines = ["DeepLoc poses", "img_name x y z qw qx qy qz"]
        for index, loop in enumerate(loops, 1):
            for number in loop:
                stamp += 15 * SECOND_NS // 20 if number != loop[0] else 0
                image = random_image(rng)
                pose = checked_pose((number / 100, index, 0.0, *random_pose(rng)[3:]), "test")
                mask = rng.integers(0, 10, (HEIGHT, WIDTH)).astype(np.uint8)
                stored = mask.copy()
                mask[0, :2], stored[0, :2] = VOID, (10, 255)
                save(root / split / "LeftImages" / f"Image_{number}.png", image)
                if number != 115:
                    save(root / split / "labels" / f"Image_{number}.png", stored)
                if number != 915:
                    lines.append(f"Image_{number} {row(pose)}")
                name = f"{split}/Image_{number}"
                posed, masked = (None if number == 915 else pose), (None if number == 115 else mask)
                wants.append(Want(split, f"{split}-{index:02d}", name, stamp, image, K_33, posed, None, masked))
            stamp += 10 * SECOND_NS
        write(root / split / "poses.txt", *lines)
    return wants


def write_kitti(root: Path, camera: str = "image_2") -> list[Want]:
    """Sequences 00 (train), 09 (test) and 11 (no poses); camera 2 is 6 cm left of camera 0 and a little before it."""
    rng = np.random.default_rng(4)
    offset = np.array([-0.0625, 0.0, 0.00390625]) if camera == "image_2" else np.zeros(3)
    wants = []
    start = 10 * SECOND_NS
    for sequence, split in (("00", "train"), ("09", "test"), ("11", "benchmark")):
        folder = root / "sequences" / sequence
        P = {name: np.hstack([K, np.zeros((3, 1))]) for name in ("P0", "P1", "P2", "P3")}
        P["P2"][:, 3] = -K @ np.array([-0.0625, 0.0, 0.00390625])
        write(folder / "calib.txt", *(f"{name}: {row(matrix)}" for name, matrix in P.items()))
        write(folder / "times.txt", "0.000000e+00", "1.036224e-01", "2.072449e-01")
        lines = []
        for number, time_ns in enumerate((0, 103_622_400, 207_244_900)):
            image = random_image(rng)
            if camera == "image_0":
                image[:] = image[:, :, :1]
                save(folder / camera / f"{number:06d}.png", image[:, :, 0])  # 8-bit grey
            else:
                save(folder / camera / f"{number:06d}.png", image)
            pose = random_pose(rng)
            T_44 = matrix_of(pose)
            lines.append(row(T_44[:3]))
            pose[:3] += T_44[:3, :3] @ offset
            posed = pose if sequence != "11" else None
            wants.append(Want(split, sequence, f"{sequence}/{number:06d}", start + time_ns, image, K, posed))
        if sequence != "11":
            write(root / "poses" / f"{sequence}.txt", *lines)
        start = wants[-1].stamp_ns + 10 * SECOND_NS
    return wants


def write_kitti_grey(root: Path) -> list[Want]:
    """The same with the grey camera 0 alone."""
    return write_kitti(root, "image_0")


def write_tum_sequence(folder: Path, start_s: int, split: str, seed: int) -> list[Want]:
    """Three images; the pose of the second is half way, the third has neither pose nor depth near it."""
    rng = np.random.default_rng(seed)
    wants, poses = [], [random_pose(rng), random_pose(rng)]
    stamps = [f"{start_s}.175304", f"{start_s}.211214", f"{start_s}.911221"]
    a, b = (Rotation.from_quat(pose[[4, 5, 6, 3]]) for pose in poses)
    x, y, z, w = (a * Rotation.from_rotvec((a.inv() * b).as_rotvec() / 2)).as_quat()
    half = checked_pose((*((poses[0][:3] + poses[1][:3]) / 2), w, x, y, z), "test")
    for index, (text, pose) in enumerate(zip(stamps, (poses[0], half, None), strict=True)):
        image = random_image(rng)
        depth = rng.integers(0, 65535, (HEIGHT, WIDTH)).astype(np.uint16)
        save(folder / "rgb" / f"{text}.png", image)
        save(folder / "depth" / f"{text}.png", depth)
        metres = None if index == 2 else depth.astype(np.float32) / np.float32(5000)
        ns = start_s * SECOND_NS + int(text.split(".")[1]) * 1000
        wants.append(Want(split, folder.name, f"{folder.name}/{text}", ns, image, K, pose, metres))
    write(folder / "rgb.txt", "# color images", "# timestamp filename", *(f"{each} rgb/{each}.png" for each in stamps))
    late = f"{start_s}.950000"  # 39 ms after its image
    nearest = (f"{start_s}.160000", f"{start_s}.225000", late)
    lines = (f"{stamp} depth/{each}.png" for stamp, each in zip(nearest, stamps, strict=True))
    write(folder / "depth.txt", "# depth maps", *lines)
    before, after = f"{start_s}.195304", f"{start_s}.227124"  # the second image is exactly in the middle of two poses
    recorded = ((stamps[0], poses[0]), (before, poses[0]), (after, poses[1]))
    write(
        folder / "groundtruth.txt",
        "# timestamp tx ty tz qx qy qz qw",
        *(f"{stamp} {row(pose[:3])} {row(pose[[4, 5, 6, 3]])}" for stamp, pose in recorded),
    )
    write(folder / "camera-intrinsics.txt", *(row(each) for each in K))
    return wants


def write_tum(root: Path) -> list[Want]:
    """Three sequences with a split."""
    names = (("fr_desk", "train"), ("fr_room", "train"), ("fr_xyz", "test"))
    wants = [write_tum_sequence(root / name, 1_305_031_102 + 60 * i, s, i) for i, (name, s) in enumerate(names)]
    write(root / "TrainSplit.txt", "fr_desk", "fr_room")
    write(root / "TestSplit.txt", "fr_xyz")
    return [want for each in wants for want in each]


def write_tum_alone(root: Path) -> list[Want]:
    """One sequence by itself."""
    wants = write_tum_sequence(root, 1_305_031_102, "train", 5)
    for want in wants:
        want.sequence, want.name = "tum", f"tum/{want.name.split('/')[1]}"
    return wants


def write_camvid(root: Path) -> list[Want]:
    """One video a second apart, one at 15 Hz, and a validation video."""
    rng = np.random.default_rng(6)
    K_33 = np.array([[WIDTH, 0.0, (WIDTH - 1) / 2], [0.0, WIDTH, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]])
    wants = []
    for split, sequence, name, stamp in (
        ("train", "0001TP_006690", "0001TP_006690", 10 * SECOND_NS),
        ("train", "0001TP_006720", "0001TP_006720", 11 * SECOND_NS),
        ("train", "Seq05VD_f00030", "Seq05VD_f00030", 21 * SECOND_NS),
        ("train", "Seq05VD_f00030", "Seq05VD_f00032", 21 * SECOND_NS + 2 * SECOND_NS // 30),
        ("val", "0016E5_07959", "0016E5_07959", 31 * SECOND_NS + 2 * SECOND_NS // 30),
    ):
        image, mask = random_image(rng), rng.integers(0, 11, (HEIGHT, WIDTH)).astype(np.uint8)
        stored = mask.copy()
        mask[0, :2], stored[0, :2] = VOID, (11, 255)
        save(root / split / f"{name}.png", image)
        save(root / f"{split}annot" / f"{name}.png", stored)
        wants.append(Want(split, sequence, f"{split}/{name}", stamp, image, K_33, mask_HW=mask))
    return wants


def write_cambridge(root: Path) -> list[Want]:
    """Two train sequences, of which one image stands upright, and one in test; frame 10 comes after frame 2."""
    rng = np.random.default_rng(7)
    wants = []
    cameras, tables = [], {"train": ["Visual Landmark Dataset V1", "ImageFile, Camera Position [X Y Z W P Q R]", ""]}
    tables["test"] = list(tables["train"])
    for split, sequence, number in (
        ("train", "seq1", 2), ("train", "seq1", 10), ("train", "seq3", 1), ("test", "seq2", 1), ("test", "seq2", 2),
    ):  # fmt: skip
        upright = number == 10
        image = rng.integers(0, 256, (WIDTH, HEIGHT, 3) if upright else (HEIGHT, WIDTH, 3), dtype=np.uint8)
        height, width = image.shape[:2]
        save(root / sequence / f"frame{number:05d}.png", image)
        pose, focal = random_pose(rng), float(1600 + number)
        f = focal * WIDTH / 1920
        K_33 = np.array([[f, 0.0, (width - 1) / 2], [0.0, f, (height - 1) / 2], [0.0, 0.0, 1.0]])
        turn = inverted(pose)[3:]
        tables[split].append(f"{sequence}/frame{number:05d}.png {row(pose[:3])} {row(turn)}")
        cameras.append(f"{sequence}/frame{number:05d}.jpg\t{focal} {row(turn)} {row(pose[:3])} -0.05 0")
        wants.append(Want(split, sequence, f"{sequence}/frame{number:05d}", 0, image, K_33, pose))
    for split, lines in tables.items():
        write(root / f"dataset_{split}.txt", *lines[:3], *lines[:2:-1])  # in no order
    write(root / "reconstruction.nvm", "NVM_V3 ", "", str(len(cameras)), *cameras, "", "0", "", "0")
    return gapped(wants, [2, 1, 2])


def write_euroc_sequence(folder: Path, name: str, split: str, seed: int, truth: str) -> list[Want]:
    """Three images; the pose of the second is half way between two, the third has none. The camera is bolted on."""
    rng = np.random.default_rng(seed)
    bolt, marker = random_pose(rng), random_pose(rng) if truth == "mocap0" else None
    start = 1_403_636_579_763_555_584 + seed * SECOND_NS
    body = [random_pose(rng) for _ in range(2)]
    images, rows = [], []
    wants = []
    for index, (stamp, at) in enumerate(((start, body[0]), (start + 50_000_001, None), (start + 900_000_000, None))):
        image = random_image(rng)
        save(folder / f"mav0/cam0/data/{stamp}.png", image)
        images.append(f"{stamp},{stamp}.png")
        want = Want(split, name, f"{name}/{stamp}", stamp, image, K)
        if at is not None:
            want.pose_7 = _chained(at, bolt)
        if index == 1:
            want.pose_7 = _chained(body[1], bolt)
        wants.append(want)
    for stamp, at in ((start, body[0]), (start + 49_999_000, body[1]), (start + 50_001_002, body[1])):
        sensor = at if marker is None else _chained(at, marker)
        rows.append(f"{stamp},{','.join(map(repr, sensor.tolist()))},0.0,0.0")
    write(folder / "mav0/cam0/data.csv", "#timestamp [ns],filename", *images)
    write(folder / f"mav0/{truth}/data.csv", "#timestamp, p_RS_R_x [m], ...", *rows)
    sensor = f"T_BS:\n  cols: 4\n  rows: 4\n  data: [{', '.join(map(repr, matrix_of(bolt).ravel().tolist()))}]"
    write(folder / "mav0/cam0/sensor.yaml", "%YAML:1.0", "sensor_type: camera", sensor, "camera_model: pinhole",
          f"intrinsics: [{K[0, 0]}, {K[1, 1]}, {K[0, 2]}, {K[1, 2]}] #fu, fv, cu, cv",
          "distortion_model: radial-tangential", "distortion_coefficients: [0.0, 0.0, 0.0, 0.0]")  # fmt: skip
    if marker is not None:
        data = ", ".join(map(repr, matrix_of(marker).ravel().tolist()))
        write(folder / f"mav0/{truth}/sensor.yaml", "sensor_type: mocap", f"T_BS: {{cols: 4, rows: 4, data: [{data}]}}")
    return wants


def _chained(a_7: NDArray[np.float64], b_7: NDArray[np.float64]) -> NDArray[np.float64]:
    """T_a T_b."""
    T_44 = matrix_of(a_7) @ matrix_of(b_7)
    x, y, z, w = Rotation.from_matrix(T_44[:3, :3]).as_quat()
    return checked_pose((*T_44[:3, 3], w, x, y, z), "test")


def write_euroc(root: Path) -> list[Want]:
    """One sequence with the filter's ground truth, one with motion capture of a marker, split by files."""
    write(root / "TrainSplit.txt", "MH_01_easy")
    write(root / "TestSplit.txt", "V1_01_easy")
    return [
        *write_euroc_sequence(root / "MH_01_easy", "MH_01_easy", "train", 11, "state_groundtruth_estimate0"),
        *write_euroc_sequence(root / "V1_01_easy", "V1_01_easy", "test", 12, "mocap0"),
    ]


def write_euroc_alone(root: Path) -> list[Want]:
    """One sequence by itself."""
    return write_euroc_sequence(root, "mav0", "train", 13, "state_groundtruth_estimate0")


def write_scannet(root: Path) -> list[Want]:
    """Two scans; one with depth of the size of its images, one with smaller depth, which is left out; a lost pose."""
    rng = np.random.default_rng(14)
    wants, start = [], 10 * SECOND_NS
    write(root / "TrainSplit.txt", "scene0000_00")
    write(root / "TestSplit.txt", "scene0001_00")
    for scan, split, shrink in (("scene0000_00", "train", 1), ("scene0001_00", "test", 2)):
        intrinsics = np.eye(4)
        intrinsics[:3, :3] = K
        write(root / scan / "intrinsic/intrinsic_color.txt", *(row(line) for line in intrinsics))
        for number in (0, 2, 10):
            image, pose = random_image(rng), random_pose(rng)
            depth = rng.integers(0, 65535, (HEIGHT // shrink, WIDTH // shrink)).astype(np.uint16)
            save(root / scan / f"color/{number}.png", image)
            save(root / scan / f"depth/{number}.png", depth)
            lost = (scan, number) == ("scene0001_00", 2)
            lines = ["-inf -inf -inf -inf"] * 4 if lost else [row(line) for line in matrix_of(pose)]
            write(root / scan / f"pose/{number}.txt", *lines)
            metres = depth.astype(np.float32) / np.float32(1000) if shrink == 1 else None
            stamp = start + number * SECOND_NS // 30
            wants.append(Want(split, scan, f"{scan}/{number}", stamp, image, K, None if lost else pose, metres))
        start = wants[-1].stamp_ns + 10 * SECOND_NS
    return wants


def write_twelve_scenes(root: Path) -> list[Want]:
    """The first sequence is the test split; one frame is missing, one pose lost."""
    rng = np.random.default_rng(15)
    intrinsics = np.eye(4)
    intrinsics[:3, :3] = K
    write(root / "split.txt", "sequence0 [frames=2]  [start=0 ; end=1]", "sequence1 [frames=3]  [start=2 ; end=4]")
    write(root / "info.txt", "m_versionNumber = 4", f"m_calibrationColorIntrinsic = {row(intrinsics)} ")
    wants = []
    for number in (2, 4, 0, 1):
        image, pose = random_image(rng), random_pose(rng)
        stem = root / "data" / f"frame-{number:06d}"
        save(Path(f"{stem}.color.png"), image)
        lines = [row(line) for line in matrix_of(pose)] if number else ["-INF -INF -INF -INF"] * 4
        write(Path(f"{stem}.pose.txt"), *lines)
        split, sequence = ("test", "sequence0") if number < 2 else ("train", "sequence1")
        start = 10 * SECOND_NS if number < 2 else 20 * SECOND_NS + SECOND_NS // 30
        stamp = start + (number if number < 2 else number - 2) * SECOND_NS // 30
        name = f"{sequence}/{stem.name}"
        wants.append(Want(split, sequence, name, stamp, image, K, pose if number else None))
    return wants


WRITERS: dict[str, tuple[str, Callable[[Path], list[Want]]]] = {
    "folder": ("folder", write_folder),
    "seven_scenes": ("seven_scenes", write_seven_scenes),
    "deeploc": ("deeploc", write_deeploc),
    "kitti": ("kitti", write_kitti),
    "kitti_grey": ("kitti", write_kitti_grey),
    "tum_rgbd": ("tum_rgbd", write_tum),
    "tum_rgbd_alone": ("tum_rgbd", write_tum_alone),
    "camvid": ("camvid", write_camvid),
    "cambridge": ("cambridge", write_cambridge),
    "euroc": ("euroc", write_euroc),
    "euroc_alone": ("euroc", write_euroc_alone),
    "colmap": ("colmap", write_colmap),
    "colmap_binary": ("colmap", write_colmap_binary),
    "nerf_transforms": ("nerf_transforms", write_nerf_transforms),
    "blender": ("nerf_transforms", write_blender),
    "scannet": ("scannet", write_scannet),
    "twelve_scenes": ("twelve_scenes", write_twelve_scenes),
}
"""By case: the layout and what writes it."""
