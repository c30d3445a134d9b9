"""Does the node publish a pose of an image that does not show the mapped place, and does it find back?

    python -m benchmarks.gate models/demo.ts --bag models/demo_bag --out docs/benchmarks/gate.json

A hundred images of a recording are replaced: by black, white and grey ones, noise, one frozen image, images of other
places (with --others, folders of pictures), and the same turned upside-down, mirrored and inverted. The decisions are
those of the node with its default parameters: the check of the image, the network, the gate.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.ros_camera import machine, save
from vlocnetpp.data.bags import messages as bag_messages
from vlocnetpp.data.bags.reader import iter_bag
from vlocnetpp.data.frames import read_image
from vlocnetpp.runtime import Localizer, load_model
from vlocnetpp_ros.calibration import file_limits, gate_limits, image_limits
from vlocnetpp_ros.gate import Gate
from vlocnetpp_ros.image_check import ImageCheck
from vlocnetpp_ros.replay.source import Source, survey
from vlocnetpp_ros.settings import DECLARATIONS, Settings

Pixels = NDArray[np.uint8]
Replace = Callable[[int, Pixels], Pixels]
"""The number of an image among the replaced ones, and the image -> what takes its place."""
REPLACED = 100


@dataclass(frozen=True)
class Outcome:
    """What became of one image."""

    published: bool
    reason: str
    error_m: float
    """Of the published pose; NaN without one or without ground truth."""
    bound_m: float
    """The 68 % bound of the published position."""


def recording(bag: Path) -> tuple[Source, list[Pixels], NDArray[np.float64]]:
    """The bag's images (H, W, 3) bgr8 with their stamps and ground truth, and K."""
    source = survey(bag)
    found = []
    K_33 = np.eye(3)
    for each in iter_bag(bag, {source.topics.image, source.topics.camera_info}):
        if each.topic == source.topics.image:
            found.append(bag_messages.color(each.message(), str(bag))[0][..., ::-1].copy())
        else:
            K_33 = bag_messages.camera(each.message(), source.topics.image, str(bag)).K_33
    return source, found, K_33


def decide(
    model: Path, source: Source, pictures: list[Pixels], K_33: NDArray[np.float64], given: dict[str, Any]
) -> Iterator[Outcome]:
    """The node's decision on each image, in order."""
    settings = Settings(**{**{each.name: each.default for each in DECLARATIONS}, **given})
    localizer = Localizer(load_model(model, "cpu"), max_gap_s=settings.max_gap_s)
    metadata = localizer.model.metadata
    gate = Gate(gate_limits(settings, metadata), (metadata.position_min_3, metadata.position_max_3))
    check = ImageCheck()
    for stamp_ns, truth_7, picture in zip(source.stamps_ns.tolist(), source.truth_N7, pictures):
        fault = check.fault(picture, "bgr8", image_limits(settings))
        if fault is not None:
            gate.reject(*fault)
            yield Outcome(False, fault[0], np.nan, np.nan)
            continue
        estimate = localizer.localize(picture, K_33, stamp_ns, "bgr8")
        verdict = gate.judge(estimate)
        assert estimate.pose_7 is not None and estimate.sigma_2 is not None
        error_m = float(np.linalg.norm(estimate.pose_7[:3] - truth_7[:3])) if verdict.publish else np.nan
        yield Outcome(verdict.publish, verdict.kind, error_m, float(estimate.sigma_2[0]))


def replacements(others: list[Path], size: tuple[int, int]) -> dict[str, Replace]:
    """What takes the place of the images, by name."""
    rng = np.random.default_rng(0)
    kept: list[Pixels] = []

    def frozen(number: int, picture: Pixels) -> Pixels:
        if number == 0:
            kept[:] = [picture]
        return kept[0]

    found: dict[str, Replace] = {
        "black": lambda number, picture: np.zeros_like(picture),
        "white": lambda number, picture: np.full_like(picture, 255),
        "grey": lambda number, picture: np.full_like(picture, 128),
        "noise": lambda number, picture: rng.integers(0, 256, picture.shape, dtype=np.uint8),
        "frozen": frozen,
        "upside-down": lambda number, picture: np.ascontiguousarray(picture[::-1, ::-1]),
        "mirrored": lambda number, picture: np.ascontiguousarray(picture[:, ::-1]),
        "inverted": lambda number, picture: 255 - picture,
    }
    for folder in others:
        names = sorted(
            path for path in folder.rglob("*") if path.suffix in (".jpg", ".png") and "depth" not in path.name
        )
        chosen = names[:: max(1, len(names) // REPLACED)][:REPLACED]
        images = [read_image(path, cv2.IMREAD_COLOR) for path in chosen]
        read = [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) for image in images]
        found["/".join(folder.resolve().parts[-2:])] = lambda number, picture, read=read: read[number % len(read)]  # type: ignore[misc]
    return found


def blocks(images: int, count: int, replaced: int = REPLACED) -> list[range]:
    """`count` stretches of images to replace, evenly over the recording, `replaced` images in all."""
    length = replaced // count
    middles = [images * (2 * i + 1) // (2 * count) for i in range(count)]
    return [range(middle - length // 2, middle - length // 2 + length) for middle in middles]


def measure(outcomes: list[Outcome], replaced: list[range], clean: list[Outcome]) -> dict[str, Any]:
    """Published of the replaced, withheld of the rest beyond what is withheld without a fault, and the way back."""
    bad = [i for each in replaced for i in each]
    good = sorted(set(range(len(outcomes))) - set(bad))
    back = []
    for each in replaced:
        after = [outcome.published for outcome in outcomes[each.stop :]]
        back.append(after.index(True) + 1 if True in after else len(after) + 1)
    reasons: dict[str, int] = {}
    for i in bad:
        if not outcomes[i].published:
            reasons[outcomes[i].reason] = reasons.get(outcomes[i].reason, 0) + 1
    wrong = [outcomes[i].error_m for i in bad if outcomes[i].published]
    return {
        "published_of_the_replaced": len(wrong),
        "their_median_error_m": round(float(np.median(wrong)), 2) if wrong else None,
        "withheld_by": reasons,
        "withheld_of_the_rest_percent": round(100 * float(np.mean([not outcomes[i].published for i in good])), 1),
        "without_the_fault_percent": round(100 * float(np.mean([not clean[i].published for i in good])), 1),
        "images_until_the_first_pose": sorted(back),
    }


def run(model: Path, bag: Path, others: list[Path], count: int, given: dict[str, Any]) -> dict[str, Any]:
    """Every kind of replacement; the report."""
    source, pictures, K_33 = recording(bag)
    clean = list(decide(model, source, pictures, K_33, given))
    metadata = load_model(model, "cpu").metadata
    published = [outcome for outcome in clean if outcome.published]
    within = [outcome.error_m <= outcome.bound_m for outcome in published]
    report: dict[str, Any] = {
        "machine": machine(),
        "model": f"{model.name}, {metadata.source_revision}",
        "limits": {name: round(value, 3) for name, value in file_limits(metadata)[0].items()},
        "as_recorded": {
            "images": len(clean),
            "published": len(published),
            "median_error_m": round(float(np.median([outcome.error_m for outcome in published])), 3),
            "within_the_68_percent_bound": round(float(np.mean(within)), 3),
        },
        "replaced": f"{REPLACED} images in {count} stretches",
    }
    height, width = pictures[0].shape[:2]
    for name, replace in replacements(others, (width, height)).items():
        replaced = blocks(len(pictures), count)
        changed = list(pictures)
        for number, i in enumerate(i for each in replaced for i in each):
            changed[i] = replace(number, pictures[i])
        report[name] = measure(list(decide(model, source, changed, K_33, given)), replaced, clean)
    return report


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("--bag", type=Path, default=Path("models/demo_bag"), help="recording with ground truth")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="folders of pictures of other places")
    parser.add_argument("--stretches", type=int, default=5, help="into which the replaced images are put (default: 5)")
    parser.add_argument("--out", type=Path, help="JSON file to write the report to")
    args = parser.parse_args()
    save(run(args.model, args.bag, args.others, args.stretches, {}), args.out)


if __name__ == "__main__":
    main()
