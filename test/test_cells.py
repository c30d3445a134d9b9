"""The buffer of cells and what is trained on it: the camera that slides before a coloured wall."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import real_data
from torch import Tensor
from wall_dataset import WALL_M, write_wall

from vlocnetpp.data import DataError, open_dataset, triangulation
from vlocnetpp.data.transforms import GeometricConfig
from vlocnetpp.data.triangulation import triangulate
from vlocnetpp.export.onnx import OPSET, quiet
from vlocnetpp.geometry import rotate
from vlocnetpp.network import NetworkConfig, configure
from vlocnetpp.network.blocks.cell_coordinates import CellCoordinates, cell_rays
from vlocnetpp.network.blocks.efficientnet_lite import EfficientNetLite, load_imagenet
from vlocnetpp.network.blocks.hypercolumns import STRIDE, Hypercolumns
from vlocnetpp.network.blocks.mahalanobis import MahalanobisScore
from vlocnetpp.network.blocks.pose_hypotheses import PoseHypotheses
from vlocnetpp.training import cell_training, cell_views, cells
from vlocnetpp.training.cell_training import CellTraining, CellTrainingConfig, cell_loss
from vlocnetpp.training.cell_views import training_views, triangulated
from vlocnetpp.training.cells import CellBuffer, Cells, View, open_cells
from vlocnetpp.training.clips import FrameStore, open_store
from vlocnetpp.training.config import AugmentConfig

HEIGHT, WIDTH = 64, 96
CELLS = HEIGHT // STRIDE * (WIDTH // STRIDE)
AUGMENT = AugmentConfig(
    brightness=0.2, contrast=0.1, colour=0.0, noise=1.0,
    geometric=GeometricConfig(probability=1.0, rotation_deg=15, scale=0.2),
)  # fmt: skip


class Front(torch.nn.Module):
    """The frozen front of a network; counts the images that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.front = EfficientNetLite().eval()
        load_imagenet(self.front)
        self.columns = Hypercolumns(self.front.channels)
        self.images, self.killed_after = 0, 10**9

    @torch.no_grad()
    def forward(self, image_B3HW: Tensor) -> Tensor:
        if self.images >= self.killed_after:
            raise KeyboardInterrupt
        self.images += len(image_B3HW)
        return self.columns(*self.front(image_B3HW))


@pytest.fixture(scope="module")
def config() -> NetworkConfig:
    return configure("stl_coordinates", 0.125, height=HEIGHT, width_px=WIDTH, resize="whole")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, config: NetworkConfig) -> FrameStore:
    root = write_wall(tmp_path_factory.mktemp("wall") / "wall", {"train": 10, "test": 2}, masks=False)
    return open_store(open_dataset(root).sequences("train"), config, "wall", None, with_depth=True)


@pytest.fixture(scope="module")
def plain_store(tmp_path_factory: pytest.TempPathFactory, config: NetworkConfig) -> FrameStore:
    """The same without depth."""
    root = write_wall(tmp_path_factory.mktemp("wall") / "plain", {"train": 10}, depth=False, masks=False)
    return open_store(open_dataset(root).sequences("train"), config, "wall", None)


@pytest.fixture(scope="module")
def measured(store: FrameStore) -> Front:
    front = Front()
    front.columns.measure([front.front(torch.from_numpy(store.image_N3HW[:8]).float())])
    return front


@pytest.fixture
def front(measured: Front) -> Front:
    measured.images, measured.killed_after = 0, 10**9
    return measured


def build(folder: Path, store: FrameStore, config: NetworkConfig, front: Front, augmentations: int = 1, **options):
    posed, view = training_views(store, config, AUGMENT, 3, options.pop("points", None))
    count = (1 + augmentations) * posed
    settings = options.pop("settings", ("wall",))
    return open_cells(folder, count, view, front, front.columns.channels, STRIDE, (HEIGHT, WIDTH), settings, **options)


def points_of(store: FrameStore) -> Callable[[], list[np.ndarray]]:
    return cache(lambda: triangulate(lambda i: store.image_N3HW[i], store.K_N33, store.pose_N7))


def everything(buffer: CellBuffer) -> Cells:
    return buffer.take(torch.arange(len(buffer)))


def test_cells_are_the_features_and_places_of_the_images(tmp_path, store, config, front):
    buffer = build(tmp_path, store, config, front)
    assert buffer.views == front.images == 40
    assert everything(buffer).features_NC.shape[1] == 568
    found = everything(buffer)
    # Unaugmented images come first and keep all their cells.
    first = front(torch.from_numpy(store.image_N3HW[:1]).float())[0].flatten(1).t()
    torch.testing.assert_close(found.features_NC[:CELLS].float(), first, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(found.pooled_NC[0], first.mean(dim=0), rtol=1e-3, atol=1e-3)
    assert found.known_N.all()
    torch.testing.assert_close(found.point_N3[:, 2], torch.full((len(buffer),), WALL_M), rtol=0, atol=1e-3)
    # In every augmentation a camera at that pose sees the point along that ray.
    distance = (found.point_N3 - found.pose_N7[:, :3]).norm(dim=1, keepdim=True)
    seen = rotate(found.pose_N7[:, 3:], found.ray_N3) * distance + found.pose_N7[:, :3]
    torch.testing.assert_close(seen, found.point_N3, rtol=0, atol=2e-3)
    assert len(buffer) < 40 * CELLS, "augmented images lack their filled borders"
    assert (found.pose_N7[-1, 3:] - found.pose_N7[0, 3:]).abs().max() > 0.01


def test_without_depth_the_filled_borders_are_left_out_as_well(tmp_path, plain_store, config, front):
    buffer = build(tmp_path, plain_store, config, front)
    found = everything(buffer)
    assert not found.known_N.any()
    assert (found.point_N3 == 0).all()
    assert 20 * CELLS < len(buffer) < 40 * CELLS
    centre, spread = extent(buffer)
    assert abs(centre[2]) < 1e-3
    assert spread > 0.3, "of the cameras"


def test_without_depth_triangulated_keypoints_say_where_cells_are(tmp_path, plain_store, config, front):
    buffer = build(tmp_path, plain_store, config, front, points=points_of(plain_store))
    found = everything(buffer)
    known_N = found.known_N
    assert 0.01 < known_N.float().mean() < 0.9
    assert (found.point_N3[known_N, 2] - WALL_M).abs().median() < 0.05
    distance = (found.point_N3 - found.pose_N7[:, :3]).norm(dim=1, keepdim=True)
    seen = rotate(found.pose_N7[:, 3:], found.ray_N3) * distance + found.pose_N7[:, :3]
    torch.testing.assert_close(seen[known_N], found.point_N3[known_N], rtol=0, atol=2e-3)
    centre, _ = extent(buffer)
    assert abs(centre[2] - WALL_M) < 0.5


def test_where_some_images_have_depth_keypoints_say_it_of_the_others(tmp_path, store, config, front):
    deep_N = np.arange(len(store.names)) < 6
    assert triangulation.wanted(deep_N) and not triangulation.wanted([True] * 20 + [False])
    some = replace(store, depth_NHW=store.depth_NHW * deep_N[:, None, None], deep_N=deep_N)
    said: list[str] = []
    triangulated(some, said.append)
    assert said[0].startswith(f"{len(store.names) - 6} of {len(store.names)} images have no depth: ")
    found = everything(build(tmp_path, some, config, front, augmentations=0, points=points_of(some)))
    first, second = slice(0, 6 * CELLS), slice(6 * CELLS, None)
    assert found.measured_N[first].all() and not found.measured_N[second].any()
    known_N = found.known_N[second]
    assert 0.01 < known_N.float().mean() < 0.9
    assert (found.point_N3[second][known_N, 2] - WALL_M).abs().median() < 0.05


def test_poses_that_do_not_fit_the_images_are_said(plain_store, monkeypatch):
    right = sum(map(len, points_of(plain_store)())) / len(plain_store.names)
    monkeypatch.setattr(cell_views, "FEW_POINTS", right / 2)  # the wall has little texture
    mixed = torch.randperm(len(plain_store.names), generator=torch.Generator().manual_seed(0))
    for poses_N7, few in ((plain_store.pose_N7, False), (plain_store.pose_N7[mixed], True)):
        said: list[str] = []
        points = triangulated(replace(plain_store, pose_N7=poses_N7), said.append)
        assert ("too few to be used; the poses may not fit" in said[0]) is few
        assert len(points) == len(plain_store.names)
        assert (sum(map(len, points)) == 0) is few


def test_without_depth_and_keypoints_the_cameras_say_where_the_place_is(tmp_path, plain_store, config, front):
    blank = replace(plain_store, image_N3HW=np.full_like(plain_store.image_N3HW, 90))
    buffer = build(tmp_path, blank, config, front, points=points_of(blank))
    assert not everything(buffer).known_N.any()
    centre, spread = extent(buffer)
    assert abs(centre[2]) < 1e-3
    assert spread > 0.3, "of the cameras"


def test_a_killed_build_goes_on_and_answers_the_same(tmp_path, store, config, front, monkeypatch):
    monkeypatch.setattr(cells, "BATCH", 4)
    monkeypatch.setattr(cells, "FLUSHED", 2)
    whole = everything(build(tmp_path / "whole", store, config, front))
    front.images, front.killed_after = 0, 20
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "killed", store, config, front)
    assert {path.suffix for path in (tmp_path / "killed").iterdir()} == {".partial", ".lock"}
    front.images, front.killed_after = 0, 10**9
    continued = everything(build(tmp_path / "killed", store, config, front))
    assert front.images == 40 - 16, "two flushes of two batches of four were kept"
    for one, other in zip(vars(whole).values(), vars(continued).values(), strict=True):
        assert torch.equal(one, other)


def test_it_is_built_once_and_again_where_something_changes(tmp_path, store, config, front):
    build(tmp_path, store, config, front, augmentations=0)
    assert front.images == 20
    build(tmp_path, store, config, front, augmentations=0)
    assert front.images == 20
    build(tmp_path, store, config, front, augmentations=0, settings=("wall", "another front"))
    assert front.images == 40
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_it_stays_below_its_bound(tmp_path, store, config, front):
    bound = 20 * 70 * 1168 + 20 * (568 + 7) * 4
    buffer = build(tmp_path, store, config, front, augmentations=0, largest_bytes=bound)
    assert len(buffer) == 20 * 70
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.bin")) <= bound
    with pytest.raises(DataError, match=r"may take 0\.0 GB, in which 20 images would keep 0 of their 96 cells"):
        build(tmp_path, store, config, front, augmentations=0, largest_bytes=1000)


def test_what_fits_is_what_is_not_refused(tmp_path, store, config, front, monkeypatch):
    for bound in (1000, 20 * 70 * 1168 + 20 * (568 + 7) * 4):
        monkeypatch.setattr(cells, "LARGEST_BYTES", bound)
        if cells.fits(20, 568, STRIDE, (HEIGHT, WIDTH)):
            build(tmp_path, store, config, front, augmentations=0, largest_bytes=bound)
        else:
            with pytest.raises(DataError, match="may take"):
                build(tmp_path, store, config, front, augmentations=0, largest_bytes=bound)
    assert cells.fits(20, 568, STRIDE, (HEIGHT, WIDTH)), "the larger bound"


def test_a_buffer_has_its_room_on_the_disk_before_it_is_filled(tmp_path, store, config, front, monkeypatch):
    build(tmp_path / "made", store, config, front, augmentations=0)
    files = list((tmp_path / "made").rglob("*.bin"))
    assert files and all(file.stat().st_blocks * 512 >= file.stat().st_size for file in files)

    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match="cannot hold the buffer of cells"):
        build(tmp_path / "full", store, config, front)
    assert not [path for path in (tmp_path / "full").iterdir() if path.is_dir()]


def test_a_full_disk_and_a_damaged_file_are_named(tmp_path, store, config, front, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"cannot hold the buffer of cells of 0\.\d GB: no space left"):
        build(tmp_path, store, config, front)
    monkeypatch.undo()
    build(tmp_path, store, config, front, augmentations=0)
    file = next(tmp_path.rglob("features.bin"))
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"features.bin: is damaged; delete"):
        build(tmp_path, store, config, front, augmentations=0)


def test_views_that_cannot_teach_are_refused(tmp_path, front):
    nothing = View(
        torch.zeros(3, HEIGHT, WIDTH), torch.eye(3), torch.tensor([0.0, 0, 0, 1, 0, 0, 0]),
        torch.zeros(HEIGHT, WIDTH), torch.zeros(HEIGHT, WIDTH, dtype=torch.bool),
    )  # fmt: skip
    with pytest.raises(DataError, match="no cell of any image"):
        open_cells(tmp_path, 2, lambda i: nothing, front, 568, STRIDE, (HEIGHT, WIDTH), ())


def extent(buffer: CellBuffer) -> tuple[tuple[float, float, float], float]:
    """Mean of the known points and their largest standard deviation along an axis, metres."""
    points_N3 = buffer.places()
    x, y, z = points_N3.mean(dim=0).tolist()
    return (x, y, z), float(points_N3.std(dim=0).max())


def head_of(buffer: CellBuffer, descriptor: int = 0) -> CellCoordinates:
    torch.manual_seed(0)
    return CellCoordinates(buffer.pooled().shape[1], 64, 1, descriptor, *extent(buffer))


def trained(training: CellTraining, steps: int) -> list[dict[str, float]]:
    """What each of so many steps returns."""
    return [training.step(i / steps) for i in range(steps)]


def solved(store: FrameStore, front: Front, head: CellCoordinates, frame: int) -> Tensor:
    """Error in metres of the pose of a frame."""
    with torch.no_grad():
        found = head(front(torch.from_numpy(store.image_N3HW[frame : frame + 1]).float()))[0].flatten(1).t()
    rays = cell_rays(store.K_N33[frame : frame + 1], HEIGHT // STRIDE, WIDTH // STRIDE, STRIDE)
    start = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]])
    pose = PoseHypotheses()(start, found[None, :, :3], found[None, :, 3], rays).pose_B7[0]
    return (pose[:3] - store.pose_N7[frame, :3]).norm()


@pytest.mark.parametrize("descriptor", [0, 8])
def test_a_head_trained_on_cells_localizes(tmp_path, store, config, front, descriptor):
    buffer = build(tmp_path, store, config, front, augmentations=0)
    training = CellTraining(head_of(buffer, descriptor), buffer, CellTrainingConfig(cells=512, half=False))
    shown = trained(training, 250)
    assert shown[-1]["distance_m"] < 0.05 < shown[0]["distance_m"]
    assert max(solved(store, front, training.head, i) for i in (0, 9, 15)) < 0.08


def two_equal_doors(mislabelled_m: float = 0.0, origin: float = cells.MEASURED) -> CellBuffer:
    """Forty images of two doors, 10 m apart, whose cells have equal features; only the images as a whole differ.

    Labels may be wrong by a distance, and of another origin.
    """
    generator = np.random.default_rng(0)
    door = generator.normal(size=(30, 16)).astype(np.float16)
    on_door = generator.uniform(-1, 1, (30, 3)).astype(np.float32) + np.float32([0, 0, 4])
    place, pooled, pose = [], [], []
    for image in range(40):
        x = 10.0 * (image % 2)
        place.append(np.column_stack((on_door + np.float32([x, 0, 0]), np.full(30, origin, np.float32))))
        pooled.append(generator.normal(image % 2, 0.2, 16))
        pose.append([x, 0, 0, 1, 0, 0, 0])
    return CellBuffer(
        {
            "features": np.tile(door, (40, 1)),
            "place": np.concatenate(place) + np.float32([0, 0, mislabelled_m, 0]),
            "ray": np.tile(on_door / np.linalg.norm(on_door, axis=1, keepdims=True), (40, 1)),
            "view": np.repeat(np.arange(40, dtype=np.int32), 30),
            "pose": np.array(pose, np.float32),
            "pooled": np.array(pooled, np.float32),
        }
    )


@pytest.mark.parametrize(("descriptor", "parted"), [(8, True), (0, False)])
def test_a_descriptor_of_the_image_parts_places_that_look_alike_from_near(descriptor, parted):
    buffer = two_equal_doors()
    training = CellTraining(head_of(buffer, descriptor), buffer, CellTrainingConfig(cells=256, half=False))
    assert (trained(training, 300)[-1]["distance_m"] < 0.5) == parted


@pytest.mark.parametrize(("descriptor", "regions"), [(0, 0), (8, 0), (0, 5)])
def test_a_head_scripts_and_exports(tmp_path, descriptor, regions):
    import onnxruntime

    torch.manual_seed(0)
    head = CellCoordinates(40, 32, 2, descriptor, (1.0, 2.0, 3.0), 4.0, regions).eval()
    head.fit_regions(5.0 * torch.randn(200, 3))
    features = torch.randn(2, 40, 4, 6)
    expected = head(features).detach()
    assert expected.shape == (2, 4, 4, 6)
    each = head.of_cells(features.flatten(2).transpose(1, 2), features.mean(dim=(2, 3))[:, None])
    torch.testing.assert_close(each.transpose(1, 2).unflatten(2, (4, 6)), expected)
    torch.testing.assert_close(torch.jit.freeze(torch.jit.script(head))(features), expected)
    assert head.bfloat16()(features.bfloat16()).dtype == torch.float32, "metres are formed in full precision"
    path = tmp_path / "head.onnx"
    with quiet():
        torch.onnx.export(head.float(), (features,), str(path), dynamo=True, opset_version=OPSET, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: features.numpy()})
    np.testing.assert_allclose(found, head(features).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_regions_are_the_same_each_time_and_the_same_in_half_precision():
    generator = torch.Generator().manual_seed(1)
    places_R3 = torch.tensor([[0.0, 0, 0], [40, 0, 0], [40, 30, 0]])
    points_N3 = places_R3[torch.randint(3, (900,), generator=generator)] + torch.randn(900, 3, generator=generator)
    first, second = CellCoordinates(8, 16, regions=12), CellCoordinates(8, 16, regions=12)
    first.fit_regions(points_N3)
    second.fit_regions(points_N3)
    assert torch.equal(first.centre_R3, second.centre_R3)
    away = torch.cdist(places_R3, first.centre_R3).amin(dim=1)
    assert away.max() < 1.5 and 0.3 < first.region_spread < 5
    assert torch.equal(first.half().centre_R3.float(), second.centre_R3)
    assert torch.equal(first.half().region_spread.float(), second.region_spread)


def test_without_depth_reprojection_teaches_the_places(tmp_path, plain_store, config, front):
    buffer = build(tmp_path, plain_store, config, front, augmentations=0)
    training = CellTraining(head_of(buffer), buffer, CellTrainingConfig(cells=512, half=False))
    trained(training, 400)
    assert not everything(buffer).known_N.any()
    assert max(solved(plain_store, front, training.head, i) for i in (0, 9, 15)) < 0.15


def test_without_depth_triangulated_labels_teach_the_places(tmp_path, plain_store, config, front):
    buffer = build(tmp_path, plain_store, config, front, augmentations=0, points=points_of(plain_store))
    assert everything(buffer).known_N.any()
    training = CellTraining(head_of(buffer), buffer, CellTrainingConfig(cells=512, half=False))
    shown = trained(training, 400)
    assert max(solved(plain_store, front, training.head, i) for i in (0, 9, 15)) < 0.15
    assert set(shown[-1]) == {"cells", "off_ray_m"}, "distances from labels that are wrong themselves are not shown"


def test_half_precision_trains_as_well(tmp_path, store, config, front):
    buffer = build(tmp_path, store, config, front, augmentations=0)
    training = CellTraining(head_of(buffer), buffer, CellTrainingConfig(cells=512))
    assert trained(training, 250)[-1]["distance_m"] < 0.06


@pytest.mark.parametrize(("multiplies", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_hidden_layers_are_bfloat16_where_the_processor_multiplies_it(multiplies, dtype, monkeypatch):
    monkeypatch.setattr(cell_training, "multiplies_bf16", lambda: multiplies)
    buffer = two_equal_doors()
    training = CellTraining(head_of(buffer), buffer, CellTrainingConfig(cells=8))
    found = []
    training.head.fc_in.register_forward_hook(lambda module, inputs, output: found.append(output.dtype))
    training.step(0.5)
    assert found == [dtype]


def test_the_loss_does_not_pull_unlabelled_points_into_the_camera():
    pose = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]])
    ray = torch.nn.functional.normalize(torch.tensor([[0.1, 0.0, 1.0]]), dim=1)
    found = torch.tensor([[0.0, 0.0, 2.0, 0.0]], requires_grad=True)
    unknown = Cells(torch.zeros(1, 1), torch.zeros(1, 3), *2 * [torch.tensor([False])], ray, pose, torch.zeros(1, 1))
    cell_loss(found, unknown, 0.25, 0.0)[0].backward()
    along = (found.grad[0, :3] * torch.nn.functional.normalize(found.detach()[0, :3], dim=0)).sum()
    assert abs(along) < 1e-5
    assert found.grad[0, 0] < -0.5


def test_the_score_tells_other_images_from_training_images():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(40, 40, generator=generator) * torch.linspace(0.05, 1, 40)
    training = torch.randn(60, 40, generator=generator) @ mix
    more = torch.randn(200, 40, generator=generator) @ mix
    other = torch.randn(200, 40, generator=generator) * more.std(dim=0)
    score = MahalanobisScore(40)
    assert (score(other) == 1).all()
    score.measure(training)
    assert abs(score(training).square().mean().sqrt() - 1) < 1e-4
    assert (score(more)[:, None] < score(other)[None, :]).float().mean() > 0.9
    torch.testing.assert_close(torch.jit.script(score)(more), score(more))
    with pytest.raises(ValueError, match="at least two images"):
        score.measure(training[:1])


def test_the_score_tells_a_street_and_a_covered_lens_from_a_kitchen(measured):
    """On real images: frames of a kitchen sequence that was not measured on stay below all that is no kitchen."""
    kitchen, streets = real_data("redkitchen"), real_data("camvid")

    def images(paths: list[Path]) -> Tensor:
        read = [cv2.resize(cv2.imread(str(path))[..., ::-1], (160, 120)) for path in paths]
        return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).float()

    def sequence(name: str, step: int) -> list[Path]:
        return sorted((kitchen / name).glob("*.color.jpg"))[::step]

    known = images([path for n in (1, 3, 4, 5, 6, 7) for path in sequence(f"seq-0{n}", 10)])
    columns = Hypercolumns(measured.front.channels)
    with torch.no_grad():
        columns.measure([measured.front(known)])

        def pooled(image_B3HW: Tensor) -> Tensor:
            return columns(*measured.front(image_B3HW)).mean(dim=(2, 3))

        score = MahalanobisScore(columns.channels)
        score.measure(pooled(known))
        new = score(pooled(images(sequence("seq-08", 6))))
        street = score(pooled(images(sorted(streets.glob("val/*.jpg"))[::12])))
        black = score(pooled(torch.zeros(1, 3, 120, 160)))
        noise = score(pooled(255 * torch.rand(4, 3, 120, 160, generator=torch.Generator().manual_seed(0))))
    assert len(street) > 3
    assert new.max() < min(street.min(), black.min(), noise.min())


def test_triangulated_labels_guide_the_beginning_and_not_the_end():
    guided = two_equal_doors(origin=cells.TRIANGULATED).take(torch.arange(60))
    unknown = replace(guided, known_N=torch.zeros_like(guided.known_N))
    found = torch.cat((guided.point_N3 + 0.3, torch.zeros(60, 1)), dim=1).requires_grad_()

    def gradient(given: Cells, share: float) -> Tensor:
        return torch.autograd.grad(cell_loss(found, given, 0.25, share)[0], found)[0]

    torch.testing.assert_close(gradient(guided, 1.0), gradient(unknown, 0.0))
    along = (gradient(guided, 0.0)[:, :3] * guided.ray_N3).sum(dim=1)
    assert along.abs().median() > 3e-4, "a label moves points along their rays"

    def after_a_step(mislabelled_m: float, share: float) -> CellCoordinates:
        training = CellTraining(
            head_of(two_equal_doors()),
            two_equal_doors(mislabelled_m, cells.TRIANGULATED),
            CellTrainingConfig(64, half=False),
        )
        training.step(share)
        return training.head

    for share, same in ((0.5, False), (1.0, True)):
        right, wrong = (after_a_step(metres, share).fc_out.weight for metres in (0.0, 5.0))
        assert torch.equal(right, wrong) is same
