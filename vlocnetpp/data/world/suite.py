"""The scenes that can be rendered, and the purpose of their splits."""

from __future__ import annotations

from difflib import get_close_matches

from vlocnetpp.data.frames import DataError
from vlocnetpp.data.world.campus import CAMPUS
from vlocnetpp.data.world.courtyard import COURTYARD
from vlocnetpp.data.world.office import OFFICE
from vlocnetpp.data.world.room import ROOM
from vlocnetpp.data.world.scene import Scene, check_frames_scale, scaled

SCENES: dict[str, Scene] = {scene.name: scene for scene in (COURTYARD, CAMPUS, OFFICE, ROOM)}

SPLITS: dict[str, str] = {
    "train": "the mapping run: several loops, driven differently",
    "val": "along the training path; to choose and to calibrate by",
    "test": "interpolation: along the training path, between the training loops",
    "lane_025": "extrapolation by 0.25 m: a parallel lane, counted from the nearest training loop",
    "lane_050": "extrapolation by 0.5 m",
    "lane_100": "extrapolation by 1 m; image retrieval keeps an error of 1 m",
    "reverse": "the same way backwards: known places, unknown views or motion",
    "light": "known poses in another light, with a slow shutter that blurs",
    "anywhere": "cold start: many short sequences, nothing before them to lean on",
}
"""What each split tests. In the room, which is filmed by hand, lanes are shifts of the filmed path and `reverse` is
the path filmed backwards in time: known views, but motion that was never shown."""


def scene_named(name: str) -> Scene:
    """Look a scene up. Raises DataError naming the nearest for an unknown name."""
    if name not in SCENES:
        near = get_close_matches(name, SCENES, 1, 0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise DataError(f"no scene is called '{name}'; {hint}there are {', '.join(SCENES)}")
    return SCENES[name]


def size_of(scene: Scene, frames_scale: float = 1.0) -> dict[str, tuple[int, int]]:
    """Sequences and frames of each split. Raises DataError for a scale that makes no sense."""
    check_frames_scale(frames_scale)
    sizes: dict[str, tuple[int, int]] = {}
    for recording in scene.recordings:
        sequences, frames = sizes.get(recording.split, (0, 0))
        sizes[recording.split] = sequences + 1, frames + scaled(recording, frames_scale).frames
    return sizes
