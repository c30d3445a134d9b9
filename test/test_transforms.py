"""Laws of the paired transforms: pixels, depth, mask, K and pose go together; light changes nothing but the image."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlocnetpp.data import VOID, DataError
from vlocnetpp.data.new_views import ViewConfig
from vlocnetpp.data.transforms import GeometricConfig, PhotometricConfig, change_light, warp_together
from vlocnetpp.geometry import compose, inverse, pixel_grid, resized_shape, rotate, rotation_angle, scale_intrinsics
from vlocnetpp.network.preprocess import resize_depth

LENGTH, HEIGHT, WIDTH = 2, 40, 56
K_33 = torch.tensor([[50.0, 0, 26.0], [0, 54.0, 21.5], [0, 0, 1]])
EVERYTHING = GeometricConfig(
    probability=1.0, rotation_deg=30.0, translation=0.1, scale=0.5, crop=0.3, shear_deg=8.0, flip=0.5
)
DARK = PhotometricConfig(0.0, 0.0, 0.0, 0.0)
"""Everything off."""
seeds = st.integers(0, 2**32 - 1)


def coordinates() -> torch.Tensor:
    """An image whose red is its x and whose green is its y: after any change it tells where each pixel came from."""
    x, y = pixel_grid(HEIGHT, WIDTH, torch.zeros(1)).unbind(-1)
    return torch.stack((x, y, torch.full_like(x, 100.0))).expand(LENGTH, 3, HEIGHT, WIDTH)


def clip_of(posed=1.0):
    rng = np.random.default_rng(0)
    quaternion = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(LENGTH, 4))), dim=1)
    return (
        coordinates(),
        torch.from_numpy(rng.uniform(1, 4, (LENGTH, 1, HEIGHT, WIDTH)).astype(np.float32)),
        torch.from_numpy(rng.integers(0, 6, (LENGTH, HEIGHT, WIDTH), dtype=np.uint8)),
        K_33.expand(LENGTH, 3, 3),
        torch.cat((torch.from_numpy(rng.normal(size=(LENGTH, 3))), quaternion * quaternion[:, :1].sign()), dim=1),
        torch.full((LENGTH,), posed),
    )


def inside_of(image_L3HW):
    """Pixels whose colour is not the repeated border's."""
    x, y = image_L3HW[:, 0], image_L3HW[:, 1]
    return (x > 0.01) & (x < WIDTH - 1.01) & (y > 0.01) & (y < HEIGHT - 1.01)


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_a_point_is_seen_by_the_new_camera_where_its_pixel_went(seed):
    """The pixel says where it was before; through old K and pose into the world and back through the new ones."""
    clip = clip_of()
    image, _, _, K, pose, posed = warp_together(*clip, EVERYTHING.rigid(), np.random.default_rng(seed))
    assert posed.all()
    was = image.permute(0, 2, 3, 1).double()
    ray = torch.stack((was[..., 0], was[..., 1], torch.ones_like(was[..., 0])), -1) @ torch.linalg.inv(K_33.double()).T
    points = 2.5 * ray.flatten(1, 2)
    moved = compose(inverse(pose), clip[4])
    there = rotate(moved[:, None, 3:], points) + moved[:, None, :3]
    seen = there @ K.double().transpose(1, 2)
    pixels = (seen[..., :2] / seen[..., 2:]).unflatten(1, (HEIGHT, WIDTH))
    inside = inside_of(image)
    assert inside.float().mean() > 0.05
    expected = pixel_grid(HEIGHT, WIDTH, pixels).expand_as(pixels)
    assert (pixels - expected)[inside].abs().max() < 2e-3
    assert torch.allclose(there[..., 2], points[..., 2])


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_depth_and_mask_are_those_of_the_nearest_pixel(seed):
    clip = clip_of()
    image, depth, mask, *_ = warp_together(*clip, EVERYTHING, np.random.default_rng(seed))
    x, y = image[:, 0], image[:, 1]
    # Halfway between two pixels either may be the nearest.
    clear = inside_of(image) & ((x % 1 - 0.5).abs() > 0.01) & ((y % 1 - 0.5).abs() > 0.01)
    frame = torch.arange(LENGTH)[:, None, None].expand_as(x)[clear]
    row, column = y[clear].round().long(), x[clear].round().long()
    assert clear.float().mean() > 0.05
    assert torch.equal(mask[clear], clip[2][frame, row, column])
    assert torch.equal(depth[:, 0][clear], clip[1][frame, 0, row, column])


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_no_id_and_no_depth_is_invented(seed):
    clip = clip_of()
    image, depth, mask, *_ = warp_together(*clip, EVERYTHING, np.random.default_rng(seed))
    assert set(mask.unique().tolist()) <= set(clip[2].unique().tolist()) | {VOID}
    assert torch.isin(depth, torch.cat((clip[1].flatten(), torch.zeros(1)))).all()
    assert torch.equal(mask == VOID, depth[:, 0] == 0)
    assert image.min() >= 0 and image.max() <= max(WIDTH, HEIGHT, 100.01)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_all_frames_change_alike_and_one_generator_gives_one_clip(seed):
    first = warp_together(*clip_of(), EVERYTHING, np.random.default_rng(seed))
    again = warp_together(*clip_of(), EVERYTHING, np.random.default_rng(seed))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(first[0][0], first[0][1]) and torch.equal(first[3][0], first[3][1])


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [({"scale": 0.5}, 1 / 1.5, 1.5), ({"crop": 0.3}, 1.0, 1 / 0.7), ({"rotation_deg": 9.0}, 1.0, 1.0)],
    ids=["scale", "crop", "rotation"],
)
def test_zoom_and_roll_stay_within_what_was_asked_and_reach_it(change, low, high):
    clip = clip_of()
    zooms, rolls = [], []
    for seed in range(40):
        changed = warp_together(*clip, GeometricConfig(probability=1.0, **change), np.random.default_rng(seed))
        K, pose = changed[3][0], changed[4]
        zooms.append((K[0, 0] / K_33[0, 0]).item())
        assert K[1, 1] / K_33[1, 1] == pytest.approx(zooms[-1], rel=1e-5)
        rolls.append(torch.rad2deg(rotation_angle(clip[4][:1, 3:], pose[:1, 3:])).item())
        assert torch.allclose(pose[:, :3], clip[4][:, :3])
        if "crop" in change:  # the window lies within the image
            assert inside_of(changed[0])[:, 1:-1, 1:-1].all()
    assert low - 1e-5 <= min(zooms) < low * 1.1 + 1e-5 and high / 1.1 - 1e-5 < max(zooms) <= high + 1e-5
    most = change.get("rotation_deg", 0.0)
    assert 0.9 * most - 1e-5 <= max(rolls) <= most + 1e-5


def test_translation_moves_the_principal_point_by_up_to_its_share():
    config = GeometricConfig(probability=1.0, translation=0.1)
    shifts = []
    for seed in range(40):
        K = warp_together(*clip_of(), config, np.random.default_rng(seed))[3][0]
        shifts.append(((K - K_33)[:2, 2] / torch.tensor([WIDTH, HEIGHT])).abs().max().item())
        assert torch.equal(K[:2, :2], K_33[:2, :2])
    assert 0.09 < max(shifts) <= 0.1 + 1e-6


@pytest.mark.parametrize("change", [{"shear_deg": 5.0}, {"flip": 1.0}])
def test_what_no_camera_could_see_has_no_pose(change):
    config = GeometricConfig(probability=1.0, **change)
    assert not warp_together(*clip_of(), config, np.random.default_rng(0))[5].any()
    kept = warp_together(*clip_of(), config.rigid(), np.random.default_rng(0))
    assert kept[5].all() and torch.allclose(kept[0], coordinates(), atol=1e-3)


def test_a_flip_mirrors():
    clip = clip_of()
    image, depth, mask, *_ = warp_together(*clip, GeometricConfig(probability=1.0, flip=1.0), np.random.default_rng(0))
    assert torch.allclose(image, clip[0].flip(-1), atol=1e-3)
    assert torch.equal(depth, clip[1].flip(-1)) and torch.equal(mask, clip[2].flip(-1))


def test_geometry_off_changes_nothing():
    clip = clip_of()
    same = warp_together(*clip, GeometricConfig(), np.random.default_rng(0))
    assert all(a is b for a, b in zip(same, clip, strict=True))
    by_nothing = warp_together(*clip, GeometricConfig(probability=1.0), np.random.default_rng(0))
    assert all(torch.allclose(a.double(), b.double(), atol=1e-3) for a, b in zip(by_nothing, clip, strict=True))
    assert torch.equal(by_nothing[2], clip[2]) and torch.equal(by_nothing[1], clip[1])


@settings(deadline=None, max_examples=20)
@given(st.integers(24, 64), st.integers(24, 64), st.booleans(), seeds)
def test_k_follows_the_robots_resize_and_any_crop(rows_in, columns_in, whole, seed):
    """The nearest pixel of a resized and cropped coordinate image lies where the new K says, to half a pixel."""
    rows, columns = resized_shape(HEIGHT, WIDTH, rows_in, columns_in, whole)
    rng = np.random.default_rng(seed)
    top, left = int(rng.integers(0, rows - rows_in + 1)), int(rng.integers(0, columns - columns_in + 1))
    crop = (slice(None), slice(None), slice(top, top + rows_in), slice(left, left + columns_in))
    was = resize_depth(coordinates()[:1, :2], rows, columns)[crop][0].permute(1, 2, 0)
    K = scale_intrinsics(K_33, columns / WIDTH, rows / HEIGHT, left, top)
    focal, centre = torch.stack((K_33[0, 0], K_33[1, 1])), K_33[:2, 2]
    ray = (was - centre) / focal
    now = ray * torch.stack((K[0, 0], K[1, 1])) + K[:2, 2]
    scale = torch.tensor([columns / WIDTH, rows / HEIGHT])
    assert ((now - pixel_grid(rows_in, columns_in, now)).abs() <= 0.5 * scale + 1e-3).all()


def picture(length=3) -> torch.Tensor:
    """The same smooth image with a bright corner in every frame."""
    rng = np.random.default_rng(1)
    coarse = torch.from_numpy(rng.uniform(40, 200, (1, 3, 5, 7)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear").expand(length, -1, -1, -1)


SINGLE = [
    {"brightness": 0.5}, {"contrast": 0.5}, {"colour": 0.3}, {"noise": 8.0}, {"exposure": 1.0}, {"temperature": 60.0},
    {"blur": 3.0}, {"motion_blur": 9.0}, {"cutout": 3},
]  # fmt: skip


@pytest.mark.parametrize("change", SINGLE, ids=lambda change: next(iter(change)))
def test_each_change_is_the_generators_alone_and_within_the_range(change):
    config = PhotometricConfig(**{**DARK.__dict__, **change})
    before = picture()
    kept = before.clone()
    after, again = (change_light(before, config, np.random.default_rng(7)) for _ in range(2))
    assert after.shape == before.shape and after.dtype == torch.float32
    assert torch.equal(before, kept) and torch.equal(after, again)
    assert not torch.allclose(after, before, atol=0.5)
    assert not torch.equal(after, change_light(before, config, np.random.default_rng(8)))
    assert after.min() >= 0 and after.max() <= 255
    moves = "noise" in change or "cutout" in change
    assert torch.equal(after[0], after[1]) != moves


@pytest.mark.parametrize("kind", [PhotometricConfig, GeometricConfig, ViewConfig])
def test_a_setting_out_of_its_limits_is_refused_by_name(kind):
    for name in (f.name for f in fields(kind) if f.type != "bool"):
        for value in (-0.5, 1e6, float("nan")):
            with pytest.raises(DataError, match=rf"^[a-z ]+: {name} \S+ is n[^\n]+$"):
                kind(**{name: value})


def test_light_off_changes_nothing():
    assert torch.equal(change_light(picture(), DARK, np.random.default_rng(0)), picture())
    numbers = [f.name for f in fields(PhotometricConfig) if f.name != "cutout_share"]
    assert {next(iter(change)) for change in SINGLE} == set(numbers)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_any_light_stays_within_the_range(seed):
    config = PhotometricConfig(0.9, 0.9, 0.5, 30.0, 3.0, 150.0, 4.0, 12.0, 4, 0.3)
    image = torch.from_numpy(np.random.default_rng(seed).choice([0.0, 128.0, 255.0], (2, 3, 12, 16)).astype(np.float32))
    after = change_light(image, config, np.random.default_rng(seed))
    assert torch.isfinite(after).all() and after.min() >= 0 and after.max() <= 255


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_exposure_multiplies_the_light_and_clips(seed):
    config = PhotometricConfig(**{**DARK.__dict__, "exposure": 2.0})
    image = torch.linspace(1, 255, 256).expand(1, 3, 4, 256)
    after = change_light(image, config, np.random.default_rng(seed))
    light = (after / 255) ** 2.2 / (image / 255) ** 2.2
    open_ = after < 254.99
    gain = light[open_].median()
    assert 0.25 <= gain <= 4 and torch.allclose(light[open_], gain.expand(int(open_.sum())), rtol=1e-3)
    assert (gain * (image / 255) ** 2.2)[~open_].ge(0.999).all()


@pytest.mark.parametrize("kelvin", [4000, 5000, 8000, 10000])
def test_colour_temperature_is_plancks(kelvin):
    """The ratio of two black bodies' light, red and blue relative to green, from the full law."""
    from scipy.constants import c, h, k

    from vlocnetpp.data.transforms import GAMMA, WAVELENGTH_NM, _temperature_gains

    metres = np.array(WAVELENGTH_NM) * 1e-9

    def radiance(T):
        return 1 / metres**5 / np.expm1(h * c / (metres * k * T))

    expected = radiance(kelvin) / radiance(6500)
    gains = _temperature_gains(1e6 / kelvin - 1e6 / 6500).numpy().ravel() ** GAMMA
    assert gains == pytest.approx(expected / expected[1], rel=0.04)


def test_a_box_covers_up_to_its_share_and_keeps_its_size():
    config = PhotometricConfig(**{**DARK.__dict__, "cutout": 1, "cutout_share": 0.2})
    # Colours are random floats: none is that of what a box covers.
    black = torch.zeros(4, 3, HEIGHT, WIDTH)
    shares, corners = [], []
    for seed in range(100):
        covered = (change_light(black, config, np.random.default_rng(seed)) != 0).any(dim=1)
        areas = covered.sum(dim=(1, 2))
        assert len(areas.unique()) == 1
        shares.append(areas[0].item() / (HEIGHT * WIDTH))
        for frame in covered:
            rows, columns = frame.any(dim=1).sum(), frame.any(dim=0).sum()
            assert rows * columns == areas[0]
        corners.append(torch.equal(covered[0], covered[3]))
    assert max(shares) <= 0.2 and max(shares) > 0.17 and np.mean(shares) == pytest.approx(0.09, abs=0.03)
    assert np.mean(corners) < 0.3


@settings(deadline=None, max_examples=15)
@given(seeds, st.integers(1, 4), st.floats(0.02, 0.3))
def test_boxes_cover_no_more_than_their_shares(seed, boxes, share):
    config = PhotometricConfig(**{**DARK.__dict__, "cutout": boxes, "cutout_share": share})
    covered = change_light(torch.zeros(3, 3, HEIGHT, WIDTH), config, np.random.default_rng(seed)).any(dim=1)
    assert (covered.float().mean(dim=(1, 2)) <= boxes * share + 1e-6).all()


def test_a_shake_spreads_a_point_along_a_line():
    config = PhotometricConfig(**{**DARK.__dict__, "motion_blur": 9.0})
    point = torch.zeros(1, 3, 41, 41)
    point[..., 20, 20] = 255
    lengths = []
    for seed in range(20):
        spread = change_light(point, config, np.random.default_rng(seed))[0, 0]
        assert spread.sum() == pytest.approx(255, rel=1e-3)
        y, x = (spread > 1).nonzero().double().unbind(1)
        weight = spread[spread > 1].double()
        cloud = torch.stack((x - 20, y - 20)) * weight.sqrt() / weight.sum().sqrt()
        thin, along = torch.linalg.eigvalsh(cloud @ cloud.T).clamp_min(0).sqrt().tolist()
        assert thin < 0.75
        lengths.append(along * 12**0.5)
    assert max(lengths) > 5 and max(lengths) < 11


def test_a_lens_out_of_focus_has_the_spread_that_was_drawn():
    config = PhotometricConfig(**{**DARK.__dict__, "blur": 3.0})
    point = torch.zeros(1, 3, 61, 61)
    point[..., 30, 30] = 255
    sigmas = []
    for seed in range(20):
        spread = change_light(point, config, np.random.default_rng(seed))[0, 1].double()
        assert spread.sum() == pytest.approx(255, rel=1e-3)
        sigmas.append(((spread.sum(0) * (torch.arange(61) - 30) ** 2).sum() / 255).sqrt().item())
    assert max(sigmas) <= 3.01 and max(sigmas) > 2 and min(sigmas) < 1
