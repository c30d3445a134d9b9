"""Image messages to pixels: every encoding, every way to be wrong; without DDS."""

from __future__ import annotations

import contextlib
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ros_peers import jpeg, picture
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from vlocnetpp.data.bags import messages as bag_messages
from vlocnetpp_ros import camera_info, compressed, environment, images


def image(encoding: str, channels: int, padding: int = 0, height: int = 5, width: int = 7) -> tuple[Image, np.ndarray]:
    rows = np.random.default_rng(0).integers(0, 255, (height, width * channels + padding), dtype=np.uint8)
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1])
    message.data = rows.tobytes()
    return message, rows[:, : width * channels].reshape((height, width, channels) if channels > 1 else (height, width))


@pytest.mark.parametrize("padding", [0, 9])
@pytest.mark.parametrize(("encoding", "channels"), images.CHANNELS.items())
def test_an_image_is_viewed_in_place_whatever_its_padding(encoding: str, channels: int, padding: int) -> None:
    message, expected = image(encoding, channels, padding)
    view = images.pixels(message)[0]
    np.testing.assert_array_equal(view, expected)
    # numpy holds a view, not a copy: the message's bytes show through.
    message.data[0] ^= 255
    assert view.flat[0] == expected.flat[0] ^ 255


@pytest.mark.parametrize(("encoding", "channels"), images.CHANNELS.items())
def test_every_backend_that_is_installed_sees_the_same_pixels(encoding: str, channels: int) -> None:
    message, expected = image(encoding, channels)  # rosbags-image 0.10 does not know of padding
    rosbags_image = pytest.importorskip("rosbags.image")
    np.testing.assert_array_equal(np.squeeze(rosbags_image.message_to_cvimage(message)), expected)
    if (bridge := environment.load("cv_bridge")) is not None:
        message, expected = image(encoding, channels, padding=3 * channels)  # it misreads a part of a pixel
        seen = bridge.CvBridge().imgmsg_to_cv2(message)
        # Some versions keep the padding as pixels, or an axis of one channel.
        np.testing.assert_array_equal(np.squeeze(seen)[:, : expected.shape[1]], expected)


def test_sixteen_bits_of_grey_keep_the_high_byte_in_either_byte_order() -> None:
    levels = np.array([[0, 255, 256, 65535]], np.uint16)
    for big, kind in ((0, "<u2"), (1, ">u2")):
        message = Image(height=1, width=4, encoding="mono16", step=8, is_bigendian=big)
        message.data = levels.astype(kind).tobytes()
        seen, encoding = images.pixels(message)
        assert encoding == "mono8" and seen.tolist() == [[0, 0, 1, 255]]


@pytest.mark.parametrize("encoding", [name for name in images.CONVERTED if "yu" in name])
def test_yuv_is_converted_to_rgb(encoding: str) -> None:
    """Against the definition of BT.601 in video range, at pixels that share their chroma."""
    y, u, v = 120, 100, 180
    pair = (u, y, v, y) if "uyvy" in encoding or encoding == "yuv422" else (y, u, y, v)
    message = Image(height=2, width=4, encoding=encoding, step=8, data=bytes(pair) * 4)
    seen, now = images.pixels(message)
    red = 1.164 * (y - 16) + 1.596 * (v - 128)
    green = 1.164 * (y - 16) - 0.813 * (v - 128) - 0.391 * (u - 128)
    blue = 1.164 * (y - 16) + 2.018 * (u - 128)
    assert now == "rgb8" and seen.shape == (2, 4, 3)
    np.testing.assert_allclose(seen, np.broadcast_to([red, green, blue], (2, 4, 3)), atol=1.5)
    with pytest.raises(images.BadImage, match="even width"):
        images.pixels(Image(height=2, width=3, encoding=encoding, step=6, data=bytes(12)))


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"encoding": "h264"}, "unknown encoding", "h264"),
        ({"encoding": ""}, "unknown encoding", "rgb8"),
        ({"height": 6}, "wrong size", "105 bytes, but 7 x 6"),
        ({"height": 0}, "wrong size", "7 x 0"),
        ({"width": 0}, "wrong size", "0 x 5"),
        ({"step": 20}, "wrong size", "step is 20"),
        ({"step": 2**32 - 1}, "wrong size", "bytes"),
        ({"data": b""}, "wrong size", "0 bytes"),
    ],
)
def test_a_wrong_image_says_what_is_wrong(changes: dict, reason: str, says: str) -> None:
    message, _ = image("rgb8", 3)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(images.BadImage, match=says) as caught:
        images.pixels(message)[0]
    assert caught.value.reason == reason


def test_the_last_row_needs_no_padding() -> None:
    message, expected = image("rgb8", 3, padding=9)
    message.data = message.data[:-9]
    np.testing.assert_array_equal(images.pixels(message)[0], expected)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_images_decode_to_bgr(suffix: str) -> None:
    rgb = picture(1)
    data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
    decoded = compressed.decode(CompressedImage(format=suffix[1:], data=data))
    difference = np.abs(images.to_rgb(decoded, "bgr8").astype(int) - rgb)
    assert difference.mean() < (3 if suffix == ".jpg" else 1e-9)


def test_an_orientation_tag_does_not_turn_the_pixels_away_from_camera_info() -> None:
    plain = jpeg(1)
    tag = struct.pack("<2sHLHHHLHHL", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(tag)) + b"Exif\0\0" + tag
    turned = plain[:2] + exif + plain[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape != picture(1).shape
    assert compressed.decode(CompressedImage(data=turned)).shape == picture(1).shape


@pytest.mark.parametrize("data", [b"", b"no image", jpeg(1)[:200], jpeg(1)[:-300], b"\x89PNG\r\n\x1a\n"])
def test_what_is_not_a_whole_compressed_image_is_refused(data: bytes) -> None:
    with pytest.raises(images.BadImage) as caught:
        compressed.decode(CompressedImage(format="jpeg", data=data))
    assert caught.value.reason == "undecodable"


def png_claims(width: int, height: int, bits: int = 8) -> bytes:
    """A PNG whose header says so, with next to nothing behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return compressed.PNG_START + chunk + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def jpeg_claims(width: int, height: int) -> bytes:
    data = bytearray(jpeg(1))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("make", [png_claims, jpeg_claims])
def test_a_few_bytes_that_claim_an_image_of_gigabytes_are_refused_before_they_are_decoded(make) -> None:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    with pytest.raises(images.BadImage, match="30000 x 30000 pixels are more than 64 million"):
        compressed.decode(CompressedImage(data=make(30000, 30000)))
    with pytest.raises(images.BadImage, match="it says 72 x 48, the image has 8000 x 8000") as caught:
        compressed.decode(CompressedImage(data=make(8000, 8000)), (72, 48))
    assert caught.value.reason == "camera_info of another size"
    assert time.perf_counter() - began < 0.1


def test_only_jpeg_and_png_of_eight_bits_are_decoded() -> None:
    bgr = picture(1)
    for suffix in (".bmp", ".webp", ".tiff", ".ppm"):
        with pytest.raises(images.BadImage, match="neither JPEG nor PNG"):
            compressed.decode(CompressedImage(format=suffix[1:], data=cv2.imencode(suffix, bgr)[1].tobytes()))
    deep = cv2.imencode(".png", bgr.astype(np.uint16) * 257)[1].tobytes()
    with pytest.raises(images.BadImage, match="16 bits a channel, it must have 8"):
        compressed.decode(CompressedImage(format="png", data=deep))


@pytest.mark.parametrize("flags", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]])
def test_the_size_is_read_from_every_kind_of_jpeg(flags: list[int]) -> None:
    data = cv2.imencode(".jpg", picture(1), flags)[1].tobytes()
    assert compressed.read_header(data) == compressed.Header(picture(1).shape[1], picture(1).shape[0], 8)


@given(data=st.binary(max_size=300), keep=st.integers(0, 600), flip=st.integers(0, 600))
@settings(max_examples=60, deadline=None)
def test_no_bytes_do_more_than_be_refused(data: bytes, keep: int, flip: int) -> None:
    broken = bytearray(jpeg(1)[:keep] + data)
    if flip < len(broken):
        broken[flip] ^= 0xFF
    with contextlib.suppress(images.BadImage):
        compressed.decode(CompressedImage(data=bytes(broken)))


def test_masks_are_coloured_and_unlabelled_pixels_stay() -> None:
    palette = images.palette((("a", (10, 20, 30)), ("b", (200, 100, 50))))
    mask = np.array([[0, 1, 255]], np.uint8)
    colors = images.colored(mask, palette)
    assert colors.tolist() == [[[10, 20, 30], [200, 100, 50], [0, 0, 0]]]
    pixels = np.full((1, 3, 3), 100, np.uint8)
    assert images.overlay(pixels, colors, mask, 0.5).tolist() == [[[55, 60, 65], [150, 100, 75], [100, 100, 100]]]
    back = images.image_message(Header(frame_id="c"), colors, "rgb8")
    np.testing.assert_array_equal(images.pixels(back)[0], colors)
    assert (back.step, back.header.frame_id) == (9, "c")


def test_a_camera_without_focal_length_is_not_calibrated() -> None:
    assert camera_info.camera(CameraInfo(), "/image") is None
    assert camera_info.camera(CameraInfo(k=[float("nan")] * 9), "/image") is None


@pytest.mark.parametrize("topic", ["/camera/image_raw", "/camera/image_rect"])
@pytest.mark.parametrize("d", [[], [0.1, 0.0, 0.0, 0.0, 0.0]])
def test_intrinsics_are_read_as_they_are_for_training(topic: str, d: list[float]) -> None:
    k = [5.0, 0.0, 2.0, 0.0, 6.0, 1.5, 0.0, 0.0, 1.0]
    p = [7.0, 0.0, 2.5, 0.0, 0.0, 8.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    message = CameraInfo(width=4, height=3, k=k, d=d, p=p)
    camera = camera_info.camera(message, topic)
    assert camera is not None
    np.testing.assert_array_equal(camera.K_33, bag_messages.camera(message, topic, "here").K_33)
    assert (camera.height, camera.width) == (3, 4)


@pytest.mark.parametrize("k", [[0.0] * 9, [float("nan")] * 9])
def test_a_rectified_camera_without_k_has_what_p_says_and_a_raw_one_is_not_calibrated(k: list[float]) -> None:
    p = [7.0, 0.0, 2.5, 0.0, 0.0, 8.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    message = CameraInfo(width=4, height=3, k=k, p=p)
    camera = camera_info.camera(message, "/camera/image_rect")
    assert camera is not None
    np.testing.assert_array_equal(camera.K_33, bag_messages.camera(message, "/camera/image_rect", "here").K_33)
    assert camera_info.camera(message, "/camera/image_raw") is None
