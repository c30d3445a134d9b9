"""Rendering of a scene. Only this module needs MuJoCo (optional extra `render`)."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError
from vlocnetpp.data.world.attitude import between
from vlocnetpp.data.world.labels import SKY
from vlocnetpp.data.world.scene import FOVY, Conditions, Scene
from vlocnetpp.data.world.stage import Stage

MAX_DEPTH_M = 60.0
"""Farther surfaces, and the sky, have depth 0 (unknown)."""
LENS_BLUR_PX = 0.7
"""Standard deviation of the lens blur."""
MOST_SUB_FRAMES = 6
_NO_MUJOCO = "rendering needs MuJoCo, which is not installed: pip install '.[render]' in the checkout"
_NO_GL = (
    "no way to render without a display: neither EGL nor OSMesa works here; "
    "install one of them: apt install libegl1 libgl1-mesa-dri, or: apt install libosmesa6"
)


@dataclass(frozen=True)
class View:
    """Image, depth and mask from one pose."""

    image_HW3: NDArray[np.uint8]
    """RGB."""
    depth_HW: NDArray[np.float32]
    """Metres along z at the pixel's centre in the middle of the exposure, 0 where unknown."""
    mask_HW: NDArray[np.uint8]
    """Class ids, indices of `CLASSES`, in the middle of the exposure."""


def intrinsics(width: int, height: int) -> NDArray[np.float64]:
    """K (3, 3) of the camera: square pixels, centre of the first pixel at (0, 0), principal point in the middle."""
    focal = height / 2 / np.tan(FOVY / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


@final
class Camera:
    """A scene loaded for rendering; a context manager, because graphics memory must be freed.

    Raises DataError where MuJoCo or OpenGL is missing.
    """

    def __init__(self, scene: Scene, seed: int, width: int, height: int) -> None:
        self._mujoco = mujoco = import_mujoco()
        self._shadows = scene.shadow_px > 0
        self._focal = intrinsics(width, height)[0, 0]
        self._model = _compile(mujoco, scene, seed, width, height)
        self._data = mujoco.MjData(self._model)
        # Anti-aliasing would blend depths across edges, so geometry is rendered without it, by a twin of the model.
        # In the twin glass is opaque: depth and mask are those of the pane.
        twin = copy.copy(self._model)
        twin.vis.quality.offsamples = 0
        twin.mat_rgba[:, 3] = 1
        twin.mat_reflectance[:] = 0
        try:
            self._color = mujoco.Renderer(self._model, height, width)
            self._geometry = mujoco.Renderer(twin, height, width)
        except Exception as error:
            # What OpenGL's loaders raise differs (ImportError, AttributeError, FatalError); to the user it is the same.
            raise DataError(f"{_NO_GL} (MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: {error})") from error
        self._twin, self._twin_data = twin, mujoco.MjData(twin)
        labels = self._model.geom_user[:, 0].astype(np.uint8)
        self._label_of_geom = np.append(labels, np.uint8(SKY))  # index -1: nothing was hit
        self._conditions: Conditions | None = None

    def __enter__(self) -> Camera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._color.close()
        self._geometry.close()

    def prepare(self, conditions: Conditions) -> None:
        """Set the light and the positions of movable bodies for a recording."""
        light, model = conditions.light, self._model
        sun = np.array(light.toward_sun)
        model.light("sun").dir[:] = -sun
        # The shadow map is centred on the ray through this point.
        model.light("sun").pos[:] = model.stat.center * [1, 1, 0] + 1.6 * model.stat.extent * sun
        model.light("sun").diffuse[:] = light.sun
        model.light("fill").dir[:] = -np.array(light.toward_fill)
        model.light("fill").diffuse[:] = light.fill
        model.vis.headlight.ambient[:] = light.ambient
        self._conditions = conditions

    def render(self, pose_7: NDArray[np.float64], time_s: float = 0.0) -> View:
        """Render from a camera-to-world pose (optical frame), `time_s` after the start of the recording."""
        return self.expose(np.stack([pose_7] * 3), time_s, 1.0)

    def expose(self, before_here_after_37: NDArray[np.float64], time_s: float, frame_s: float) -> View:
        """Render while the camera moves: poses one frame earlier, in the middle of the exposure, one frame later.

        Colours are averaged over the exposure of the light that was prepared, about one sub-frame a pixel of motion.
        """
        before, here, after = before_here_after_37
        exposure = self._conditions.light.exposure_s if self._conditions else 0.0
        share = exposure / 2 / frame_s
        turn = np.linalg.norm(between(here, after, share)[3:] - between(here, before, share)[3:]) * 2
        shift = np.linalg.norm(after[:3] - before[:3]) * share / 3  # seen at 3 m
        count = int(np.clip(np.ceil((turn + shift) * self._focal), 1, MOST_SUB_FRAMES))
        depth_HW, geom_HW = self._geometry_of(here, time_s)
        mirrors = self._model.geom_matid[np.unique(geom_HW[geom_HW >= 0])]
        reflects = bool((self._model.mat_reflectance[mirrors[mirrors >= 0]] > 0).any())

        colors = np.zeros((), np.float32)
        for at in (np.arange(count) + 0.5) / count * 2 - 1:  # from -1, the shutter opens, to 1, it closes
            pose_7 = between(here, after if at > 0 else before, abs(at) * share) if at else here
            self._place(self._model, self._data, pose_7, time_s + at * exposure / 2)
            self._color.update_scene(self._data, "camera")
            # A mirror renders the whole scene once more, so it is skipped where none is visible.
            for flag, on in (("FOG", True), ("SHADOW", self._shadows), ("REFLECTION", reflects)):
                self._color.scene.flags[getattr(self._mujoco.mjtRndFlag, f"mjRND_{flag}")] = on
            colors = colors + self._color.render() / np.float32(count)
        # A lens spreads a point over its neighbours; without that, edges are harder than any camera shows them.
        image = cv2.GaussianBlur(np.rint(colors).astype(np.uint8), (3, 3), LENS_BLUR_PX)
        return View(np.asarray(image, np.uint8), depth_HW, self._label_of_geom[geom_HW])

    def measure(self, pose_7: NDArray[np.float64], time_s: float = 0.0) -> tuple[NDArray, NDArray[np.uint8]]:
        """Depth and mask of a `View` alone, in a tenth of the time."""
        depth_HW, geom_HW = self._geometry_of(pose_7, time_s)
        return depth_HW, self._label_of_geom[geom_HW]

    def _geometry_of(self, pose_7: NDArray[np.float64], time_s: float) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth, and the geom that each pixel shows, -1 for none."""
        self._place(self._twin, self._twin_data, pose_7, time_s)
        self._geometry.update_scene(self._twin_data, "camera")
        self._geometry.enable_depth_rendering()
        depth = self._geometry.render()
        self._geometry.enable_segmentation_rendering()
        geom = self._geometry.render()[..., 0]
        return np.where((geom >= 0) & (depth < MAX_DEPTH_M), depth, 0).astype(np.float32), geom

    def _place(self, model: Any, data: Any, pose_7: NDArray[np.float64], time_s: float) -> None:
        rig = int(model.body("camera").mocapid[0])
        data.mocap_pos[rig], data.mocap_quat[rig] = pose_7[:3], pose_7[3:]
        for mover in self._conditions.movers if self._conditions else ():
            body = int(model.body(mover.body).mocapid[0])
            x, y, yaw = mover.at(time_s)
            data.mocap_pos[body] = (x, y, 0.0)
            data.mocap_quat[body] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        self._mujoco.mj_forward(model, data)


def _compile(mujoco: Any, scene: Scene, seed: int, width: int, height: int) -> Any:
    """The scene as a MuJoCo model, for an offscreen buffer with fourfold anti-aliasing."""
    stage = Stage()
    stage.set_visual("global", offwidth=width, offheight=height)
    stage.set_visual("quality", offsamples=4, shadowsize=scene.shadow_px or 1)
    stage.set_visual("headlight", ambient=[0.5, 0.5, 0.5], diffuse=[0, 0, 0], specular=[0, 0, 0])
    stage.light("sun", shadow=True)
    stage.light("fill", shadow=False)
    stage.camera("camera", float(FOVY))
    scene.build(stage, np.random.default_rng([seed, 1]))
    return mujoco.MjModel.from_xml_string(stage.xml(), stage.files)


def import_mujoco() -> Any:
    """Import MuJoCo with an OpenGL that works without a display. Raises DataError where there is none."""
    if "mujoco" not in sys.modules:
        choose_gl()
    try:
        import mujoco  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise DataError(_NO_MUJOCO) from error
    except RuntimeError as error:  # MUJOCO_GL has a value that MuJoCo does not know
        raise DataError(f"MuJoCo cannot be used: {error}") from error
    return mujoco


def choose_gl() -> None:
    """Set MUJOCO_GL, unless it is set, to a back end that works. Raises DataError where none does.

    They are tried in processes of their own: MuJoCo decides once, at import, and a failure cannot be undone.
    """
    if "MUJOCO_GL" in os.environ:
        return
    for backend in ("egl", "osmesa"):
        probe = subprocess.run(
            [sys.executable, "-c", "import mujoco; mujoco.GLContext(8, 8).free()"],
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            check=False,
        )
        if probe.returncode == 0:
            os.environ["MUJOCO_GL"] = backend
            return
        if b"No module named 'mujoco'" in probe.stderr:
            raise DataError(_NO_MUJOCO)
    raise DataError(_NO_GL)
