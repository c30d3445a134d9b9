"""The doctor on what is well and on what is broken: a made scene, and the real recordings where they are."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import broken_copies as broken
import cv2
import numpy as np
import pytest
from conftest import ROOT, real_data
from damages import every_pose
from made_room import K_33, PAIRS, SIZE, Room, drive, pose_7, write_room

from vlocnetpp.cli import main
from vlocnetpp.data import DataError, Frame
from vlocnetpp.data.doctor import KINDS, Finding, Report, examine
from vlocnetpp.data.doctor.images import check_repeats
from vlocnetpp.data.doctor.picture import plot_splits
from vlocnetpp.data.doctor.survey import ExaminedFrame


@pytest.fixture(scope="session")
def drawn() -> dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Pose, image and depth of a training and a test drive."""
    room = Room()
    return {split: [(T, *room.draw(T)) for T in drive(20, side)] for split, side in (("train", 0.0), ("test", 0.25))}


def kinds(report: Report, severity: str = "error") -> list[str]:
    return sorted({finding.kind for finding in report.findings if finding.severity == severity})


def the(report: Report, kind: str) -> Finding:
    return next(finding for finding in report.findings if finding.kind == kind)


# A made scene: everything is known exactly.


@pytest.mark.parametrize("depth", [True, False])
def test_a_sound_dataset_is_clean(tmp_path, drawn, depth):
    report = examine(write_room(tmp_path / "room", drawn, depth=depth), pairs=PAIRS)
    assert kinds(report) == []
    assert kinds(report, "warning") == []
    assert "nearest training pose: median" in the(report, "distance").what
    assert report.study is not None
    plot_splits(tmp_path / "drives.svg", report.study)
    drawing = (tmp_path / "drives.svg").read_text()  # matplotlib writes each text as a comment beside its glyphs
    assert "<!-- room, seen from above -->" in drawing and "<!-- where the camera looks -->" in drawing


BODY = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def as_body(T: np.ndarray) -> np.ndarray:
    turned = T.copy()
    turned[:3, :3] = T[:3, :3] @ BODY.T
    return turned


def wxyz_as_xyzw(T: np.ndarray) -> np.ndarray:
    pose = pose_7(T)
    return pose[[0, 1, 2, 6, 3, 4, 5]] * (1 if pose[6] >= 0 else np.array([1, 1, 1, -1, -1, -1, -1]))


READINGS = {
    "world-to-camera, not": lambda T: pose_7(np.linalg.inv(T)),
    "those of a body": lambda T: pose_7(as_body(T)),
    "w, x, y, z but were read as x, y, z, w": wxyz_as_xyzw,
    "x, y, z, w but were read as w, x, y, z": lambda T: pose_7(broken.xyzw_as_wxyz(T)),
}


@pytest.mark.parametrize(("named", "depth"), [*((named, True) for named in READINGS), (next(iter(READINGS)), False)])
def test_every_convention_is_named(tmp_path, drawn, named, depth):
    report = examine(write_room(tmp_path / "room", drawn, READINGS[named], depth=depth), pairs=PAIRS)
    assert kinds(report) == ["convention"]
    assert named in the(report, "convention").what
    assert the(report, "convention").confidence > 0.7


@pytest.mark.parametrize("factor", [1000.0, 0.3])
def test_the_scale_is_measured(tmp_path, drawn, factor):
    scale = np.array([factor] * 3 + [1.0] * 4)
    report = examine(write_room(tmp_path / "room", drawn, lambda T: pose_7(T) * scale), pairs=PAIRS)
    assert kinds(report) == ["scale"]
    said = float(the(report, "scale").what.split("multiplied by ")[1].split()[0])
    assert said == pytest.approx(1 / factor, rel=0.03)


@pytest.mark.parametrize("depth", [True, False])
@pytest.mark.parametrize(("factor", "found"), [(1.1, ["intrinsics"]), (0.98, [])])
def test_ten_percent_of_focal_length_are_found_and_two_are_not(tmp_path, drawn, factor, found, depth):
    K = K_33 * [[factor, 1, 1], [1, factor, 1], [1, 1, 1]]
    report = examine(write_room(tmp_path / "room", drawn, K=K, depth=depth), pairs=PAIRS)
    assert kinds(report) == found
    if found:
        said = the(report, "intrinsics").what.split("depth " if depth else "colour ")[1].split()[0]
        assert float(said) == pytest.approx(1 / factor, rel=0.03)
        # Beside depth images K is theirs, too, so that correcting it for the colour images alone would part them.
        assert (f"--network.focal_correction {said} " in the(report, "intrinsics").do) != depth


def test_beside_a_wrong_k_no_frame_is_blamed_before_that_is_mended(tmp_path):
    changes = {"focal": 0.9, "order": broken.swapped, "pose_follows": False}
    report = examine(broken.copy_recording(real_data("redkitchen"), tmp_path / "copy", **changes), pairs=PAIRS)
    assert the(report, "intrinsics").severity == "error"
    placing = the(report, "placing")
    assert placing.severity == "warning" and placing.do.startswith("mend K first")


def test_k_of_another_resolution(tmp_path, drawn):
    report = examine(write_room(tmp_path / "room", drawn, K=K_33 * [[2], [2], [1]]), pairs=PAIRS)
    assert "2 times as large" in the(report, "intrinsics").what
    assert "convention" not in kinds(report)


def test_images_that_lag_behind_the_poses(tmp_path):
    room, poses = Room(), drive(40, 0.0, hurry=2.0)
    drawn = {"train": [(poses[i + 3], *room.draw(poses[i])) for i in range(len(poses) - 3)]}
    report = examine(write_room(tmp_path / "room", drawn), pairs=2 * PAIRS)
    assert kinds(report) == ["offset"]
    assert "3 frames earlier" in the(report, "offset").what


def test_masks_off_by_one_and_stray_ids(tmp_path, drawn):
    mask = np.repeat(np.uint8([0] * 30 + [1] * 45 + [2] * 10 + [3] * 35)[:, None], SIZE[1], axis=1)
    assert kinds(examine(write_room(tmp_path / "good", drawn, mask=mask), pairs=PAIRS)) == []
    report = examine(write_room(tmp_path / "bad", drawn, mask=mask + np.uint8(1)), pairs=PAIRS)
    assert kinds(report) == ["mask-ids", "mask-shift"]
    assert "ids 4 have no class" in the(report, "mask-ids").what
    assert "too high" in the(report, "mask-shift").what
    report = examine(write_room(tmp_path / "void", drawn, mask=np.full(SIZE, 255, np.uint8)), pairs=PAIRS)
    assert kinds(report) == ["mask-void"]


def test_light_and_files(tmp_path, drawn):
    root = write_room(tmp_path / "room", drawn)
    images = sorted((root / "train" / "image").iterdir())
    cv2.imwrite(str(images[3]), np.zeros((*SIZE, 3), np.uint8))
    cv2.imwrite(str(images[8]), np.full((*SIZE, 3), 255, np.uint8))
    cv2.imwrite(str(images[12]), cv2.GaussianBlur(cv2.imread(str(images[12])), (0, 0), 5))
    images[17].write_bytes(images[17].read_bytes()[:500])
    report = examine(root, pairs=PAIRS)
    assert the(report, "black").where == "train/000003"
    assert the(report, "overexposed").where == "train/000008"
    assert "train/000012" in the(report, "blur").where
    assert "truncated" in the(report, "image").what
    assert kinds(report) == ["image"]


@pytest.mark.parametrize(("change", "found"), [(pose_7, []), (lambda T: pose_7(np.linalg.inv(T)), ["convention"])])
def test_depth_of_every_second_image_is_enough(tmp_path, drawn, change, found):
    """As of a depth camera at half the rate of the colour camera."""
    half = {
        split: [(T, image, metres if i % 2 == 0 else None) for i, (T, image, metres) in enumerate(frames)]
        for split, frames in drawn.items()
    }
    report = examine(write_room(tmp_path / "room", half, change), pairs=PAIRS)
    assert kinds(report) == found
    assert report.study is not None and np.isfinite(report.study.stored.errors_P).all()
    assert "20 of 40 frames have no depth" in the(report, "missing").what


def test_depth_and_masks_that_cannot_be_read_are_named_and_poses_are_judged_without_them(tmp_path, drawn):
    labels = np.zeros(SIZE, np.uint8)
    root = write_room(tmp_path / "room", drawn, lambda T: pose_7(np.linalg.inv(T)), mask=labels)
    for path in root.glob("*/depth/*.png"):
        cv2.imwrite(str(path), np.full(SIZE, 200, np.uint8))
    for path in root.glob("*/mask/*.png"):
        cv2.imwrite(str(path), np.full((*SIZE, 3), 40, np.uint8))
    report = examine(root, pairs=PAIRS)
    assert kinds(report) == ["convention", "depth", "mask"]
    assert "16-bit" in the(report, "depth").do and "one channel" in the(report, "mask").do


# One wild pose.


def with_one_wild_pose(change, metres, frame):
    """`change`, and one stored position of the training drive moved by so many metres."""
    calls = iter(range(10**6))

    def changed(T: np.ndarray) -> np.ndarray:
        pose = change(T)
        return pose + (next(calls) == frame) * np.array([metres, metres, 0, 0, 0, 0, 0]) / np.sqrt(2)

    return changed


VARIANTS = {
    "sound": pose_7,
    "world-to-camera": lambda T: pose_7(np.linalg.inv(T)),
    "scaled": lambda T: pose_7(T) * ([0.3] * 3 + [1] * 4),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, drawn):
    """The report of each variant without a wild pose."""
    folder = tmp_path_factory.mktemp("rooms")
    return {
        name: examine(write_room(folder / name, drawn, change=change), pairs=PAIRS) for name, change in VARIANTS.items()
    }


@pytest.mark.parametrize(
    ("variant", "metres", "frame", "severity"),
    [
        ("sound", 5.0, 9, "warning"),
        ("sound", 3e9, 4, "error"),
        ("world-to-camera", 100.0, 19, "error"),
        ("scaled", 30.0, 0, "error"),
        ("scaled", 5.0, 7, "warning"),
    ],
)
def test_one_wild_pose_is_named_and_changes_nothing_else(
    tmp_path, drawn, undisturbed, variant, metres, frame, severity
):
    change = with_one_wild_pose(VARIANTS[variant], metres, frame)
    report = examine(write_room(tmp_path / "room", drawn, change=change), pairs=PAIRS)
    (wild,) = (each for each in report.findings if each.kind == "speed")
    assert (wild.where, wild.severity) == (f"train/{frame:06d}", severity) and wild.what.startswith("1 pose ")
    assert report.study is not None and report.study.wild[0].metres == pytest.approx(metres, rel=0.02)
    others = [each for each in report.findings if each.kind != "speed"]
    before = undisturbed[variant].findings
    assert [(each.severity, each.kind, each.do) for each in others] == [(e.severity, e.kind, e.do) for e in before]
    for now, then in zip(others, before, strict=True):
        assert now.confidence == pytest.approx(then.confidence, abs=0.05), (now, then)
        assert re.sub(r"[0-9.e+-]+", "", now.what) == re.sub(r"[0-9.e+-]+", "", then.what)


def test_a_drive_that_goes_on_elsewhere_is_no_wild_pose(tmp_path, drawn):
    """A localization that jumps and stays there: the jump is an error, the poses behind it are kept."""
    moved = {"train": drawn["train"][:10] + [(T + 40.0 * AWAY, *rest) for T, *rest in drawn["train"][10:]]}
    report = examine(write_room(tmp_path / "room", moved), pairs=PAIRS)
    (jump,) = (each for each in report.findings if each.kind == "speed")
    assert (jump.severity, jump.where) == ("error", "train/000010") and "1 jumps of up to 40 m" in jump.what
    assert report.study is not None and report.study.wild == []


AWAY = np.zeros((4, 4))
AWAY[0, 3] = 1.0


# The command.


def test_the_command(tmp_path, drawn, capsys):
    root, out = write_room(tmp_path / "room", drawn), tmp_path / "out"
    words = ["data", "doctor", str(root), "--pairs", str(PAIRS)]
    assert main([*words, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    said = " ".join(printed.out.split())
    assert "0 errors, 0 warnings" in said and "nearest training pose" in said
    assert max(map(len, printed.out.splitlines())) <= 100
    assert "the examination takes about" in printed.err.splitlines()[0]
    assert {path.name for path in out.iterdir()} == {"doctor.json", "trajectories.png"}
    assert printed.out.splitlines()[-1] == f"{out}: trajectories.png, doctor.json"
    picture = cv2.imread(str(out / "trajectories.png"))
    assert picture.shape[1] > 1000 and len(np.unique(picture)) > 20
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "doctor.json").read_text())
    (root / "train" / "frames.csv").write_text("nothing")
    assert main(words) == 1
    assert "column name is missing" in " ".join(capsys.readouterr().out.split())
    assert main(["data", "doctor", str(tmp_path / "nowhere")]) == 2
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--seed", "-1"])
    assert "argument --seed: -1 is negative" in capsys.readouterr().err
    assert main(["data", "doctor", str(root), "--layout", "what"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(DataError, match="no known layout"):
        examine(tmp_path)


def test_what_the_reader_left_out_is_noted_and_a_dataset_without_a_pose_is_lost(tmp_path, drawn):
    root = write_room(tmp_path / "room", drawn)
    table = root / "train" / "frames.csv"
    lines = table.read_text().splitlines()
    cells = lines[5].split(",")
    lines[5] = ",".join([*cells[:5], "0", "0", "0", "0", *cells[9:]])
    table.write_text("\n".join(lines) + "\n")
    report = examine(root, pairs=PAIRS)
    assert kinds(report) == [] and kinds(report, "warning") == ["missing", "noted"]
    assert "frames.csv:6: the quaternion has length 0" in the(report, "noted").what
    every_pose("train/frames.csv", "1,2,3,0,0,0,0")(root)
    (finding,) = examine(root).findings
    assert (finding.severity, finding.kind) == ("error", "lost") and "column" in finding.do


@pytest.mark.parametrize(("frozen", "severity"), [(4, "warning"), (12, "error")])
def test_a_few_images_that_hardly_change_are_a_warning_and_a_camera_that_hangs_is_an_error(tmp_path, frozen, severity):
    room = Room()
    sides = {"train": 0.0, "test": 0.25}
    fast = {split: [(T, *room.draw(T)) for T in drive(20, side, hurry=3.0)] for split, side in sides.items()}
    root = write_room(tmp_path / "room", fast)
    images = sorted((root / "train").rglob("*.png"))
    images = [path for path in images if cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 3]
    still = cv2.imread(str(images[3]))
    for i in range(1, frozen + 1):
        still[0, i] = 255 - still[0, i]  # not pixel for pixel the same
        cv2.imwrite(str(images[3 + i]), still)
    found = [each for each in examine(root, pairs=PAIRS).findings if each.kind == "duplicates"]
    assert [each.severity for each in found] == [severity]
    assert found[0].what.split(" ")[0] == re.search(r"at most (\d+) in a row", found[0].what)[1]


@pytest.mark.parametrize(
    ("changes", "contrast", "found"),
    [
        (0.1, 2.0, True),  # a camera that hangs, compressed anew
        (0.4, 2.0, False),  # down a long corridor
        (0.05, 0.3, False),  # before a bare wall
    ],
)
def test_how_little_an_image_may_change_depends_on_what_it_shows(changes, contrast, found):
    rng = np.random.default_rng(1)
    picture = 100 + contrast * rng.standard_normal((24, 32))
    sequence = []
    for i in range(20):
        frame = Frame(f"f{i}", 0, None, np.diag([160.0, 160.0, 1.0]), np.array([0.1 * i, 0, 0, 1, 0, 0, 0]))
        noisy = (picture + changes * np.sqrt(np.pi) / 2 * rng.standard_normal(picture.shape)).astype(np.float32)
        sequence.append(
            ExaminedFrame(frame, "train", "s", size=(240, 320), digest=bytes([i]), thumbnail=noisy, depth_m=1.0)
        )
    findings = list(check_repeats(SimpleNamespace(sequences=[sequence])))
    assert [(each.severity, each.kind) for each in findings] == [("error", "duplicates")] * found


def test_the_page_explains_every_finding():
    page = (ROOT / "docs" / "doctor.md").read_text()
    for name, kind in KINDS.items():
        assert f"| `{name}` | {kind.means} | {kind.do} |" in page
    assert page.count("\n| `") == len(KINDS)


# Real recordings.


BROKEN = {
    "inverted poses": ({"pose": broken.inverted}, "convention", "world-to-camera, not camera-to-world"),
    "xyzw as wxyz": ({"pose": broken.xyzw_as_wxyz}, "convention", "x, y, z, w but were read as w, x, y, z"),
    "mm as m": ({"pose": broken.millimetres}, "scale", "millimetres against metres"),
    "K off by 10 %": ({"focal": 1.1}, "intrinsics", "depth 0.9"),
    "K off by -10 %": ({"focal": 0.9}, "intrinsics", "depth 1.1"),
    "swapped frames": ({"order": broken.swapped, "pose_follows": False}, "placing", "seq-02/frame-000005 with "),
    "repeated frames": ({"order": broken.repeated}, "duplicates", "5 in a row"),
    "a shuffled sequence": ({"order": broken.shuffled}, "order", "images and poses of neighbours"),
    "rotation scaled by 1.01": ({"pose": broken.scaled_rotation}, "rotation", "scaled by 1.01"),
    "train = test": ({"test": ((9, 2),)}, "overlap", "30 of 30 images are training images"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_broken_copies_of_redkitchen_are_named(tmp_path, what):
    changes, kind, words = BROKEN[what]
    report = examine(broken.copy_recording(real_data("redkitchen"), tmp_path / "copy", **changes), pairs=PAIRS)
    assert kinds(report) == [kind]
    assert words in the(report, kind).what
    assert the(report, kind).confidence > 0.5


@pytest.mark.parametrize(("shift", "words"), [(0, ""), (1, "1 too high"), (-1, "1 too low")])
def test_masks_of_camvid_off_by_one(tmp_path, shift, words):
    source = real_data("camvid")
    for split in ("train", "val"):
        for folder in (tmp_path / split, tmp_path / f"{split}annot"):
            folder.mkdir()
        for image in sorted((source / split).iterdir())[::9]:
            (tmp_path / split / image.name).symlink_to(image.resolve())
            name = f"{image.stem}.png"
            ids = cv2.imread(str(source / f"{split}annot" / name), cv2.IMREAD_UNCHANGED)
            cv2.imwrite(
                str(tmp_path / f"{split}annot" / name), np.clip(ids.astype(int) + shift, 0, 11).astype(np.uint8)
            )
    report = examine(tmp_path)
    assert kinds(report) == (["mask-shift"] if shift else [])
    if shift:
        assert words in the(report, "mask-shift").what


def test_redkitchen_whole_is_clean_and_tells_the_oracle():
    report = examine(real_data("redkitchen"), pairs=PAIRS)
    assert kinds(report) == []
    assert kinds(report, "warning") == ["duplicates", "registration"]
    said = re.search(r"median ([\d.]+) m ([\d.]+) deg", the(report, "distance").what)
    assert said is not None
    assert float(said[1]) == pytest.approx(0.135, abs=0.002)
    assert float(said[2]) == pytest.approx(7.4, abs=0.1)
