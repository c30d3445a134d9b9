"""Settings of the peers that match images to a map, chosen on a training drive that is held out: no test frame is seen.

    python -m benchmarks.peer_settings ROOT --held-out seq-08 [--focal 1.1143 --offset -0.0255 0 0] [--every 2]

A map is built once from the other training drives; then one setting after another is changed, alone, and the held-out
frames are located. The focal length and offset are those of `data.depth_camera`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from vlocnetpp.data import Dataset, Frame, open_dataset, pnp
from vlocnetpp.data.registration import DepthCameraConfig
from vlocnetpp.metrics import localization_metrics
from vlocnetpp.peers import Peer, PeerMap, active_search, build_map, locate_frames, orb, orb_pnp, score_forest
from vlocnetpp.peers.colour_camera import of_colour_camera
from vlocnetpp.peers.peer import poses_of


class Choice(NamedTuple):
    """One setting that is read when an image is located, and the values that are compared."""

    module: ModuleType
    name: str
    values: tuple[float, ...]


CHOICES: tuple[tuple[Peer, tuple[Choice, ...]], ...] = (
    (
        orb_pnp.ORB_PNP,
        (
            Choice(orb_pnp, "CANDIDATES", (3, 5, 10, 20)),
            Choice(orb, "RATIO", (0.7, 0.8, 0.9)),
            Choice(pnp, "INLIER_PX", (2.0, 3.0, 5.0)),
        ),
    ),
    (
        active_search.ACTIVE_SEARCH,
        (
            Choice(active_search, "RATIO", (0.7, 0.8, 0.9)),
            Choice(active_search, "RATIO_BACK", (0.6, 0.7, 0.8)),
            Choice(active_search, "NEIGHBOURS", (1, 50, 200)),
            Choice(active_search, "ENOUGH", (100, 200, 400)),
        ),
    ),
    (
        score_forest.SCORE_FOREST,
        (
            Choice(score_forest, "PIXELS", (750, 1500, 3000)),
            Choice(score_forest, "HYPOTHESES", (256, 512, 1024)),
            Choice(score_forest, "INLIER_M", (0.03, 0.05, 0.1)),
        ),
    ),
)


@contextmanager
def changed(choice: Choice, value: float) -> Iterator[None]:
    """The setting at another value, for as long as this lasts."""
    before = getattr(choice.module, choice.name)
    setattr(choice.module, choice.name, value)
    try:
        yield
    finally:
        setattr(choice.module, choice.name, before)


def drives(dataset: Dataset, held_out: str, camera: DepthCameraConfig) -> tuple[list[Frame], list[Frame]]:
    """The frames of all training drives but one, and of that one. Ends the program for a drive that is not there."""
    sequences = dataset.sequences("train")
    if held_out not in (sequence.name for sequence in sequences):
        raise SystemExit(f"--held-out: '{held_out}' is none of {', '.join(sequence.name for sequence in sequences)}")
    frames = [(s.name == held_out, of_colour_camera(frame, camera)) for s in sequences for frame in s.frames]
    posed = [(held, frame) for held, frame in frames if frame.pose_7 is not None]
    return [frame for held, frame in posed if not held], [frame for held, frame in posed if held]


def line(peer_map: PeerMap, frames: Sequence[Frame], name: str) -> str:
    """Errors on the held-out frames, and the processor's time for a frame."""
    began = time.process_time()
    pose_N7, _ = locate_frames(peer_map, frames, name)
    ms = 1e3 * (time.process_time() - began) / len(frames)
    found = localization_metrics(pose_N7, poses_of(frames))
    return (
        f"{found['median_translation_m']:.4f} m {found['median_rotation_deg']:.3f} deg, within 5 cm and 5 deg "
        f"{100 * found['recall_5cm_5deg']:.0f} %, no answer {found['failed']} of {found['frames']}, {ms:.0f} ms"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of the dataset")
    parser.add_argument("--held-out", required=True, help="name of the training drive on which settings are compared")
    parser.add_argument("--focal", type=float, default=1.0, help="data.depth_camera.focal (default: 1)")
    parser.add_argument("--offset", type=float, nargs=3, default=(0.0, 0.0, 0.0), help="data.depth_camera.offset_m")
    parser.add_argument("--every", type=int, default=1, help="take every such frame of the drives (default: 1)")
    args = parser.parse_args()
    camera = DepthCameraConfig(args.focal, tuple(args.offset))
    train, held = (frames[:: args.every] for frames in drives(open_dataset(args.root), args.held_out, camera))
    print(f"{len(train)} frames in the map, {len(held)} held out")
    for peer, choices in CHOICES:
        peer_map, _ = build_map(peer, train)
        print(f"{peer.name}, as shipped: {line(peer_map, held, peer.name)}", flush=True)
        for choice in choices:
            shipped = getattr(choice.module, choice.name)
            for value in choice.values:
                if value != shipped:
                    with changed(choice, value):
                        text = line(peer_map, held, peer.name)
                    print(f"  {choice.name} {value:g} (shipped {shipped:g}): {text}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
