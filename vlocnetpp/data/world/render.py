"""From scenes and drives to frames on disk, in parallel processes; a killed rendering can be continued."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Generator
from contextlib import closing
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError
from vlocnetpp.data.layouts.folder import FolderWriter
from vlocnetpp.data.world.camera import Camera, View, choose_gl, intrinsics
from vlocnetpp.data.world.labels import CLASSES
from vlocnetpp.data.world.scene import Recording, Scene, check_frames_scale, scaled
from vlocnetpp.data.world.suite import scene_named
from vlocnetpp.progress import track

CHUNK = 8
"""Frames in one task of a process."""
_APART_NS = 600 * 1_000_000_000
"""Recordings lie ten minutes apart."""
_DRIVE, _CONDITIONS = 2, 3
"""What a random generator is for."""
MOST_PX = 4096
"""What every OpenGL draws; more fails as if there were no display."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that the pixels of a dataset depend on, except the machine's OpenGL."""

    scene: str
    seed: int = 0
    width: int = 320
    height: int = 240
    frames_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("height", self.height)):
            if not 1 <= value <= MOST_PX:
                raise DataError(f"{name} must be from 1 to {MOST_PX} pixels, not {value}")
        check_frames_scale(self.frames_scale)
        if self.seed < 0:
            raise DataError(f"seed must not be negative, it is {self.seed}")
        scene_named(self.scene)


@dataclasses.dataclass(frozen=True)
class _Chunk:
    recording: Recording
    start: int
    stop: int


def render_world(
    root: Path,
    scene: str = "demo/courtyard",
    *,
    seed: int = 0,
    width: int = 320,
    height: int = 240,
    frames_scale: float = 1.0,
    jobs: int | None = None,
) -> None:
    """Render a scene of the suite into a new dataset folder, with as many processes as `jobs`, by default as cores.

    Poses and stamps depend on scene, seed and `frames_scale` alone, pixels also on the machine's OpenGL, nothing on
    `jobs`. An interrupted rendering stays in `<root>.partial`, and the same call continues it. Raises DataError if
    `root` exists, if `<root>.partial` belongs to something else, if a setting makes no sense, or if MuJoCo or OpenGL is
    missing.
    """
    settings = Settings(scene, seed, width, height, frames_scale)
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    if jobs < 1:
        raise DataError(f"jobs must be at least 1, not {jobs}")
    K_33 = intrinsics(width, height)
    drives = [scaled(recording, frames_scale) for recording in scene_named(scene).recordings]
    choose_gl()
    with FolderWriter(root, CLASSES, map_frame="map", settings=dataclasses.asdict(settings)) as writer:
        missing = [drive for drive in drives if not writer.keep(drive.sequence, drive.split)]
        chunks = [
            _Chunk(drive, start, min(start + CHUNK, drive.frames))
            for drive in missing
            for start in range(0, drive.frames, CHUNK)
        ]
        total = sum(drive.frames for drive in missing)
        with closing(_rendered(chunks, settings, min(jobs, len(chunks)))) as frames:
            for drive, stamp_ns, pose_7, view, last in track(frames, f"rendering {root.name}", total):
                image, depth, mask = view.image_HW3, view.depth_HW, view.mask_HW
                writer.add(drive.sequence, drive.split, stamp_ns, image, K_33, pose_7, depth, mask)
                if last:
                    writer.complete(drive.sequence)


def drive_recording(recording: Recording, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Stamps (N,) and camera-to-world poses (N, 7) of a recording."""
    stamps, poses_N7 = recording.motion.drive(recording.frames, _rng(seed, recording, _DRIVE))
    return stamps + recording.number * _APART_NS, poses_N7


def prepare(camera: Camera, scene: Scene, recording: Recording, seed: int) -> None:
    """Give the camera the light and the people of a recording."""
    camera.prepare(scene.conditions(recording, _rng(seed, recording, _CONDITIONS)))


def shoot(
    camera: Camera, stamps: NDArray[np.int64], poses_N7: NDArray[np.float64], start: int, stop: int
) -> list[View]:
    """The frames from `start` to before `stop` of a drive, under the conditions that the camera was prepared for."""
    seconds = (stamps - stamps[0]) * 1e-9
    frame_s = float(seconds[1]) if len(seconds) > 1 else 1.0
    padded = np.concatenate([poses_N7[:1], poses_N7, poses_N7[-1:]])
    return [camera.expose(padded[i : i + 3], float(seconds[i]), frame_s) for i in range(start, stop)]


def _rng(seed: int, recording: Recording, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose, recording.number])


def _rendered(
    chunks: list[_Chunk], settings: Settings, jobs: int
) -> Generator[tuple[Recording, int, NDArray, View, bool]]:
    """Every frame in order, with whether it is the last of its recording."""
    done: dict[int, list[View]] = {}
    queue = list(enumerate(chunks))[::-1]
    workers: dict[Connection, multiprocessing.process.BaseProcess] = {}
    assigned: dict[Connection, int] = {}
    context = multiprocessing.get_context("spawn")
    try:
        for _ in range(jobs):
            ours, theirs = context.Pipe()
            workers[ours] = context.Process(target=_work, args=(theirs, settings, jobs > 1), daemon=True)
            workers[ours].start()
            theirs.close()
            assigned[ours], chunk = queue.pop()
            _send(ours, chunk)
        for index, chunk in enumerate(chunks):
            while index not in done:
                for connection in wait(list(assigned)):
                    assert isinstance(connection, Connection)
                    done[assigned.pop(connection)] = _received(connection)
                    if queue:
                        assigned[connection], following = queue.pop()
                        _send(connection, following)
            stamps, poses_N7 = drive_recording(chunk.recording, settings.seed)
            for i, view in zip(range(chunk.start, chunk.stop), done.pop(index), strict=True):
                yield chunk.recording, int(stamps[i]), poses_N7[i], view, i + 1 == chunk.recording.frames
    finally:
        for connection, worker in workers.items():
            connection.close()
            worker.terminate()
            worker.join()


DIED = "a rendering process died, perhaps for want of memory; the same command goes on"


def _send(connection: Connection, chunk: _Chunk) -> None:
    try:
        connection.send(chunk)
    except OSError:
        raise DataError(DIED) from None


def _received(connection: Connection) -> list[View]:
    try:
        answer = connection.recv()
    except (EOFError, OSError):  # the latter where it died before it had read its chunk
        raise DataError(DIED) from None
    if isinstance(answer, str):
        raise DataError(answer)
    return answer  # type: ignore[no-any-return]


def _work(connection: Connection, settings: Settings, shared: bool) -> None:
    """A rendering process: answers chunks with views until the other end closes, as it does when the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    if shared:
        os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer would start threads for every core
    scene = scene_named(settings.scene)
    prepared = ""
    try:
        with Camera(scene, settings.seed, settings.width, settings.height) as camera:
            while True:
                chunk: _Chunk = connection.recv()
                if chunk.recording.sequence != prepared:
                    prepared = chunk.recording.sequence
                    stamps, poses_N7 = drive_recording(chunk.recording, settings.seed)
                    prepare(camera, scene, chunk.recording, settings.seed)
                connection.send(shoot(camera, stamps, poses_N7, chunk.start, chunk.stop))
    except DataError as error:
        connection.send(str(error))
    except (EOFError, ConnectionError):
        return
