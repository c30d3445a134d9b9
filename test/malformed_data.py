"""Datasets and recordings with one fault each: the command, and the file and the reason that its error must name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from bag_recorder import IMAGE, INFO, POSE
from damages import (
    Bag,
    Damage,
    cut,
    cut_storage,
    every_pose,
    folder_instead,
    gone,
    jpeg_cut,
    loop,
    nothing,
    picture,
    put,
    swap_lines,
    text,
    write_one_frame,
)
from dataset_parts import HEIGHT, WIDTH
from tiny_datasets import (
    write_cambridge,
    write_camvid,
    write_deeploc,
    write_euroc_alone,
    write_folder,
    write_kitti,
    write_scannet,
    write_seven_scenes,
    write_tum,
    write_tum_alone,
    write_twelve_scenes,
)
from tiny_reconstructions import write_colmap, write_colmap_binary, write_nerf_transforms

from vlocnetpp.data.bags.storage import HOT_JOURNAL

LOOK = "data info {set}"
TO_BAG = "data to-bag {set} {out} --split train"
FROM_BAG = "data from-bag {set} {out}"
DOCTOR = "data doctor {set} --out {out}"
TRAIN = "train {config} --data.root {set} --data.cache none --out {out}"

GREY = np.full((HEIGHT, WIDTH), 3, np.uint8)
SMALL = np.full((HEIGHT // 2, WIDTH // 2), 3, np.uint8)
COLOR, DEPTH = "seq-01/frame-000003.color.png", "seq-01/frame-000003.depth.png"
POSE_TXT, INTRINSICS = "seq-01/frame-000003.pose.txt", "camera-intrinsics.txt"
CSV, YAML = "loop_a/frames.csv", "dataset.yaml"
TRUTH, RGB, SECOND = "groundtruth.txt", "rgb.txt", "rgb/1305031102.211214.png"
CALIB, TIMES, MATRICES = "sequences/00/calib.txt", "sequences/00/times.txt", "poses/00.txt"
LEFT = "sequences/00/image_2/000001.png"
TRAIN_POSES, TEST_POSES, LABEL = "train/poses.txt", "test/poses.txt", "train/labels/Image_100.png"
BRIDGE, ASL, ASL_IMAGES = "dataset_train.txt", "mav0/cam0/sensor.yaml", "mav0/cam0/data.csv"
ASL_TRUTH, CAMERAS, REGISTERED = (
    "mav0/state_groundtruth_estimate0/data.csv",
    "sparse/0/cameras.txt",
    "sparse/0/images.txt",
)
JSON, SCAN, SCAN_K = "transforms.json", "scene0000_00", "intrinsic/intrinsic_color.txt"
MASK = "trainannot/0001TP_006690.png"
STILL = "1 0 0 0 0 1 0 0 0 0 1 0"
HEADER = "img_name x y z qw qx qy qz\n"

CASES: dict[tuple[Callable[[Path], object], str], list[tuple[str, Damage, str, str]]] = {
    # Name of the case, damage, file or topic that the line must name ("": dataset or recording), what it must say.
    (nothing, LOOK): [
        ("absent folder", nothing, "", "does not exist"),
        ("empty folder", Path.mkdir, "", "is of no known layout; name one of folder"),
        ("file instead of a folder", put("", "x"), "", "is not a folder"),
        ("link to itself", loop(""), "", "Too many levels of symbolic links"),
    ],
    (Path.mkdir, TO_BAG): [("empty folder to a bag", nothing, "", "is of no known layout")],
    (Path.mkdir, DOCTOR): [("empty folder to the doctor", nothing, "", "is of no known layout")],
    (Path.mkdir, TRAIN): [("empty folder to the trainer", nothing, "", "is of no known layout")],
    (write_folder, LOOK): [
        ("stamps not sorted", swap_lines(CSV), CSV, "stamps do not increase"),
        ("negative focal length", text(CSV, ",9.0,", ",-9.0,"), f"{CSV}:2", "fx and fy must be positive pixels"),
        ("NaN in every pose", every_pose(CSV, "1,2,nan,1,0,0,0"), f"{CSV}:2", "the pose has a NaN"),
        ("no quaternion is one", every_pose(CSV, "1,2,3,0,0,0,2"), f"{CSV}:2", "the quaternion has length 2"),
        ("half a pose", text(CSV, ",,,,,,,,", ",1,2,3,,,,,"), f"{CSV}:2", "a cell is empty or not a number"),
        ("missing column", text(CSV, "stamp_ns", "stamp"), CSV, "column stamp_ns is missing"),
        ("YAML that is none", put(YAML, "a: [1\nb"), YAML, "is not YAML"),
        ("format of the future", put(YAML, "format: 9\n"), YAML, "format 9 is not known"),
        ("sequence twice, folder", text(YAML, "loop-b.2", "loop_a"), YAML, "in split 'train' and in 'test'"),
        ("stamp beyond 64 bits", text(CSV, "17000000021", "9700000002100000000"), CSV, "does not fit 64 bits"),
        ("number as classes", put(YAML, "format: 1\nclasses: 5\nsplits: {train: [loop_a]}"), YAML, "must be a list of"),
        ("number as a split", put(YAML, "format: 1\nsplits: {2: [loop_a]}"), YAML, "must map each split to a list"),
        (
            "color beyond 8 bits",
            put(YAML, "format: 1\nclasses: [{name: a, color: [0, 0, 256]}]\nsplits: {train: [loop_a]}"),
            YAML,
            "of 0-255",
        ),
        ("folder as a table", folder_instead(CSV), CSV, "Is a directory"),
    ],
    (write_folder, TO_BAG): [
        ("stamp beyond ROS", text(CSV, "17000000021", "27000000021"), "", "do not fit a ROS header"),
    ],
    (write_folder, f"{TO_BAG} --camera /a-b"): [("camera no namespace", nothing, "camera '/a-b'", "is no namespace")],
    (write_folder, "data to-bag {set} {set}"): [("output exists, to-bag", nothing, "", "exists already")],
    (write_folder, "data to-bag {set} {config}/bag"): [("output below a file", nothing, "{config}/bag", "Not a direc")],
    (write_seven_scenes, LOOK): [
        ("missing depth", gone(DEPTH), DEPTH, "is missing"),
        ("missing pose", gone(POSE_TXT), POSE_TXT, "is missing"),
        ("3 x 3 pose", put(POSE_TXT, "1 0 0\n0 1 0\n0 0 1\n"), POSE_TXT, "has 9 numbers instead of 4 x 4"),
        ("word in a pose", put(POSE_TXT, "one " * 16), POSE_TXT, "could not convert string to float: 'one'"),
        ("scaled pose", put(POSE_TXT, "2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1"), POSE_TXT, "not a rigid transform"),
        ("missing K", gone(INTRINSICS), INTRINSICS, "is missing"),
        ("sequence twice, 7-Scenes", put("TestSplit.txt", "seq-01"), "TestSplit.txt", "listed twice or in both splits"),
        ("listed sequence absent", gone("seq-10"), "seq-10", "is missing, a split file lists it"),
    ],
    (write_seven_scenes, TO_BAG): [
        ("truncated PNG", cut(COLOR), COLOR, "is truncated"),
        ("truncated JPEG", jpeg_cut(COLOR), COLOR.replace("png", "jpg"), "is truncated"),
        ("truncated depth", cut(DEPTH), DEPTH, "is truncated"),
        ("depth of 8 bits", picture(DEPTH, GREY), DEPTH, "must be 16-bit"),
        ("depth of another size", picture(DEPTH, SMALL.astype(np.uint16)), DEPTH, "is 8 x 6, its image frame-000003"),
    ],
    (write_deeploc, LOOK): [
        ("truncated first image", cut("train/LeftImages/Image_100.png"), "train/LeftImages/Image_100.png", "truncated"),
        ("quaternion too long", put(TEST_POSES, HEADER + "Image_145 0 0 0 1 1 0 0"), f"{TEST_POSES}:2", "length 1.414"),
        ("pose of an absent image", text(TRAIN_POSES, "_130 ", "_131 "), f"{TRAIN_POSES}:5", "'Image_131' is not in"),
        ("one cell too many", text(TRAIN_POSES, "_130 ", "_130 1 "), f"{TRAIN_POSES}:5", "has 9 columns instead of 8"),
        ("another order of columns", text(TRAIN_POSES, "qw qx", "qx qw"), f"{TRAIN_POSES}:2", "the columns must be"),
        ("no header", put(TEST_POSES, "Image_145 0 0 0 1 0 0 0\n"), TEST_POSES, "has no header line"),
        ("not UTF-8", put(TRAIN_POSES, b"img_name \xe4\xff\n"), TRAIN_POSES, "is not a text file (byte 9"),
        ("folder as poses", folder_instead(TRAIN_POSES), TRAIN_POSES, "Is a directory"),
        ("poses that link to themselves", loop(TRAIN_POSES), TRAIN_POSES, "Too many levels of symbolic links"),
    ],
    (write_deeploc, TO_BAG): [
        ("mask in colours", picture(LABEL, np.dstack([GREY] * 3)), LABEL, "8-bit with one channel"),
        ("mask of another size", picture(LABEL, SMALL), LABEL, "is 8 x 6, its image Image_100.png is 16 x 12"),
    ],
    (write_kitti, LOOK): [
        ("calib.txt without P2", text(CALIB, "P2:", "P9:"), CALIB, "has no line 'P2:'"),
        ("missing calib.txt", gone(CALIB), CALIB, "No such file"),
        ("focal length 0", put(CALIB, "P2: 0 0 5 0 0 0 5 0 0 0 1 0"), f"{CALIB}:1", "must be positive pixels"),
        ("times not sorted", swap_lines(TIMES), f"{TIMES}:3", "times do not increase"),
        ("time beyond 64 bits", put(TIMES, "0\n1\n1e300\n"), f"{TIMES}:3", "is not one time in seconds"),
        ("NaN in every matrix", put(MATRICES, f"{STILL[:-1]}nan\n" * 3), f"{MATRICES}:1", "NaN or infinite"),
        ("nothing but zeros", put(MATRICES, "0 0 0 0 0 0 0 0 0 0 0 0\n" * 3), f"{MATRICES}:1", "or is zero"),
        ("mirrored pose", put(MATRICES, "1 0 0 0 0 1 0 0 0 0 -1 0\n" * 3), f"{MATRICES}:1", "one axis is mirrored"),
        ("too few poses", put(MATRICES, f"{STILL}\n"), MATRICES, "has 1 lines, so there is no pose for"),
    ],
    (write_kitti, TO_BAG): [
        ("image of zero bytes", put(LEFT, ""), LEFT, "is not a decodable image"),
        ("text as an image", put(LEFT, "hello"), LEFT, "is not a decodable image"),
    ],
    (write_tum_alone, LOOK): [
        ("image list not sorted", swap_lines(RGB), f"{RGB}:5", "stamps do not increase"),
        ("stamp that is none", text(RGB, "1305031102.175304 ", "now "), f"{RGB}:3", "'now' is not a stamp"),
        ("stamp beyond 64 bits, TUM", text(RGB, "1305031102.175304 ", "1e30 "), f"{RGB}:3", "'1e30' is not a stamp"),
        ("file outside the folder", text(RGB, " rgb/", " ../rgb/"), f"{RGB}:3", "leaves the folder"),
        ("listed image absent", gone(SECOND), SECOND, "is missing"),
        ("folder as an image", folder_instead(SECOND), SECOND, "is not a file"),
        ("quaternion of length 0", put(TRUTH, "1305031102.2 1 2 3 0 0 0 0"), f"{TRUTH}:1", "quaternion has length 0"),
        ("empty poses", put(TRUTH, "# nothing\n"), TRUTH, "has no pose"),
        ("poses of another day", put(TRUTH, "17.0 0 0 0 0 0 0 1"), TRUTH, "never overlaps with rgb.txt"),
        ("UTF-16 table", put(TRUTH, "1 2".encode("utf-16")), TRUTH, "is not a text file"),
    ],
    (write_tum, LOOK): [
        ("missing K of one sequence", gone(f"fr_xyz/{INTRINSICS}"), f"fr_xyz/{INTRINSICS}", "is missing"),
        ("K of 3 x 4", put(f"fr_xyz/{INTRINSICS}", "9 " * 12), f"fr_xyz/{INTRINSICS}", "has 12 numbers instead of 3 x"),
        ("sequence in two splits", put("TestSplit.txt", "fr_desk"), "TestSplit.txt", "'fr_desk' is in both splits"),
    ],
    (write_cambridge, LOOK): [
        ("listed image absent, Cambridge", gone("seq1/frame00002.png"), "seq1/frame00002.png", "is missing, "),
        ("table of names only", put(BRIDGE, "a.png\nb.png\n"), BRIDGE, "has no line 'image X Y Z W P Q R'"),
        ("NVM of another kind", put("reconstruction.nvm", "NVM_V3\nten\n"), "reconstruction.nvm", "not what VisualSFM"),
        ("image out of the folder", put(BRIDGE, "../a.png 0 0 0 1 0 0 0\n"), BRIDGE, "leaves the folder"),
    ],
    (write_euroc_alone, LOOK): [
        ("sensor without intrinsics", text(ASL, "intrinsics:", "K:"), ASL, "intrinsics must be four numbers"),
        ("sensor without extrinsics", text(ASL, "T_BS", "T_SB"), ASL, "T_BS has no data of 4 x 4 numbers"),
        ("sensor that is no YAML", put(ASL, "a: [1\nb"), ASL, "is not YAML"),
        ("listed image absent, ASL", put(ASL_IMAGES, "1403636579,a.png\n"), "mav0/cam0/data/a.png", "is missing, "),
        ("truth of another hour", put(ASL_TRUTH, "17,0,0,0,1,0,0,0\n"), ASL_TRUTH, "never overlaps"),
        ("truth with too few columns", put(ASL_TRUTH, "17,0,0,0\n"), f"{ASL_TRUTH}:1", "has 4 columns instead"),
    ],
    (write_colmap, LOOK): [
        ("camera model unknown", text(CAMERAS, "SIMPLE_RADIAL", "ROUND"), f"{CAMERAS}:3", "'ROUND' is not known"),
        ("too few parameters", text(CAMERAS, "SIMPLE_RADIAL", "RADIAL"), f"{CAMERAS}:3", "a size and 5 parameters"),
        (
            "camera that is not there",
            text(CAMERAS, "7 SIMPLE", "9 SIMPLE"),
            "sparse/0/images.txt",
            "has camera 7, which",
        ),
        ("listed image absent, COLMAP", gone("images/walk/im 1.png"), "images/walk/im 1.png", "is missing, "),
        (
            "points without their image",
            text("sparse/0/images.txt", "3 ", "\n3 "),
            "sparse/0/images.txt:6",
            "is not 'ID",
        ),
    ],
    (write_colmap_binary, LOOK): [
        ("cameras cut", cut("sparse/0/cameras.bin"), "sparse/0/cameras.bin", "is cut short"),
        ("images cut", cut("sparse/0/images.bin", 0.9), "sparse/0/images.bin", "is cut short"),
    ],
    (write_nerf_transforms, LOOK): [
        ("no JSON", put(JSON, "{"), JSON, "is not JSON"),
        ("no frames", put(JSON, "{}"), JSON, "has no list of 'frames'"),
        (
            "a matrix of words",
            text(JSON, '"transform_matrix": [[', '"transform_matrix": [["a",'),
            JSON,
            "needs numbers",
        ),
        ("a list of absent frames", text(JSON, 'frame_10.png", ', 'frame_11.png", '), JSON, "which is no frame"),
        ("listed image absent, JSON", gone("images/frame_2.png"), "images/frame_2.png", "is missing, "),
        ("focal length of 0", text(JSON, '"fl_x": 9.0', '"fl_x": 0'), JSON, "must be positive pixels"),
    ],
    (write_scannet, LOOK): [
        ("no pose beside an image", gone(f"{SCAN}/pose/2.txt"), f"{SCAN}/pose/2.txt", "is missing, 2.png is there"),
        ("no intrinsics", gone(f"{SCAN}/{SCAN_K}"), f"{SCAN}/{SCAN_K}", "No such file"),
    ],
    (write_twelve_scenes, LOOK): [
        ("info.txt without K", put("info.txt", "m = 1\n"), "info.txt", "has no line 'm_calibrationColorIntrinsic ='"),
        ("split.txt of words", put("split.txt", "all of them\n"), "split.txt:1", "is not 'sequence0"),
        (
            "sequence of absent frames",
            text("split.txt", "end=4", "end=4]\nx [frames=1] [start=7 ; end=7"),
            "split.txt",
            "x has no",
        ),
    ],
    (write_camvid, LOOK): [
        ("missing mask", gone(MASK), MASK, "is missing"),
        ("two layouts at once", put("rgb.txt", ""), "", "could be tum_rgbd or camvid"),
    ],
    (nothing, "data render --list --frames-scale nan"): [
        ("frames-scale that is no number", nothing, "frames_scale", "must be in (0, 100], not nan"),
    ],
    (write_camvid, f"{LOOK} --layout kity"): [("no such layout", nothing, "", "no layout 'kity', there is folder")],
    (write_camvid, f"{LOOK} --layout tum_rgbd"): [
        ("another layout named", nothing, "", "has no frame, read as layout 'tum_rgbd'")
    ],
    (write_camvid, TO_BAG): [
        ("truncated mask", cut(MASK), MASK, "is truncated"),
        ("mask of 16 bits", picture(MASK, GREY.astype(np.uint16)), MASK, "a mask must be 8-bit"),
    ],
    (write_camvid, "data to-bag {set} {out} --split tests"): [("absent split", nothing, "", "no split 'tests'")],
    (nothing, FROM_BAG): [
        ("no recording", nothing, "", "does not exist"),
        ("empty folder as a recording", Path.mkdir, "", "is no bag, it has no .bag, .mcap or .db3 file"),
        ("text as a recording", put("", "bag"), "", "is no bag; a rosbag2 folder"),
        ("camera unknown", Bag(info=False), "", "has no sensor_msgs/msg/CameraInfo"),
        ("camera_info of zeros", Bag(focal=0.0), INFO, "fx and fy must be positive"),
        ("no image", Bag(images=0), "", "has no image topic"),
        ("unknown encoding", Bag(encoding="nv24x"), IMAGE, "encoding 'nv24x' is not one of"),
        ("fewer bytes than told", Bag(bytes_cut=5), IMAGE, "283 bytes with rows of 36 do not make"),
        ("image and camera_info differ", Bag(rows_cut=2), IMAGE, "the image is 12 x 6, /cam/camera_info is for 12 x 8"),
        ("NaN in a recorded pose", Bag(x=float("nan")), POSE, "the pose has a NaN or infinite entry"),
        ("NaN in a recorded quaternion", Bag(turn=float("nan")), POSE, "the pose has a NaN or infinite entry"),
        ("poses of another hour", Bag(poses_late_s=3600.0), "", "no image lies between two poses"),
    ],
    (write_folder, FROM_BAG): [("dataset as a recording", nothing, "", "is no bag")],
    (Bag(), FROM_BAG): [
        ("mcap cut in the middle", cut_storage, "set.mcap", "its end is missing (`mcap recover set.mcap"),
        ("mcap that is text", put("set.mcap", "hello" * 9), "set.mcap", "it does not begin as an mcap does"),
        ("listed part absent", gone("set.mcap"), "", "is no bag, it has no .bag, .mcap or .db3 file"),
        (
            "one of two parts absent",
            text("metadata.yaml", "- set.mcap", "- b.mcap\n  - set.mcap"),
            "b.mcap",
            "is missing",
        ),
        ("part of another kind", text("metadata.yaml", "- set.mcap", "- metadata.yaml"), "metadata.yaml", "no storage"),
    ],
    (Bag("sqlite3"), FROM_BAG): [
        ("sqlite3 cut in the middle", cut_storage, "set.db3", ".recover | sqlite3 saved/set.db3"),
        ("sqlite3 that is text", put("set.db3", "hello" * 9), "set.db3", "it does not begin as a database does"),
        (
            "journal of a killed recorder",
            put("set.db3-journal", HOT_JOURNAL),
            "set.db3-journal",
            "copy set.db3 with it",
        ),
    ],
    (Bag(x=float("nan")), f"{FROM_BAG} --pose-topic {POSE}"): [
        ("not one pose is one", nothing, POSE, "the pose has a NaN or infinite entry")
    ],
    (Bag(), f"{FROM_BAG} --pose-topic {POSE} --pose-frame base"): [
        ("frame that no transform has", nothing, "", "--extrinsics x,y,z,qx,qy,qz,qw")
    ],
    (Bag(), f"{FROM_BAG} --pose-topic {IMAGE}"): [("topic of the wrong type", nothing, IMAGE, "it must be geometry_")],
    (Bag(), f"{FROM_BAG} --image-topic /c"): [("topic that is absent", nothing, "", "has no message on topic '/c'")],
    (Bag(), "data from-bag {set} {set}"): [("output exists, from-bag", nothing, "", "exists already")],
    (write_one_frame, f"{TRAIN} --preset stl_pose"): [
        ("one frame to train on", nothing, "", "no sequence of 'train' has two")
    ],
    (write_camvid, f"{TRAIN} --preset stl_pose"): [
        ("no poses to train on", nothing, "", "no sequence of 'train' has two")
    ],
    (write_folder, f"{TRAIN} --preset mtl"): [
        ("no train split", text(YAML, "train:", "training:"), "", "no split 'train'"),
        ("no classes to train on", text(YAML, "classes:", "kinds:"), "", "those of its masks in dataset.yaml"),
        ("truncated image to train on", cut("loop_a/image/000001.png"), "loop_a/image/000001.png", "is truncated"),
        (
            "images of other proportions",
            picture("loop_a/image/000001.png", np.dstack([GREY[:, :12]] * 3)),
            "loop_a/image/000001.png",
            "12 x 12 has other proportions than the first frame",
        ),
    ],
}
