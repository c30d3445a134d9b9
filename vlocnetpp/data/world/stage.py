"""Writing a MuJoCo model: painted materials, labelled geoms, groups that can be moved between recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from xml.etree import ElementTree as ET

import cv2
import numpy as np
from numpy.typing import ArrayLike

from vlocnetpp.data.world.meshes import Mesh
from vlocnetpp.data.world.textures import Image

Vector = Sequence[float]


def _text(numbers: ArrayLike) -> str:
    return " ".join(f"{value:.6g}" for value in np.ravel(np.asarray(numbers, float)))


class Stage:
    """An MJCF document being written; nothing in it collides or moves by itself.

    Every geom carries its class id in `geom_user`, so a segmentation image of geom ids becomes a mask by one look-up.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._root = ET.Element("mujoco", model="world")
        ET.SubElement(self._root, "size", nuser_geom="1")
        ET.SubElement(self._root, "compiler", angle="radian")
        self._visual = ET.SubElement(self._root, "visual")
        defaults = ET.SubElement(self._root, "default")
        ET.SubElement(defaults, "geom", contype="0", conaffinity="0", group="0")
        ET.SubElement(defaults, "material", specular="0", shininess="0", reflectance="0")
        ET.SubElement(defaults, "mesh", inertia="shell")
        self._asset = ET.SubElement(self._root, "asset")
        self._world = ET.SubElement(self._root, "worldbody")
        self._parent = self._world
        self._meshes = 0

    def xml(self) -> str:
        """The document as text, to be compiled together with `files`."""
        return ET.tostring(self._root, encoding="unicode")

    def set(self, element: str, **attributes: ArrayLike) -> None:
        """Set a top-level element such as `statistic`."""
        ET.SubElement(self._root, element, {key: _text(value) for key, value in attributes.items()})

    def set_visual(self, element: str, **attributes: ArrayLike) -> None:
        """Set one of the `visual` elements."""
        ET.SubElement(self._visual, element, {key: _text(value) for key, value in attributes.items()})

    def paint(self, name: str, image: Image) -> str:
        """Make a material from a picture; its name is returned."""
        self._file(name, image)
        ET.SubElement(self._asset, "texture", name=name, type="2d", file=f"{name}.png")
        ET.SubElement(self._asset, "material", name=name, texture=name)
        return name

    def color(self, name: str, rgb: tuple[int, int, int], specular: float = 0.0) -> str:
        """Make a plain material; its name is returned."""
        rgba = [channel / 255 for channel in rgb] + [1]
        ET.SubElement(self._asset, "material", name=name, rgba=_text(rgba), specular=_text(specular), shininess="0.6")
        return name

    def glass(self, name: str, rgb: tuple[int, int, int], alpha: float, reflectance: float = 0.0) -> str:
        """Make glass for a `pane`: transparent below an `alpha` of 1, or, where that is 1, mirroring in its front.

        MuJoCo does not do both at once. Depth and mask see the pane itself, not what is behind it or mirrored in it.
        """
        rgba = [channel / 255 for channel in rgb] + [alpha]
        ET.SubElement(self._asset, "material", name=name, rgba=_text(rgba), specular="0.6", shininess="0.8",
                      reflectance=_text(reflectance))  # fmt: skip
        return name

    def sky(self, faces: dict[str, Image]) -> None:
        """Surround everything with a sky of six faces."""
        for face, image in faces.items():
            self._file(f"sky_{face}", image)
        ET.SubElement(
            self._asset, "texture", {"type": "skybox", **{f"file{face}": f"sky_{face}.png" for face in faces}}
        )

    def light(self, name: str, shadow: bool) -> None:
        """A directional light; its direction and strength are set when rendering."""
        ET.SubElement(
            self._world, "light", name=name, type="directional", castshadow=str(shadow).lower(), pos="0 0 12",
            ambient="0 0 0", specular="0.15 0.15 0.15",
        )  # fmt: skip

    def camera(self, name: str, fovy: float) -> None:
        """A camera on a body of its own whose frame is optical (x right, y down, z forward); `fovy` in radians."""
        rig = ET.SubElement(self._world, "body", name=name, mocap="true")
        # MuJoCo's cameras look along -z with y up: half a turn about x.
        ET.SubElement(rig, "camera", name=name, fovy=_text(np.degrees(fovy)), quat="0 1 0 0")

    @contextmanager
    def movable(self, name: str) -> Iterator[None]:
        """Geoms added inside belong to a body that can be placed anywhere before a recording."""
        self._parent = ET.SubElement(self._world, "body", name=name, mocap="true")
        yield
        self._parent = self._world

    def box(
        self, label: int, material: str, centre: Vector, size: Vector, yaw: float = 0.0, pitch: float = 0.0
    ) -> None:
        """A box of full edge lengths `size`, turned by `yaw` about z and then by `pitch` about y, radians."""
        half = np.asarray(size) / 2
        self._geom(label, material, "box", pos=_text(centre), size=_text(half), euler=_text([0, pitch, yaw]))

    def pane(self, label: int, material: str, start: Vector, stop: Vector, bottom: float, top: float) -> None:
        """An upright sheet of glass from `start` (its left edge, seen from the front) to `stop`; its front mirrors."""
        (x0, y0), (x1, y1) = start, stop
        along = np.array([x1 - x0, y1 - y0])
        wide = np.linalg.norm(along)
        # MuJoCo mirrors in the +z face of a box, so that face has to look forward.
        along_3 = np.array([*along / wide, 0.0])
        middle = [(x0 + x1) / 2, (y0 + y1) / 2, (bottom + top) / 2]
        self._geom(
            label, material, "box", pos=_text(middle), size=_text([wide / 2, (top - bottom) / 2, 0.01]),
            xyaxes=_text(np.append(along_3, [0, 0, 1])),
        )  # fmt: skip

    def rod(
        self, label: int, material: str, start: Vector, stop: Vector, radius: float, round_ends: bool = False
    ) -> None:
        """A cylinder or capsule between two points."""
        kind = "capsule" if round_ends else "cylinder"
        self._geom(label, material, kind, fromto=_text([*start, *stop]), size=_text([radius]))

    def ball(self, label: int, material: str, centre: Vector, radii: Vector) -> None:
        """An ellipsoid."""
        self._geom(label, material, "ellipsoid", pos=_text(centre), size=_text(radii))

    def mesh(self, label: int, material: str, mesh: Mesh, scale: ArrayLike = (1, 1, 1), at: Vector = (0, 0, 0)) -> None:
        """A mesh, scaled along its axes and moved."""
        name = f"mesh{self._meshes}"
        self._meshes += 1
        normal = mesh.normal_V3 / np.asarray(scale)
        ET.SubElement(
            self._asset,
            "mesh",
            name=name,
            vertex=_text(mesh.vertex_V3 * np.asarray(scale)),
            normal=_text(normal / np.linalg.norm(normal, axis=1, keepdims=True)),
            texcoord=_text(mesh.texcoord_V2),
            face=_text(mesh.face_F3),
        )
        self._geom(label, material, "mesh", mesh=name, pos=_text(at))

    def _geom(self, label: int, material: str, kind: str, **attributes: str) -> None:
        ET.SubElement(self._parent, "geom", {"type": kind, "material": material, "user": str(label), **attributes})

    def _file(self, name: str, image: Image) -> None:
        self.files[f"{name}.png"] = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
