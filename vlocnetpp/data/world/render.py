"""From scene and drive to frames on disk. MuJoCo is needed here and only here (optional extra `render`)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError
from vlocnetpp.data.world import driving, scene
from vlocnetpp.progress import track

MAX_DEPTH_M = 60.0
"""Farther surfaces, and the sky, have depth 0 (unknown)."""
LENS_BLUR_PX = 0.7
"""Standard deviation of the lens blur."""
_APART_NS = 600 * 1_000_000_000
_NO_MUJOCO = "rendering needs MuJoCo, which is not installed: pip install mujoco (the optional extra 'render')"
_NO_GL = (
    "no way to render without a display: neither EGL nor OSMesa works here; "
    "install one of them: apt install libegl1 libgl1-mesa-dri, or: apt install libosmesa6"
)


@dataclass(frozen=True)
class Recording:
    """One uninterrupted drive."""

    sequence: str
    split: str
    style: driving.Style
    frames: int
    number: int
    """Which recording it is; with the seed it decides the weather and where people stand."""


@dataclass(frozen=True)
class View:
    """What the camera sees from one pose."""

    image_HW3: NDArray[np.uint8]
    """RGB."""
    depth_HW: NDArray[np.float32]
    """Metres along z at the pixel's centre, 0 where unknown."""
    mask_HW: NDArray[np.uint8]
    """Class ids, indices of `scene.CLASSES`."""


def intrinsics(width: int, height: int) -> NDArray[np.float64]:
    """K (3, 3) of the camera: square pixels, centre of the first pixel at (0, 0), principal point in the middle."""
    focal = height / 2 / np.tan(scene.FOVY / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def recordings(laps: int, frames_per_lap: int, test_frames: int, val_frames: int) -> list[Recording]:
    """The drives of a dataset: training loops in turn of their styles, then test and validation."""
    styles = driving.TRAINING
    train = [
        Recording(f"train-{lap + 1:02d}", "train", styles[lap % len(styles)], frames_per_lap, lap)
        for lap in range(laps)
    ]
    return [
        *train,
        Recording("test-01", "test", driving.TEST, test_frames, 1001),
        Recording("val-01", "val", driving.VALIDATION, val_frames, 1002),
    ]


def render_world(
    root: Path,
    *,
    seed: int = 0,
    width: int = 320,
    height: int = 240,
    laps: int = 6,
    frames_per_lap: int = 300,
    test_frames: int = 400,
    val_frames: int = 120,
) -> None:
    """Render the courtyard into a new dataset folder with splits train, test and val.

    Poses and stamps depend on the seed alone, pixels on the seed and the machine's OpenGL. Raises DataError if `root`
    exists, if a number makes no sense, or if MuJoCo or OpenGL is missing.
    """
    from vlocnetpp.data.layouts.folder import FolderWriter

    for name, value in (("width", width), ("height", height), ("laps", laps), ("frames_per_lap", frames_per_lap)):
        if value < 1:
            raise DataError(f"{name} must be at least 1, not {value}")
    drives = [r for r in recordings(laps, frames_per_lap, test_frames, val_frames) if r.frames > 0]
    K_33 = intrinsics(width, height)
    with FolderWriter(root, scene.CLASSES, map_frame="map") as writer, Camera(seed, width, height) as camera:
        shots = _shots(drives, seed, camera)
        for drive, stamp_ns, pose_7, view in track(shots, f"rendering {root.name}", sum(r.frames for r in drives)):
            writer.add(drive.sequence, drive.split, stamp_ns, view.image_HW3, K_33, pose_7, view.depth_HW, view.mask_HW)


def drive_recording(recording: Recording, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Stamps (N,) and poses (N, 7) of a recording: those of `driving.drive`, recordings ten minutes apart."""
    stamps, poses_N7 = driving.drive(recording.style, recording.frames, _rng(seed, recording, 2))
    return stamps + recording.number * _APART_NS, poses_N7


def _shots(drives: list[Recording], seed: int, camera: Camera) -> Iterator[tuple[Recording, int, NDArray, View]]:
    for recording in drives:
        camera.prepare(recording)
        for stamp_ns, pose_7 in zip(*drive_recording(recording, seed), strict=True):
            yield recording, int(stamp_ns), pose_7, camera.look(pose_7)


def _rng(seed: int, recording: Recording, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose, recording.number])


@final
class Camera:
    """The courtyard on the graphics device; a context manager, because that memory has to be given back."""

    def __init__(self, seed: int, width: int, height: int) -> None:
        self._seed = seed
        self._mujoco = mujoco = _mujoco()
        smooth, exact = scene.build_scene(seed, width, height, 4), scene.build_scene(seed, width, height, 0)
        self._model = mujoco.MjModel.from_xml_string(smooth.xml, smooth.files)
        self._data = mujoco.MjData(self._model)
        # Anti-aliasing would blend depths across edges, so geometry is rendered without it, by a twin of the model.
        twin = mujoco.MjModel.from_xml_string(exact.xml, exact.files)
        try:
            self._color = mujoco.Renderer(self._model, height, width)
            self._geometry = mujoco.Renderer(twin, height, width)
        except Exception as error:
            # What OpenGL's loaders raise differs (ImportError, AttributeError, FatalError); to the user it is the same.
            raise DataError(f"{_NO_GL} (MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: {error})") from error
        labels = self._model.geom_user[:, 0].astype(np.uint8)
        self._label_of_geom = np.append(labels, np.uint8(scene.SKY))  # index -1: nothing was hit
        self._rig = self._mocap("camera")

    def __enter__(self) -> Camera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._color.close()
        self._geometry.close()

    def prepare(self, recording: Recording) -> None:
        """Set the light and put people, car, cart and boxes where they are in this recording."""
        rng = _rng(self._seed, recording, 3)
        model, data = self._model, self._data
        azimuth, elevation = rng.uniform(-2.3, -1.2), rng.uniform(0.75, 1.0)
        sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
        brightness, warmth = rng.uniform(0.88, 1.06), rng.uniform(-0.03, 0.05)
        model.light("sun").dir[:] = -sun
        model.light("sun").pos[:] = 16 * sun  # the shadow map is centred on the ray through this point
        model.light("sun").diffuse[:] = 0.60 * brightness * np.array([1 + warmth, 1, 1 - warmth])
        model.light("fill").dir[:] = sun * [1, 1, -0.3]
        model.light("fill").diffuse[:] = 0.14 * brightness
        model.vis.headlight.ambient[:] = 0.54 * brightness * np.array([0.98, 1.0, 1.03])

        for index, place in enumerate(rng.choice(len(scene.PERSON_PLACES), scene.PEOPLE, replace=False)):
            x, y = np.array(scene.PERSON_PLACES[place]) + rng.uniform(-0.12, 0.12, 2)
            self._put(f"person{index}", x, y, rng.uniform(0, 2 * np.pi))
        for name, places in (("car", scene.CAR_PLACES), ("cart", scene.CART_PLACES), ("boxes", scene.BOX_PLACES)):
            x, y, yaw = places[rng.integers(len(places))]
            self._put(name, x, y, yaw + rng.uniform(-0.06, 0.06))
        self._mujoco.mj_forward(model, data)

    def look(self, pose_7: NDArray[np.float64]) -> View:
        """Render from a camera-to-world pose (optical frame)."""
        data = self._data
        data.mocap_pos[self._rig], data.mocap_quat[self._rig] = pose_7[:3], pose_7[3:]
        self._mujoco.mj_forward(self._model, data)
        self._color.update_scene(data, "camera")
        self._color.scene.flags[self._mujoco.mjtRndFlag.mjRND_FOG] = True
        # A lens spreads a point over its neighbours; without that, edges are harder than any camera shows them.
        image = cv2.GaussianBlur(self._color.render(), (3, 3), LENS_BLUR_PX)
        self._geometry.update_scene(data, "camera")
        self._geometry.enable_depth_rendering()
        depth = self._geometry.render()
        self._geometry.enable_segmentation_rendering()
        geom = self._geometry.render()[..., 0]
        mask = self._label_of_geom[geom]
        known = (geom >= 0) & (depth < MAX_DEPTH_M)
        return View(image, np.where(known, depth, 0).astype(np.float32), mask)

    def _put(self, name: str, x: float, y: float, yaw: float) -> None:
        index = self._mocap(name)
        self._data.mocap_pos[index] = (x, y, 0.0)
        self._data.mocap_quat[index] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))

    def _mocap(self, body: str) -> int:
        return int(self._model.body(body).mocapid[0])


def _mujoco() -> Any:
    """Import MuJoCo with an OpenGL that works without a display. Raises DataError where there is none."""
    if "mujoco" not in sys.modules and "MUJOCO_GL" not in os.environ:
        os.environ["MUJOCO_GL"] = _working_gl()
    try:
        import mujoco  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise DataError(_NO_MUJOCO) from error
    except RuntimeError as error:  # MUJOCO_GL has a value that MuJoCo does not know
        raise DataError(f"MuJoCo cannot be used: {error}") from error
    return mujoco


def _working_gl() -> str:
    """Try the back ends in processes of their own: MuJoCo decides once, at import, and a failure cannot be undone."""
    for backend in ("egl", "osmesa"):
        probe = subprocess.run(
            [sys.executable, "-c", "import mujoco; mujoco.GLContext(8, 8).free()"],
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            check=False,
        )
        if probe.returncode == 0:
            return backend
        if b"No module named 'mujoco'" in probe.stderr:
            raise DataError(_NO_MUJOCO)
    raise DataError(_NO_GL)
