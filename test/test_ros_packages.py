"""cv_bridge, message_filters and tf_transformations, and what stands in for them: both ways give the same.

Rows that need one of them are skipped where it is not installed or does not load.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")

from sensor_msgs.msg import Image
from transforms3d import quaternions

from vlocnetpp_ros import environment, frames, images
from vlocnetpp_ros.pairing import LONGEST, FilteredPairing, Pairing

HEIGHT, WIDTH = 6, 8


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes packages absent for one test."""

    def remove(*names: str) -> None:
        attempt = environment._attempt
        gone = dict.fromkeys(names, (None, "is not installed"))
        monkeypatch.setattr(environment, "_attempt", lambda name: gone.get(name) or attempt(name))

    return remove


def loaded(name: str) -> Any:
    """The package, or a skipped test that says why."""
    package = environment.load(name)
    if package is None:
        pytest.skip(f"the ROS package {name} {environment.why_not(name)}")
    return package


# Which of them loads.


@pytest.fixture
def fresh() -> Any:
    """Nothing is known of what loads, before and after."""
    environment._attempt.cache_clear()
    yield
    environment._attempt.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("cv_bridge", "message_filters")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("raise ImportError('numpy.core.multiarray failed to import')", "numpy.core.multiarray failed to import"),
        ("raise AttributeError('_ARRAY_API not found')", "_ARRAY_API not found"),
    ],
)
def test_a_cv_bridge_that_is_built_for_another_numpy_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None, error: str, why: str
) -> None:
    """cv_bridge itself can be imported even then; it is its compiled part that cannot."""
    boost = tmp_path / "cv_bridge" / "boost"
    boost.mkdir(parents=True)
    (tmp_path / "cv_bridge" / "__init__.py").touch()
    (boost / "__init__.py").touch()
    (boost / "cv_bridge_boost.py").write_text(error)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "cv_bridge"]:
        monkeypatch.delitem(sys.modules, name)
    assert environment.has("cv_bridge")
    assert environment.load("cv_bridge") is None
    assert environment.why_not("cv_bridge") == f"does not load ({why})"


def test_a_package_that_loads_has_no_excuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    (tmp_path / "message_filters.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "message_filters", raising=False)
    found = environment.load("message_filters")
    assert found is not None
    assert found.__file__ == str(tmp_path / "message_filters.py")
    assert environment.why_not("message_filters") == ""


# cv_bridge.


def message(encoding: str, bytes_per_pixel: int, big: int = 0) -> Image:
    """Smooth, so that the ways to fill a Bayer pattern in do not differ by much at its edges."""
    data = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH * bytes_per_pixel), dtype=np.uint8)
    return Image(
        height=HEIGHT, width=WIDTH, encoding=encoding, is_bigendian=big, step=data.shape[1], data=data.tobytes()
    )


@pytest.mark.parametrize(
    ("encoding", "bytes_per_pixel"),
    [
        *images.CHANNELS.items(),
        ("mono16", 2),
        *((name, size) for name, (size, _) in images.CONVERTED.items() if name not in ("uyvy", "yuyv")),
    ],
)
def test_cv_bridge_sees_what_is_seen_without_it(encoding: str, bytes_per_pixel: int) -> None:
    loaded("cv_bridge")
    it = message(encoding, bytes_per_pixel)
    bridged = images.through_cv_bridge(it)
    pixels, now = images.pixels(it)
    # It scales 65535 to 255, we take the high byte.
    np.testing.assert_allclose(images.to_rgb(pixels, now), bridged, atol=1 if encoding == "mono16" else 0)


@pytest.mark.parametrize("encoding", ["bayer_rggb16", "bayer_bggr16", "bayer_gbrg16", "bayer_grbg16"])
def test_with_cv_bridge_a_bayer_pattern_of_16_bits_is_one_of_8(encoding: str) -> None:
    loaded("cv_bridge")
    eight = message(encoding.replace("16", "8"), 1)
    levels = np.frombuffer(bytes(eight.data), np.uint8).astype("<u2") * 257
    sixteen = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=2 * WIDTH, data=levels.tobytes())
    np.testing.assert_allclose(images.pixels(sixteen)[0], images.pixels(eight)[0], atol=1)


@pytest.mark.parametrize("changes", [{"data": b"123"}, {"step": 8}, {"height": 0}])
def test_with_cv_bridge_a_wrong_image_is_refused(changes: dict[str, Any]) -> None:
    loaded("cv_bridge")
    wrong = message("rgb16", 6)
    for name, value in changes.items():
        setattr(wrong, name, value)
    with pytest.raises(images.BadImage) as caught:
        images.pixels(wrong)
    assert caught.value.reason == "wrong size"


@pytest.mark.parametrize("padding", [1, 5, 12])
@pytest.mark.parametrize("big", [0, 1])
def test_with_cv_bridge_padding_and_byte_order_do_not_matter(padding: int, big: int) -> None:
    loaded("cv_bridge")
    levels = np.random.default_rng(2).integers(0, 65535, (HEIGHT, WIDTH, 3)).astype(">u2" if big else "<u2")
    rows = np.pad(levels.view(np.uint8).reshape(HEIGHT, -1), ((0, 0), (0, padding)), constant_values=77)
    it = Image(height=HEIGHT, width=WIDTH, encoding="rgb16", is_bigendian=big, step=rows.shape[1], data=rows.tobytes())
    pixels, now = images.pixels(it)
    assert now == "rgb8"
    np.testing.assert_allclose(pixels, levels.astype(np.float64) / 257, atol=1)


def test_without_cv_bridge_the_reason_names_it(without: Any) -> None:
    without("cv_bridge")
    with pytest.raises(images.BadImage, match=r"'rgb16' is none of .*; cv_bridge, which knows more, is not installed"):
        images.pixels(message("rgb16", 6))


COLOR = (200, 120, 40)
FIRST_ROWS = {"rggb": "RG", "bggr": "BG", "gbrg": "GB", "grbg": "GR"}


@pytest.mark.parametrize("pattern", FIRST_ROWS)
def test_a_bayer_pattern_of_one_colour_is_that_colour(pattern: str) -> None:
    """By the definition in sensor_msgs/image_encodings: the four pixels of the first two rows, in order."""
    cell = np.array([COLOR["rgb".index(channel)] for channel in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(cell, (HEIGHT // 2, WIDTH // 2))
    it = Image(height=HEIGHT, width=WIDTH, encoding=f"bayer_{pattern}8", step=WIDTH, data=mosaic.tobytes())
    pixels, now = images.pixels(it)
    assert now == "rgb8"
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.array(COLOR, np.uint8), (HEIGHT, WIDTH, 3)))


# message_filters.


class Bench:
    """A pairing whose images and depths are their own stamps."""

    def __init__(self, kind: Any, tolerance_ns: int) -> None:
        self.said: list[tuple[str, Any]] = []
        self.pairing = kind(
            tolerance_ns,
            lambda image, depth: self.said.append(("pair", (image, depth))),
            lambda image: self.said.append(("alone", image)),
        )

    def tell(self, events: list[tuple[bool, int]]) -> None:
        for is_image, stamp in events:
            (self.pairing.image if is_image else self.pairing.depth)(stamp, stamp)


def filtered(tolerance_ns: int, on_pair: Any, on_unpaired: Any) -> FilteredPairing[int, int]:
    return FilteredPairing(loaded("message_filters"), tolerance_ns, on_pair, on_unpaired)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=60),
    st.sampled_from([0, 1, 10, 40]),
    st.booleans(),
)
def test_message_filters_finds_the_same_pairs(events: list[tuple[bool, int]], tolerance: int, in_order: bool) -> None:
    """Of a stream and of anything else, with every image that goes alone in between."""
    events = sorted(events, key=lambda event: event[1]) if in_order else events
    ours, theirs = Bench(Pairing, 1_000_000 * tolerance), Bench(filtered, 1_000_000 * tolerance)
    nanoseconds = [(is_image, 1_000_000 * stamp) for is_image, stamp in events]
    for bench in (ours, theirs):
        bench.tell(nanoseconds)
        bench.pairing.clear()
    assert theirs.said == ours.said


def test_an_error_in_what_is_done_with_a_pair_does_not_stop_message_filters() -> None:
    calls = []

    def fail(image: int, depth: int) -> None:
        calls.append(image)
        raise RuntimeError("once")

    pairing = filtered(10, fail, calls.append)
    for stamp in (100, 200):
        pairing.image(stamp, stamp)
        with pytest.raises(RuntimeError, match="once"):
            pairing.depth(stamp, stamp)
    assert calls == [100, 200]


@pytest.mark.parametrize("kind", [Pairing, filtered])
def test_both_are_bounded_and_let_the_oldest_go(kind: Any) -> None:
    bench = Bench(kind, 10)
    bench.tell([(True, 100 * i) for i in range(LONGEST + 3)])
    assert bench.said == [("alone", 0), ("alone", 100), ("alone", 200)]


# tf_transformations.


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_rotation_matrices_are_those_of_transforms3d_with_or_without_tf_transformations(q: list[float]) -> None:
    q_4 = np.array(q) / np.linalg.norm(q)
    expected = quaternions.quat2mat(q_4)
    found = [frames.rotation_matrix(q_4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "_attempt", lambda name: (None, "is not installed"))
        found.append(frames.rotation_matrix(q_4))
    for each in found:
        np.testing.assert_allclose(each, expected, atol=1e-12)


def test_with_tf_transformations_it_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    transformations = loaded("tf_transformations")
    asked = []
    real = transformations.quaternion_matrix
    monkeypatch.setattr(transformations, "quaternion_matrix", lambda q: asked.append(q) or real(q))
    frames.rotation_matrix(np.array([1.0, 0.0, 0.0, 0.0]))
    assert asked == [(0.0, 0.0, 0.0, 1.0)]
