"""The model file and the streaming localizer."""

from __future__ import annotations

import ast
import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import CLASSES, IMAGE_SHAPE, K_33, export_random, random_network

import vlocnetpp.runtime
from vlocnetpp.encodings import RGB_CHANNELS
from vlocnetpp.network import cold_state_of
from vlocnetpp.network.preprocess import Preprocess
from vlocnetpp.runtime import (
    CameraMismatchError,
    ImageError,
    Localizer,
    ModelFileError,
    load_model,
    read_metadata,
)
from vlocnetpp.runtime.model_file import METADATA_NAME

SECOND = 1_000_000_000


@pytest.fixture(scope="session")
def model_path(tmp_path_factory) -> Path:
    return export_random(tmp_path_factory.mktemp("model") / "mtl.ts")


@pytest.fixture(scope="session")
def model(model_path):
    return load_model(model_path, "cpu")


def image(seed: int = 0, shape=IMAGE_SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


# --- the file -------------------------------------------------------------------------------------------------------


def test_metadata_survives_the_file(model_path, model):
    metadata = read_metadata(model_path)
    assert metadata == model.metadata
    assert metadata.tasks == ("localization", "odometry", "segmentation")
    assert metadata.classes == CLASSES
    assert metadata.calibration_2 == (2.0, 3.0)
    assert metadata.state_shapes["segmentation_4f"] == (128, 4, 6)
    assert np.allclose(metadata.K_33, Preprocess(64, 96, True)(
        torch.zeros(1, *IMAGE_SHAPE, 3, dtype=torch.uint8), torch.tensor([0, 1, 2]),
        torch.from_numpy(K_33)[None], torch.zeros(1, 1, 1, 1).double())[1][0].numpy())  # fmt: skip


def test_a_model_file_names_no_file_of_the_machine_it_was_made_on(model_path):
    with zipfile.ZipFile(model_path) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    here = str(Path(vlocnetpp.runtime.__file__).resolve().parents[2]).encode()
    assert here not in content and b"site-packages" not in content
    assert [path.name for path in model_path.parent.iterdir()] == [model_path.name]


def rewrite(source: Path, target: Path, change) -> Path:
    """Copy a model file with its metadata changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith(METADATA_NAME):
                data = change(data)
                if data is None:
                    continue
            new.writestr(item, data)
    return target


def flip_in_directory(data: bytes) -> bytes:
    """One byte of the archive's directory changed."""
    at = data.rindex(b"PK\x01\x02")
    return data[:at] + b"XX" + data[at + 2 :]


def newer(data: bytes) -> bytes:
    return json.dumps({**json.loads(data), "format": 999}).encode()


def with_metadata(**changes):
    """Change fields of the metadata; None takes one out."""

    def change(data: bytes) -> bytes:
        fields = {**json.loads(data), **changes}
        return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()

    return change


def more_state(data: bytes) -> bytes:
    known = json.loads(data)["state_shapes"]
    return with_metadata(state_shapes={**known, "mood": [1]})(data)


BAD_FILES = {
    "missing": (lambda good, bad: None, "no such file"),
    "empty": (lambda good, bad: bad.write_bytes(b""), "truncated"),
    "truncated": (lambda good, bad: bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2]), "truncated"),
    "text": (lambda good, bad: bad.write_text("hello"), "not a model file"),
    "pickle": (lambda good, bad: bad.write_bytes(pickle.dumps({"a": 1})), "not a model file"),
    "checkpoint": (lambda good, bad: torch.save({"a": torch.zeros(1)}, bad), "vlocnetpp export"),
    "foreign script": (lambda good, bad: torch.jit.script(torch.nn.Linear(1, 1)).save(str(bad)), "vlocnetpp export"),
    "damaged": (lambda good, bad: bad.write_bytes(flip_in_directory(good.read_bytes())), "damaged"),
    "newer": (lambda good, bad: rewrite(good, bad, newer), "format 999"),
    "no metadata": (lambda good, bad: rewrite(good, bad, lambda data: None), "vlocnetpp export"),
    "not json": (lambda good, bad: rewrite(good, bad, lambda data: b"{"), "not JSON"),
    "incomplete": (lambda good, bad: rewrite(good, bad, with_metadata(preset=None)), "lacks 'preset'"),
    "with another field": (lambda good, bad: rewrite(good, bad, with_metadata(mood="good")), "unknown field 'mood'"),
    "older": (
        lambda good, bad: rewrite(good, bad, with_metadata(format=1)),
        "has format 1, this runtime reads 2; export its run again",
    ),
    "another state": (
        lambda good, bad: rewrite(good, bad, with_metadata(state_shapes={"valid_B": []})),
        "state that its metadata",
    ),
    "more of a state": (lambda good, bad: rewrite(good, bad, more_state), "leaves the state 'mood' as nothing"),
    "no format": (lambda good, bad: rewrite(good, bad, lambda data: b"{}"), "names no format"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_refused_by_name_and_reason(kind, model_path, tmp_path):
    make, reason = BAD_FILES[kind]
    bad = tmp_path / "bad.ts"
    make(model_path, bad)
    with pytest.raises(ModelFileError) as error:
        load_model(bad, "cpu")
    assert "bad.ts" in str(error.value) and reason in str(error.value)
    assert "\n" not in str(error.value)


class Bomb:
    def __reduce__(self):
        return (print, ("a pickle ran",))


def test_a_pickle_inside_an_archive_never_runs(tmp_path, capsys, model_path):
    """A file that carries a Python pickle where TorchScript keeps its data is refused, and nothing in it is called."""
    evil = tmp_path / "evil.ts"
    with zipfile.ZipFile(model_path) as old, zipfile.ZipFile(evil, "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith("/data.pkl"):
                data = pickle.dumps(Bomb())
            new.writestr(item, data)
    with pytest.raises(ModelFileError):
        load_model(evil, "cpu")
    assert "a pickle ran" not in capsys.readouterr().out


@pytest.mark.parametrize(("device", "reason"), [("gpu", "does not exist"), ("cuda:7", "CUDA"), ("meta", "supported")])
def test_a_device_that_is_not_there_is_no_silent_fallback(device, reason, model_path):
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ModelFileError, match=reason):
        load_model(model_path, device)


def test_unknown_precision_is_refused(model_path):
    with pytest.raises(ModelFileError, match="precision"):
        load_model(model_path, "cpu", "int4")


@pytest.mark.parametrize("preset", ["mtl", "stl_pose"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_precision_answers_in_full_precision(precision, preset, tmp_path):
    path = export_random(tmp_path / "m.ts", preset)
    full = Localizer(load_model(path, "cpu"))
    half = Localizer(load_model(path, "cpu", precision))
    for i in range(2):
        a, b = (each.localize(image(i), K_33, SECOND + i) for each in (full, half))
        assert b.pose_7.dtype == np.float64 and np.allclose(a.pose_7, b.pose_7, atol=0.05)
        assert np.isfinite(b.sigma_2).all()


def test_half_precision_is_half_the_size_and_close(model_path, model, tmp_path):
    half_path = export_random(tmp_path / "half.ts", precision="fp16")
    assert half_path.stat().st_size < 0.65 * model_path.stat().st_size
    half = Localizer(load_model(half_path, "cpu"))
    full = Localizer(model)
    a, b = (localizer.localize(image(), K_33, SECOND) for localizer in (half, full))
    assert np.allclose(a.pose_7, b.pose_7, atol=0.02)


def test_the_runtime_imports_nothing_that_the_robot_lacks():
    allowed = ("vlocnetpp.runtime", "vlocnetpp.step", "vlocnetpp.geometry", "vlocnetpp.encodings", "torch", "numpy",
               "__future__", "json", "re", "math", "io",
               "zipfile", "collections", "dataclasses", "pathlib", "typing", "warnings")  # fmt: skip
    for path in Path(vlocnetpp.runtime.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.startswith(allowed), f"{path.name} imports {name}"


# --- the localizer --------------------------------------------------------------------------------------------------


@torch.inference_mode()
def eager(network, images):
    """The step as training unrolls it."""
    preprocess = Preprocess(64, 96, True)
    state, predictions = cold_state_of(network), []
    for pixels in images:
        x, K, depth = preprocess(
            torch.from_numpy(pixels)[None], torch.tensor([0, 1, 2]), torch.from_numpy(K_33).float()[None],
            torch.zeros(1, 1, 1, 1),
        )  # fmt: skip
        prediction, state = network(x, K, depth, state)
        predictions.append(prediction)
    return predictions


@pytest.mark.parametrize("preset", ["mtl", "stl_pose", "vlocnet", "stl_segmentation", "stl_odometry"])
def test_streaming_the_exported_file_equals_the_clip_in_training(preset, tmp_path):
    """The file on the robot, fed frame by frame through the ring, against the eager network unrolled over the clip."""
    network = random_network(preset)
    localizer = Localizer(load_model(export_random(tmp_path / "m.ts", preset), "cpu"), capacity=2)
    images = [image(seed) for seed in range(5)]
    for i, expected in enumerate(eager(network, images)):
        got = localizer.localize(images[i], K_33, SECOND + i * SECOND // 30)
        if got.pose_7 is not None:
            assert np.abs(got.pose_7 - expected["pose_B7"][0].numpy()).max() < 1e-4
        if i > 0 and "odometry" in network.config.tasks:
            assert np.abs(got.relative_7 - expected["relative_B7"][0].numpy()).max() < 1e-4
            assert got.interval_s == pytest.approx(1 / 30, abs=1e-6)
        if got.mask_hw is not None:
            top = expected["logits_BCHW"][0].topk(2, dim=0).values
            clear = (top[0] - top[1] > 1e-3).numpy()
            same = got.mask_hw == expected["logits_BCHW"][0].argmax(0).numpy()
            assert same[clear].all() and clear.mean() > 0.9
        assert (got.cold_start is None) == (i > 0)


def test_what_a_preset_lacks_is_none(tmp_path):
    pose = Localizer(load_model(export_random(tmp_path / "a.ts", "stl_pose"), "cpu")).localize(image(), K_33, 1)
    assert pose.pose_7 is not None and pose.mask_hw is None and pose.relative_7 is None
    mask = Localizer(load_model(export_random(tmp_path / "b.ts", "stl_segmentation"), "cpu"))
    estimate = mask.localize(image(), K_33, 1)
    assert estimate.pose_7 is None and estimate.sigma_2 is None and estimate.mask_hw is not None


def test_colour_orders_give_the_same_answer(model):
    rgb = image()
    alpha = np.full((*IMAGE_SHAPE, 1), 7, np.uint8)
    variants = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.concatenate((rgb, alpha), 2),
        "bgra8": np.concatenate((rgb[..., ::-1], alpha), 2),
    }
    poses = [Localizer(model).localize(pixels, K_33, 1, name).pose_7 for name, pixels in variants.items()]
    assert all(np.array_equal(poses[0], pose) for pose in poses)
    grey = np.full(IMAGE_SHAPE, 90, np.uint8)
    three = np.repeat(grey[:, :, None], 3, 2)
    a, b = Localizer(model).localize(grey, K_33, 1, "mono8"), Localizer(model).localize(three, K_33, 1)
    assert np.array_equal(a.pose_7, b.pose_7)
    assert set(variants) | {"mono8"} == set(RGB_CHANNELS)


def test_cold_starts_are_named_and_leave_no_stale_feature(model):
    localizer = Localizer(model, capacity=3, max_gap_s=0.5)
    frames = [image(seed) for seed in range(3)]
    fresh = localizer.localize(frames[0], K_33, 10 * SECOND)
    assert fresh.cold_start == "first frame" and fresh.relative_7 is None
    warm = localizer.localize(frames[1], K_33, 10 * SECOND + SECOND // 10)
    assert warm.cold_start is None and warm.relative_7 is not None
    alone = Localizer(model).localize(frames[2], K_33, 1)

    def same_as_alone(estimate) -> bool:
        return np.allclose(estimate.pose_7, alone.pose_7, atol=1e-6)

    gap = localizer.localize(frames[2], K_33, 12 * SECOND)
    assert gap.cold_start == "gap of 1.9 s" and same_as_alone(gap)
    back = localizer.localize(frames[2], K_33, 11 * SECOND)
    assert back.cold_start == "stamp went back" and same_as_alone(back)
    repeated = localizer.localize(frames[2], K_33, 11 * SECOND)
    assert repeated.cold_start == "stamp went back"
    localizer.reset()
    assert localizer.localize(frames[2], K_33, 11 * SECOND + 1).cold_start == "reset"
    larger = np.repeat(np.repeat(frames[2], 2, 0), 2, 1)
    K_larger = K_33 * 2
    K_larger[:2, 2] += 0.5
    K_larger[2, 2] = 1
    changed = localizer.localize(larger, K_larger, 11 * SECOND + 2)
    assert changed.cold_start == "image size changed"


def test_a_refused_image_keeps_the_past(model):
    localizer = Localizer(model)
    localizer.localize(image(), K_33, SECOND)
    for bad, encoding in [
        (image()[..., :2], "rgb8"),
        (image().astype(np.float32), "rgb8"),
        (image(), "yuv422"),
        (np.zeros((0, 4, 3), np.uint8), "rgb8"),
        (image(), "bgra8"),
    ]:
        with pytest.raises(ImageError):
            localizer.localize(bad, K_33, SECOND + 1, encoding)
    with pytest.raises(CameraMismatchError):
        localizer.localize(image(), K_33 * 0, SECOND + 1)
    assert localizer.localize(image(1), K_33, SECOND + 2).cold_start is None


def test_intrinsics_may_be_rescaled_but_not_be_another_camera(model):
    localizer = Localizer(model)
    other = K_33.copy()
    other[0, 0] *= 1.2
    with pytest.raises(CameraMismatchError, match="fx differs by 20%"):
        localizer.localize(image(), other, 1)
    with pytest.raises(CameraMismatchError, match="calibrated"):
        localizer.localize(image(), np.zeros((3, 3)), 1)
    half = K_33 / 2
    half[:2, 2] -= 0.25
    half[2, 2] = 1
    localizer.localize(image(shape=(24, 32)), half, 1)


def test_warm_up_leaves_no_trace(model):
    localizer = Localizer(model)
    localizer.warm_up(*IMAGE_SHAPE)
    first = localizer.localize(image(), K_33, 1)
    assert first.cold_start == "first frame"
    assert np.array_equal(first.pose_7, Localizer(model).localize(image(), K_33, 1).pose_7)


def test_sigma_is_calibrated(model):
    estimate = Localizer(model).localize(image(), K_33, 1)
    raw = Localizer(replace(model, metadata=replace(model.metadata, calibration_2=(1.0, 1.0))))
    expected = raw.localize(image(), K_33, 1).sigma_2 * [2.0, 3.0]
    assert np.allclose(estimate.sigma_2, expected)


def test_full_mask_covers_the_image_and_only_what_was_seen(model, tmp_path):
    localizer = Localizer(model)
    estimate = localizer.localize(image(), K_33, 1)
    full = localizer.full_mask(estimate)
    assert full.shape == IMAGE_SHAPE and full.max() < len(CLASSES)
    path = export_random(tmp_path / "crop.ts", "stl_segmentation", height=64, width_px=64, resize="crop")
    cropped = Localizer(load_model(path, "cpu"))
    full = cropped.full_mask(cropped.localize(image(), K_33, 1))
    assert full.shape == IMAGE_SHAPE
    # 48 x 64 becomes 73 x 98, of which the middle 64 x 64 is seen.
    assert (full[:, :10] == 255).all() and (full[:2] == 255).all() and (full[24, 20:44] < 255).all()
    assert localizer.seen_part(image()).shape == image().shape
    seen = cropped.seen_part(full[..., None])
    assert (seen < 255).all() and abs(seen.size - (full < 255).sum()) <= 48 + 64, "but for a border of one pixel"
    posed = Localizer(load_model(export_random(tmp_path / "p.ts", "stl_pose"), "cpu"))
    with pytest.raises(ValueError, match="no segmentation"):
        posed.full_mask(posed.localize(image(), K_33, 1))


def test_sensor_depth_changes_the_warp_and_unknown_depth_is_harmless(tmp_path):
    model = load_model(export_random(tmp_path / "s.ts", "mtl", depth="sensor"), "cpu")

    def second(depth):
        localizer = Localizer(model)
        localizer.localize(image(0), K_33, 1, depth_HW=depth)
        return localizer.localize(image(1), K_33, 2, depth_HW=depth).pose_7

    known = second(np.full(IMAGE_SHAPE, 2.0, np.float32))
    none = second(None)
    nan = second(np.full(IMAGE_SHAPE, np.nan, np.float32))
    assert np.array_equal(none, nan) and np.isfinite(known).all()
    assert not np.array_equal(known, none)
