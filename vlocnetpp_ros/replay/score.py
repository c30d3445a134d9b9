"""Scores of a recording of the node against the ground truth of the bag that was played."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import iter_bag
from vlocnetpp.data.bags import messages as bag_messages
from vlocnetpp.encodings import VOID
from vlocnetpp.errors import DataError
from vlocnetpp.metrics import (
    confusion,
    latency_metrics,
    localization_metrics,
    odometry_metrics,
    percentile,
    pose_errors,
    segmentation_metrics,
)
from vlocnetpp.poses import relative, rotation_angle, weighted_mean
from vlocnetpp.reporting import plot_trajectory, print_table, write_json, write_report, write_tum
from vlocnetpp.runtime import Metadata
from vlocnetpp_ros.latest import NEWER
from vlocnetpp_ros.odometry import UNKNOWN_VARIANCE
from vlocnetpp_ros.replay.coverage import coverage, published_bounds
from vlocnetpp_ros.replay.session import ANSWERS, Played
from vlocnetpp_ros.replay.source import Source
from vlocnetpp_ros.replay.withheld import PARAMETERS

Floats = NDArray[np.float64]
NODE_TIMES = ("latency_ms", "model_ms")
LEAST_TURNED, TURNED_DEG = 5, 20.0
"""So many poses that differ from the ground truth by one rotation of at least this angle mean another frame."""
FAR_M = 5.0
SLOW_SHARE = 0.1
"""From this share of the images on, the drops of a node that is slower than the recording are named in the result."""


@dataclass(frozen=True)
class Heard:
    """The poses that the node published, by the stamp of their image."""

    poses: dict[int, Floats]
    """T_map_camera."""
    odometry: dict[int, Floats]
    """T_odom_camera, in the order in which they came."""
    held: frozenset[int]
    """Stamps at which the odometry was held: cold starts."""
    map_frame: str
    odom_frame: str


def listen(recording: Path) -> Heard:
    """Read poses and odometry back from the recorded bag."""
    pose_topic, odometry_topic = ANSWERS["localization"][0], ANSWERS["odometry"][0]
    poses: dict[int, Floats] = {}
    odometry: dict[int, Floats] = {}
    held, frames = set(), {pose_topic: "map", odometry_topic: "odom"}
    for each in iter_bag(recording, {pose_topic, odometry_topic}):
        message, stamp_ns = each.message(), each.header_stamp_ns()
        frames[each.topic] = message.header.frame_id
        pose_7 = bag_messages.pose(message, f"{recording}: {each.topic}")
        if each.topic == pose_topic:
            poses[stamp_ns] = pose_7
            continue
        odometry[stamp_ns] = pose_7
        if message.twist.covariance[0] >= UNKNOWN_VARIANCE:
            held.add(stamp_ns)
    return Heard(poses, odometry, frozenset(held), frames[pose_topic], frames[odometry_topic])


def score(source: Source, recording: Path, heard: Heard, played: Played, model: Metadata) -> dict[str, Any]:
    """The content of metrics.json. A task without ground truth in the bag has no section."""
    metrics: dict[str, Any] = {}
    true = np.isfinite(source.truth_N7).all(axis=1)
    if "localization" in model.tasks and true.any():
        estimated_N7, truth_N7 = estimates(source, heard)[true], source.truth_N7[true]
        metrics["localization"] = localization_metrics(estimated_N7, truth_N7)
        answered = np.isfinite(estimated_N7).all(axis=1)
        if answered.any() and not answered.all():
            metrics["answered_images_alone"] = answered_alone(estimated_N7[answered], truth_N7[answered])
        bounds = published_bounds(recording)
        if bounds:
            metrics["calibration"] = coverage(bounds, source.stamps_ns[true], estimated_N7, truth_N7)
    if "odometry" in model.tasks and true.any():
        metrics["odometry"] = _odometry(source, heard)
    if "segmentation" in model.tasks and source.topics.masks is not None:
        names = [name for name, _ in model.classes]
        matrix, frames = _confusion(source, recording, len(names))
        metrics["segmentation"] = {"frames": frames, **segmentation_metrics(matrix, names)}
    took_ms = [1e3 * (at - played.published_at[stamp]) for stamp, at in played.answered_at.items()]
    metrics["latency_ms"] = latency_metrics(took_ms)
    metrics["node"] = node_section(played)
    return metrics


def answered_alone(estimated_N7: Floats, truth_N7: Floats) -> dict[str, Any]:
    """Medians over the images with a pose, which explain a bad result; they are not the result, since withholding the
    worst poses makes them smaller.
    """
    metres, degrees = pose_errors(estimated_N7, truth_N7)
    return {
        "frames": len(metres),
        "median_translation_m": percentile(metres, 50),
        "median_rotation_deg": percentile(degrees, 50),
    }


def node_section(played: Played) -> dict[str, Any]:
    """The node's own counters: received = processed + dropped; `lost` images never reached it."""
    said, published = played.node, played.published
    received = int(said["received"])
    return {
        "published": published,
        "lost": published - received,
        "received": received,
        "processed": int(said["processed"]),
        "dropped": {key.partition("/")[2]: int(value) for key, value in said.items() if key.startswith("dropped/")},
        "withheld": {key.partition("/")[2]: int(value) for key, value in said.items() if key.startswith("withheld/")},
        "answered": len(played.answered_at),
        "cold_starts": int(said["cold_starts"]),
        "rate_hz": len(played.answered_at) / played.seconds if played.seconds > 0 else float("nan"),
        "device": said.get("device", ""),
        **{
            name: {key.partition("/")[2]: float(value) for key, value in said.items() if key.startswith(f"{name}/")}
            for name in NODE_TIMES
        },
    }


def estimates(source: Source, heard: Heard) -> Floats:
    """(N, 7) published poses of the images, NaN where there is none."""
    return _by_stamp(source.stamps_ns, heard.poses)


def write_results(
    out: Path, title: str, source: Source, heard: Heard, metrics: dict[str, Any], notes: list[str]
) -> None:
    """metrics.json, TUM trajectories, the picture and the report into `out`."""
    write_json(out / "metrics.json", metrics)
    stamps, true = source.stamps_ns, np.isfinite(source.truth_N7).all(axis=1)
    pictures = {}
    if heard.poses:
        note = f"{title}: as published on {ANSWERS['localization'][0]}, not aligned"
        write_tum(out / "estimate.tum", stamps, estimates(source, heard), heard.map_frame, note)
    if heard.odometry:
        note = f"{title}: as published on {ANSWERS['odometry'][0]}; starts at its own origin"
        write_tum(out / "odometry.tum", stamps, _by_stamp(stamps, heard.odometry), heard.odom_frame, note)
    if true.any():
        write_tum(out / "ground_truth.tum", stamps, source.truth_N7, heard.map_frame, f"{title}: {source.topics.truth}")
    if true.any() and "localization" in metrics:
        plot_trajectory(out / "trajectory.png", source.truth_N7[true], estimates(source, heard)[true], title)
        pictures["Ground truth and what the node published, seen from above"] = out / "trajectory.png"
    write_report(out, title, metrics, pictures=pictures, notes=notes)


def findings(
    source: Source, heard: Heard, metrics: dict[str, Any], model: Metadata, ungated: bool, limits: dict[str, str]
) -> list[str]:
    """The result in words and figures, first of all; then what explains a bad one. `limits`: of the gate, in words."""
    node, said = metrics["node"], []
    withheld = sum(node["withheld"].values())
    figures = metrics.get("localization")
    if withheld and withheld == node["processed"]:
        reasons = ", ".join(
            f"{count} {reason} ({limits[reason]}; {PARAMETERS[reason]})" for reason, count in node["withheld"].items()
        )
        shows = "" if ungated else "; --no-gate shows the poses"
        said.append(f"result: no pose, all {withheld} were withheld: {reasons}{shows}")
    elif figures is not None and np.isfinite(figures["median_translation_m"]):
        text = (
            f"result: pose {figures['median_translation_m']:.3f} m, {figures['median_rotation_deg']:.2f} deg (median)"
        )
        said.append(f"{text}, {figures['frames'] - figures['failed']} of {figures['frames']} images got one")
    elif figures is not None:
        text = f"result: {figures['failed']} of {figures['frames']} images got no pose"
        if alone := metrics.get("answered_images_alone"):
            text += (
                f"; the other {alone['frames']} are {alone['median_translation_m']:.3f} m, "
                f"{alone['median_rotation_deg']:.2f} deg off (median of these alone)"
            )
        said.append(text)
    elif "localization" in model.tasks:
        said.append("result: no ground truth to compare with; --pose-topic names one")
    else:
        said.append(f"result: {', '.join(other_results(metrics)) or 'no ground truth to compare with'}")
    said += too_slow(node)
    if figures is not None:
        truth_N7, found_N7 = source.truth_N7, estimates(source, heard)
        both = np.isfinite(truth_N7).all(axis=1) & np.isfinite(found_N7).all(axis=1)
        said += wrong_frame(truth_N7[both], found_N7[both], model)
    return said


def other_results(metrics: dict[str, Any]) -> list[str]:
    """What is scored of a network without poses."""
    said = []
    if figures := metrics.get("segmentation"):
        said.append(f"mean IoU {100 * figures['mean_iou']:.1f} % over {figures['frames']} images")
    if figures := metrics.get("odometry"):
        said.append(f"odometry {figures['rpe_translation_m']:.4f} m, {figures['rpe_rotation_deg']:.3f} deg an image")
    return said


def too_slow(node: dict[str, Any]) -> list[str]:
    """A line where many images were dropped because the next one came first; `node` is that section of the metrics."""
    dropped = node["dropped"].get(NEWER, 0)
    if dropped <= SLOW_SHARE * node["received"]:
        return []
    text = f"{dropped} of {node['received']} images were dropped because this machine is slower than the recording"
    return [f"{text}, and count as without a pose: --fast plays as fast as the node answers"]


def wrong_frame(truth_N7: Floats, found_N7: Floats, model: Metadata) -> list[str]:
    """A line where ground truth and estimates differ by a fixed rotation, or are in different places altogether."""
    said = []
    if len(truth_N7) >= LEAST_TURNED:
        turn_N7 = relative(truth_N7, found_N7)
        mean_7 = weighted_mean(turn_N7)
        rest_N = rotation_angle(relative(np.tile(mean_7, (len(turn_N7), 1)), turn_N7)[:, 3:])
        angle, rest = (float(np.degrees(each)) for each in (rotation_angle(mean_7[None, 3:])[0], np.median(rest_N)))
        if angle > TURNED_DEG and rest < angle / 4:
            said.append(
                f"ground truth and estimates differ by one rotation of {angle:.0f} deg (+- {rest:.1f}): the ground "
                "truth is not of the camera's optical frame; name its frame with --pose-frame (base_link, ...) or give "
                "--extrinsics"
            )
    if model.position_min_3:
        low, high = np.array(model.position_min_3), np.array(model.position_max_3)
        away_N = np.maximum(low - truth_N7[:, :3], truth_N7[:, :3] - high).max(axis=1, initial=0.0)
        if len(away_N) and np.median(away_N) > max(FAR_M, float((high - low).max())):
            said.append(
                f"the ground truth is {np.median(away_N):.1f} m outside of where the model was trained: it is in "
                "another map; vlocnetpp data doctor finds the transform between two drives of a dataset"
            )
    return said


def show(title: str, metrics: dict[str, Any], findings: list[str], limits: dict[str, str]) -> None:
    """Print the result in words, then the figures as one table. `limits`: of the gate, in words."""
    for line in findings:
        print(f"{title}: {line.removeprefix('result: ')}" if line.startswith("result: ") else line)
    node, latency = metrics["node"], metrics["latency_ms"]
    dropped = sum(node["dropped"].values())
    rows: list[tuple[str, str]] = [
        ("images", f"{node['published']} published, {node['lost']} lost on the way"),
        ("received = processed + dropped", f"{node['received']} = {node['processed']} + {dropped}"),
        *((f"  dropped: {reason}", str(count)) for reason, count in sorted(node["dropped"].items())),
        *(
            (f"  pose withheld: {reason}", f"{count}: {limits[reason]}")
            for reason, count in sorted(node["withheld"].items())
        ),
        *(
            [
                ("rate", f"{node['rate_hz']:.1f} images/s on {node['device']}"),
                ("latency over DDS, p50 / p95", f"{latency['p50']:.1f} / {latency['p95']:.1f} ms"),
            ]
            if node["answered"]
            else [("latency in the node, p50 / p95", _node_latency(node))]
        ),
        ("cold starts", str(node["cold_starts"])),
    ]
    if "localization" in metrics:
        m = metrics["localization"]
        wrong = ", each counts as infinitely wrong" if m["failed"] else ""
        rows += [
            ("images without a pose", f"{m['failed']} of {m['frames']}{wrong}"),
            ("position error, median / p95", f"{m['median_translation_m']:.3f} / {m['p95_translation_m']:.3f} m"),
            ("rotation error, median / p95", f"{m['median_rotation_deg']:.2f} / {m['p95_rotation_deg']:.2f} deg"),
            ("within 5 cm and 5 deg", f"{100 * m['recall_5cm_5deg']:.1f} %"),
            ("within 25 cm and 5 deg", f"{100 * m['recall_25cm_5deg']:.1f} %"),
        ]
    if "answered_images_alone" in metrics:
        m = metrics["answered_images_alone"]
        text = f"{m['median_translation_m']:.3f} m, {m['median_rotation_deg']:.2f} deg"
        rows.append((f"not the result: median of the {m['frames']} images with a pose alone", text))
    if "calibration" in metrics:
        shares = [100 * metrics["calibration"][kind]["within_1_sigma"] for kind in ("translation", "rotation")]
        rows.append(("errors within their 68 % bounds", f"position {shares[0]:.0f} %, rotation {shares[1]:.0f} %"))
    if "odometry" in metrics:
        m = metrics["odometry"]
        if m["segments"]:
            rows.append(("odometry drift", f"{m['translation_percent']:.1f} %, {m['rotation_deg_per_m']:.2f} deg/m"))
        rows.append(("odometry error per image", f"{m['rpe_translation_m']:.4f} m, {m['rpe_rotation_deg']:.3f} deg"))
    if "segmentation" in metrics:
        rows.append(("mean IoU", f"{100 * metrics['segmentation']['mean_iou']:.1f} %"))
    print_table(title, ("figure", "value"), rows)


def _node_latency(node: dict[str, Any]) -> str:
    times = node["latency_ms"]
    if not node["processed"] or "p50" not in times:
        return "no image was answered"
    return f"{times['p50']:.1f} / {times['p95']:.1f} ms on {node['device']}, over {node['processed']} images"


def _odometry(source: Source, heard: Heard) -> dict[str, Any]:
    """Motions from one published odometry to the next, scored where both images have ground truth."""
    truth = {stamp: pose for stamp, pose in zip(source.stamps_ns.tolist(), source.truth_N7) if np.isfinite(pose).all()}
    motions, poses, valid = [], [], []
    before: int | None = None
    for stamp, pose_7 in heard.odometry.items():
        if stamp in truth:
            valid.append(before in truth and stamp not in heard.held)
            motions.append(relative(pose_7 if before is None else heard.odometry[before], pose_7))
            poses.append(truth[stamp])
        before = stamp
    return odometry_metrics(np.reshape(motions, (-1, 7)), np.reshape(poses, (-1, 7)), np.array(valid, dtype=bool))


def _confusion(source: Source, recording: Path, classes: int) -> tuple[NDArray[np.int64], int]:
    """Counts over the images that have both masks, and how many there are; both bags are in the order of the images."""
    matrix, frames = np.zeros((classes, classes), np.int64), 0
    place = {stamp: i for i, stamp in enumerate(source.stamps_ns.tolist())}
    truths = ((place[stamp], mask_HW) for stamp, mask_HW in source.masks() if stamp in place)
    at, truth_HW = next(truths, (len(source.stamps_ns), np.empty(0, np.uint8)))
    for stamp, mask_HW in _masks(recording):
        while at < place[stamp]:
            at, truth_HW = next(truths, (len(source.stamps_ns), truth_HW))
        if at != place[stamp]:
            continue
        if truth_HW.shape != mask_HW.shape:
            shapes = f"{truth_HW.shape}, the mask of its image {mask_HW.shape}"
            raise DataError(f"{source.bag}: {source.topics.masks} is {shapes}")
        # Not scored: classes that the model does not know, and pixels outside of what the network looks at.
        unseen = mask_HW == VOID
        truth = np.where((truth_HW >= classes) | unseen, VOID, truth_HW).astype(np.uint8)
        matrix += confusion(np.where(unseen, 0, mask_HW), truth, classes)
        frames += 1
    return matrix, frames


def _masks(recording: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    topic = ANSWERS["segmentation"][0]
    for each in iter_bag(recording, {topic}):
        yield each.header_stamp_ns(), bag_messages.mask(each.message(), f"{recording}: {topic}")


def _by_stamp(stamps_ns: NDArray[np.int64], poses: dict[int, Floats]) -> Floats:
    missing = np.full(7, np.nan)
    return np.array([poses.get(stamp, missing) for stamp in stamps_ns.tolist()]).reshape(-1, 7)
