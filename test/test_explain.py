"""Activation maps, embeddings and scenes against what is known by construction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from random_models import IMAGE_SHAPE, export_random, random_network
from torch import nn
from wall_dataset import WALL_M, write_wall

from vlocnetpp.cli import main
from vlocnetpp.data import FolderWriter, open_dataset
from vlocnetpp.evaluation.stream import stream
from vlocnetpp.explain import (
    Cloud,
    ExplainError,
    Options,
    activation_maps,
    embed,
    explain,
    fuse,
    grad_cam_plus_plus,
    stream_features,
    write_ply,
)
from vlocnetpp.explain.explain import model_names
from vlocnetpp.explain.scene import polyline, thin
from vlocnetpp.explain.scene_figure import eyes
from vlocnetpp.explain.spread import spread
from vlocnetpp.export import ExportedStep, rebuild
from vlocnetpp.export.rebuild import network_of_file
from vlocnetpp.network import cold_state_of, config_to_json
from vlocnetpp.network.blocks.heads import PoseHead
from vlocnetpp.network.contract import Explanation
from vlocnetpp.network.explaining import regression_scalars
from vlocnetpp.reporting.figures import View
from vlocnetpp.runtime import ModelFileError, load_model, read_metadata
from vlocnetpp.training.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A wall with every label, and models with random weights for it."""
    folder = tmp_path_factory.mktemp("explain")
    write_wall(folder / "wall", {"train": 3, "test": 4})
    export_random(folder / "mtl.ts", "mtl_no_warp", precision="fp16")
    export_random(folder / "stl.ts", "stl_pose", resize="crop", height=32, width_px=32)
    return folder


# --- activation maps


def test_grad_cam_plus_plus_by_hand():
    activation = torch.tensor([[[1.0, 0.0], [2.0, 1.0]], [[4.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [-1.0, 0.0]]])
    gradient = torch.tensor([[[0.5, 0.0], [0.0, -1.0]], [[-1.0, -1.0], [-1.0, -1.0]], [[0.0, 0.0], [1.0, 0.0]]])
    # weights: 0.5 / (2 + 0.5 * 4) = 0.125; nothing rises; 1 / (2 + 1 * 2) = 0.25, the negative activation left out
    expected = torch.tensor([[0.125, 0.5], [0.25 - 0.25, 0.125]])
    torch.testing.assert_close(grad_cam_plus_plus(activation, gradient), expected)


class OneConv(nn.Module):
    """A step whose position grows with the red of the image, by a convolution that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Module()
        stream = self.network.localization = nn.Module()
        stream.conv = nn.Conv2d(3, 1, 1, bias=False)
        stream.head = PoseHead(1, 0.001, "elu", 0.2)
        with torch.no_grad():
            stream.conv.weight.copy_(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))
            stream.head.norm.eps = 0.0
            nn.init.constant_(stream.head.fc1.weight, 0.5)
            nn.init.zeros_(stream.head.fc1.bias)
            nn.init.zeros_(stream.head.fc2.weight)
            stream.head.fc2.weight[0, 0] = 3.0

    def forward(self, image, state):
        pose_B7, _ = self.network.localization.head(self.network.localization.conv(image))
        return {"pose_B7": pose_B7}, state


def test_a_known_network_lights_the_corner_up_that_it_depends_on():
    step = OneConv().eval()
    image = torch.ones(1, 3, 4, 5) * torch.tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    image[0, 0, 0, 4] = 2.0
    layers = {"conv": step.network.localization.conv, "last": step.network.localization.head.act}
    head = step.network.localization.head
    explanation = Explanation(layers, head.elu, regression_scalars(head))
    with torch.inference_mode():
        maps = activation_maps(step, (image.clone(), {"past": torch.zeros(1)}), explanation, layers, "position")
    gradient = 3.0 * 0.5 / 20
    expected = torch.zeros(4, 5)
    expected[0, 4] = 20 * gradient / (2 + gradient * 2.0) * 2.0
    torch.testing.assert_close(maps["last"], expected)
    torch.testing.assert_close(maps["conv"], expected)


@pytest.mark.parametrize("preset", ["pose_single", "mtl", "mtl_shared", "mtl_input_concat"])
def test_layers_are_those_that_the_pose_passes_through(preset):
    network = random_network(preset)
    explanation = network.explanation()
    layers = explanation.layers
    units = [f"res{stage}{unit}" for stage, count in ((2, 3), (3, 4), (4, 6), (5, 3)) for unit in "abcdef"[:count]]
    assert list(layers)[: len(units)] == units and list(layers)[-1] == "last"
    assert ("semantic_fusion" in layers) == (preset == "mtl") and ("past_fusion" in layers) == (preset != "pose_single")
    assert layers["res5c"] is network.localization.res5.blocks[2]
    size = {name: (64 // stride, 96 // stride) for name, stride in (("res3d", 8), ("res4c", 16), ("last", 32))}
    frame = (torch.randint(0, 256, (1, *IMAGE_SHAPE, 3), dtype=torch.uint8), torch.tensor([0, 1, 2]))
    inputs = (*frame, torch.eye(3)[None], torch.zeros(1, 1, 1, 1), cold_state_of(network))
    for scalar in ("position", "rotation"):
        chosen = {name: layers[name] for name in size}
        maps = activation_maps(ExportedStep(network).eval(), inputs, explanation, chosen, scalar)
        assert {name: tuple(map_.shape) for name, map_ in maps.items()} == size
        assert all(torch.isfinite(map_).all() and (map_ >= 0).all() for map_ in maps.values())
        assert maps["last"].max() > 0
    assert not any(module._forward_hooks for module in network.modules()), "nothing is left in the network"


def test_of_scene_coordinates_the_solved_pose_is_explained_not_the_regressed_one():
    """Where the solver answers, what the scalar rests on are the coordinates' layers, and the regressor's are none."""
    torch.manual_seed(0)
    network = random_network("stl_coordinates", scene_centre=(0.0, 0.0, 3.0))
    explanation = network.explanation()
    assert list(explanation.layers)[-4:] == ["coordinatesa", "coordinatesb", "coordinatesc", "last"]
    assert not any(name.startswith("res4") for name in explanation.layers)
    frame = (torch.randint(0, 256, (1, *IMAGE_SHAPE, 3), dtype=torch.uint8), torch.tensor([0, 1, 2]))
    inputs = (*frame, torch.tensor([[[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]]), torch.zeros(1, 1, 1, 1), {})
    answer = {"pose_B7": torch.tensor([[3.0, 0, 4, 1, 0, 0, 0]])}
    assert explanation.scalars["position"](answer, torch.zeros(1, 1)).item() == pytest.approx(5.0)
    chosen = {name: explanation.layers[name] for name in ("res3d", "last")}
    for scalar in ("position", "rotation"):
        maps = activation_maps(ExportedStep(network).eval(), inputs, explanation, chosen, scalar)
        assert {name: tuple(map_.shape) for name, map_ in maps.items()} == dict.fromkeys(chosen, (8, 12))
        assert all(torch.isfinite(map_).all() for map_ in maps.values())


# --- the network back from its file, and what is seen of it


def test_the_rebuilt_network_answers_as_the_file_and_its_features_make_its_pose(folder):
    dataset = open_dataset(folder / "wall")
    for name in ("mtl.ts", "stl.ts"):
        model = rebuild(folder / name, "cpu")
        watched = stream_features(model, dataset, "test", [1, 6], ["last", "res4c"], "position")
        expected = stream(load_model(folder / name, "cpu"), dataset, "test")
        np.testing.assert_allclose(watched.pose_N7, expected.pose_N7, atol=1e-4)
        head = model.step.network.localization.head
        position = head.fc2(torch.from_numpy(watched.features_NC).float())  # spread 1 and centre 0 in these models
        np.testing.assert_allclose(position.detach().numpy(), watched.pose_N7[:, :3], atol=1e-5)
        assert set(watched.explanations) == {1, 6} and set(watched.explanations[1].maps) == {"last", "res4c"}
    left, right, bottom, top = watched.explanations[1].view
    # 48 x 64 pixels become 37 x 49 for a crop of 32 x 32, as wide as it is high and in the middle
    assert (right - left) / (bottom - top) == pytest.approx(1, abs=0.02)
    assert (left + right) / 2 == pytest.approx(31.5, abs=1) and watched.explanations[1].mask_HW is None


def test_a_run_is_explained_without_an_export(folder):
    network = random_network("stl_pose")
    run = folder / "run"
    run.mkdir()
    about = {"K_33": ((60.0, 0.0, 31.5), (0.0, 60.0, 23.5), (0.0, 0.0, 1.0)), "map_frame": "lab"}
    saved = {"network_config": config_to_json(network.config), "network_state": network.state_dict(), "about": about}
    save_checkpoint(run / "last.pt", {**saved, "calibration": (1.0, 1.0), "metrics": {}})
    model = rebuild(run, "cpu")
    assert model.path == run / "last.pt" and model.metadata.map_frame == "lab" and not model.step.training
    torch.testing.assert_close(model.step.network.state_dict(), network.state_dict())


def test_a_file_of_another_network_is_refused(folder):
    metadata = read_metadata(folder / "stl.ts")
    for change in ({"width": 0.25}, {"settings": {"past": "memory"}}, {"novel": 1}):
        other = replace(metadata, network={**metadata.network, **change})
        with pytest.raises(ModelFileError, match=r"stl\.ts: its network cannot be built .* export its run again"):
            network_of_file(folder / "stl.ts", other)


# --- embedding


def test_an_embedding_keeps_a_known_configuration():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(40, 2))
    features = plane @ np.linalg.qr(rng.normal(size=(30, 2)))[0].T + rng.normal(size=30)
    pose = np.zeros((40, 7))
    pose[:, 3] = 1.0
    pose[:, [0, 2]] = 3 * plane * [1, -1] + 5  # the room is three times as large, and mirrored
    found = embed(features, pose, (0, 2))
    np.testing.assert_allclose(found.points_N2, (plane - plane.mean(axis=0)) * [1, -1], atol=1e-3)
    np.testing.assert_allclose(found.points_N3[:, [0, 2]], found.points_N2, atol=1e-3)
    assert found.stress_2 < 1e-3 and found.stress_3 < 1e-3 and found.rank_position > 0.9999
    assert np.isnan(found.rank_rotation), "nothing turns"
    again = embed(features, pose, (0, 2))
    np.testing.assert_array_equal(again.points_N3, found.points_N3)


def test_stress_says_what_two_dimensions_cannot_hold():
    corners = np.eye(4)  # a tetrahedron in four dimensions: every pair equally far
    pose = np.array([[i, 0, 0, 1, 0, 0, 0] for i in range(4)], float)
    found = embed(corners, pose, (0, 1))
    assert found.stress_3 < 1e-3 and 0.1 < found.stress_2 < 0.3 and np.isnan(found.rank_position)
    nothing = embed(np.ones((5, 3)), np.concatenate([pose, pose[:1]]), (0, 1))
    assert np.isnan(nothing.stress_2) and np.isnan(nothing.rank_position) and not nothing.points_N2.any()


# --- scene


def read_ply(path: Path) -> tuple[list[str], np.ndarray]:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    kinds = {"float": "<f4", "uchar": "u1"}
    lines = header.decode("ascii").splitlines()
    dtype = [(line.split()[2], kinds[line.split()[1]]) for line in lines if line.startswith("property")]
    return lines, np.frombuffer(body, dtype)


def test_ply_is_read_back(tmp_path):
    points = np.random.default_rng(0).normal(size=(7, 3))
    colors = np.arange(21, dtype=np.uint8).reshape(7, 3)
    line = polyline([np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 1]]), np.array([[5.0, 5, 5]])], (230, 159, 0), 0.25)
    write_ply(tmp_path / "a.ply", {"scene": Cloud(points, colors), "estimate": line}, "Küche")
    lines, vertices = read_ply(tmp_path / "a.ply")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"] and "element vertex 17" in lines
    assert "comment metres in the frame 'K\\xfcche'" in lines and "comment 10 points: estimate" in lines
    assert len(vertices) == 17
    for i, axis in enumerate("xyz"):
        np.testing.assert_array_equal(vertices[axis][:7], points[:, i].astype(np.float32))
    np.testing.assert_array_equal(np.stack([vertices[c][:7] for c in ("red", "green", "blue")], 1), colors)
    assert (vertices["z"][7:12] == [0, 0.25, 0.5, 0.75, 1.0]).all() and vertices[-1].tolist() == (5, 5, 5, 230, 159, 0)


def test_the_wall_is_where_it_is(folder):
    frames = open_dataset(folder / "wall").frames("train")
    cloud = fuse(frames, voxel_m=0.1)
    np.testing.assert_allclose(cloud.points_N3[:, 2], WALL_M, atol=1e-6)
    x = np.array([frame.pose_7[0] for frame in frames])
    half = WALL_M * IMAGE_SHAPE[1] / 2 / 60
    assert cloud.points_N3[:, 0].min() == pytest.approx(x.min() - half, abs=0.1)
    assert cloud.points_N3[:, 0].max() == pytest.approx(x.max() + half, abs=0.1)
    cells = np.floor(cloud.points_N3 / 0.1)
    assert len(np.unique(cells, axis=0)) == len(cells), "one point for each voxel"
    image = frames[0].image()
    mapped = ((cloud.points_N3[:, :2] - frames[0].pose_7[:2]) * 60 / WALL_M + [31.5, 23.5]).round().astype(int)
    inside = ((mapped >= 3) & (mapped < [61, 45])).all(axis=1)
    # blocks of one colour are 20 pixels wide: voxels at their borders mix two
    there = image[mapped[inside, 1], mapped[inside, 0]].astype(int)
    difference = np.abs(there - cloud.colors_N3[inside]).mean()
    assert 3 * difference < np.abs(there[::-1] - cloud.colors_N3[inside]).mean()
    np.testing.assert_array_equal(fuse(frames, voxel_m=0.1).points_N3, cloud.points_N3)
    assert len(fuse(frames).points_N3) > len(cloud.points_N3) and not len(fuse([]).points_N3)


def test_a_voxel_has_the_mean_of_its_points():
    points = np.array([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [-0.1, 0.1, 0.1], [0.1, 0.1, 7.0]])
    colors = np.array([[0, 10, 20], [10, 30, 40], [1, 2, 3], [4, 5, 6]], np.uint8)
    kept, mixed = thin(points, colors, 0.5)
    np.testing.assert_allclose(kept, [[-0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.1, 0.1, 7.0]])
    np.testing.assert_array_equal(mixed, [[1, 2, 3], [5, 20, 30], [4, 5, 6]])


def test_the_views_of_a_scene_are_not_mirrored():
    for eye in eyes(View(1, 0)):  # a map whose z points down
        axes = np.stack(eye)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1) and eye.towards_3[2] < 0


def test_two_models_never_share_a_name(folder):
    one, two = rebuild(folder / "stl.ts", "cpu"), rebuild(folder / "stl.ts", "cpu")
    assert model_names([one]) == ["stl_pose"]
    assert model_names([one, replace(two, path=Path("runs/b/best.pt"))])[1] == "stl_pose b/best.pt"
    assert len(set(model_names([one, two]))) == 2


def test_frames_are_spread():
    assert spread(400, 4) == [50, 150, 250, 350] and spread(3, 9) == [0, 1, 2] and spread(0, 4) == []


# --- the command


def test_the_command_writes_everything(folder, capsys):
    out = folder / "out"
    words = ["explain", str(folder / "mtl.ts"), str(folder / "wall"), "--beside", str(folder / "stl.ts")]
    words += ["--out", str(out), "--frames", "2", "--layer", "last", "res4c", "--scalar", "rotation", "--pdf"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "rank with position" in said.out and "explaining mtl.ts on test" in said.err
    pictures = {f"{name}.{kind}" for name in ("activation", "embedding", "scene") for kind in ("png", "pdf")}
    assert {path.name for path in out.iterdir()} == {
        *pictures, "embedding.csv", "scene.ply", "explain.json", "explain.md"}  # fmt: skip
    for picture in sorted(pictures):
        if picture.endswith(".png"):
            pixels = cv2.imread(str(out / picture))
            assert pixels.shape[1] > 800 and pixels.std() > 10, picture
    page = (out / "explain.md").read_text()
    assert "![scene](scene.png)" in page and "last, res4c" in page and "| stl_pose |" in page
    assert set(json.loads((out / "explain.json").read_text())) == {"mtl_no_warp", "stl_pose"}
    rows = (out / "embedding.csv").read_text().splitlines()
    assert rows[0].startswith("# ") and "'lab', metres" in rows[0] and len([r for r in rows if r[0] != "#"]) == 17
    lines, vertices = read_ply(out / "scene.ply")
    assert "comment metres in the frame 'lab'" in lines and (vertices["z"] > 2.9).any()
    assert any(line.endswith("points: estimate (orange)") for line in lines)


def test_without_depth_and_masks_the_trajectories_alone(folder, capsys):
    write_wall(folder / "bare", {"test": 3}, depth=False, masks=False)
    out = folder / "bare_out"
    words = ["explain", str(folder / "stl.ts"), str(folder / "bare"), "--out", str(out), "--frames", "1"]
    assert main([*words, "--points", "5"]) == 0
    assert (
        "there is no scene" in (out / "explain.md").read_text()
        and "comment 0 points: scene" in read_ply(out / "scene.ply")[0]
    )
    assert len((out / "embedding.csv").read_text().splitlines()) == 3 + 1 + 5


def test_mistakes_get_one_line(folder, tmp_path, capsys):
    with FolderWriter(tmp_path / "unposed") as writer:
        for i in range(5):
            image = np.full((*IMAGE_SHAPE, 3), i, np.uint8)
            writer.add("a", "test", (i + 1) * 10**8, image, np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]))
    (tmp_path / "file").write_text("")
    stl, wall, out = str(folder / "stl.ts"), str(folder / "wall"), str(tmp_path / "out")
    for words, reason in [
        ([stl, str(tmp_path / "unposed")], "split 'test' has 0 frames with a ground-truth pose"),
        ([stl, wall, "--layer", "res9z"], "has no layer 'res9z' on the way to its pose; there are res2a, "),
        ([stl, wall, "--split", "tset"], "no split 'tset'"),
        ([stl, wall, "--points", "3"], "--points: 3 is not at least 4"),
        ([str(tmp_path / "absent.ts"), wall], "absent.ts: no such file"),
        ([str(tmp_path), wall], "is a folder, but not that of a training run"),
        ([str(tmp_path / "file"), wall], "is not a model file"),
        ([stl, wall, "--beside", str(tmp_path / "absent.onnx")], "absent.onnx: no such file"),
    ]:
        assert main(["explain", *words, "--out", out]) == 2, words
        said = capsys.readouterr().err
        assert reason in said and said.startswith("vlocnetpp: ") and said.count("\n") == 1, said
    assert main(["explain", stl, wall, "--out", str(tmp_path / "file")]) == 2
    assert "file: is not a folder" in capsys.readouterr().err
    for option in (["--voxel", "0"], ["--frames", "none"], ["--scalar", "depth"]):
        with pytest.raises(SystemExit):
            main(["explain", stl, wall, "--out", out, *option])
    assert not (tmp_path / "out").exists(), "nothing is left behind"


def test_a_model_without_poses_has_nothing_to_explain(folder, tmp_path):
    model = rebuild(folder / "stl.ts", "cpu")
    odometry = rebuild(export_random(tmp_path / "odometry.ts", "stl_odometry"), "cpu")
    for models in ([odometry], [model, odometry]):
        with pytest.raises(ExplainError, match=r"preset 'stl_odometry' answers no pose \(odometry\)"):
            explain(models, open_dataset(folder / "wall"), tmp_path / "out")
    with pytest.raises(ExplainError, match="scalar 'depth' does not exist"):
        explain([model], open_dataset(folder / "wall"), tmp_path / "out", Options(scalar="depth"))
    assert not (tmp_path / "out").exists()


def test_an_answer_that_is_no_number_is_an_error(folder):
    model = rebuild(folder / "stl.ts", "cpu")
    with torch.no_grad():
        model.step.network.localization.head.fc2.weight.fill_(float("nan"))
    with pytest.raises(ExplainError, match="its answer to test-00/000000 is not finite"):
        stream_features(model, open_dataset(folder / "wall"), "test", [], ["last"], "position")
