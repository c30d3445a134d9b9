"""Pictures that explain a model's pose: activation maps, the embedding of its features, trajectories in the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import Dataset
from vlocnetpp.errors import DataError
from vlocnetpp.evaluation.score import check_labels, true_poses
from vlocnetpp.explain.activation import SCALARS, explanation_of, named_layers
from vlocnetpp.explain.activation_figure import SheetRow, plot_activations
from vlocnetpp.explain.embedding import LEAST_FRAMES, Embedding, embed, require_sklearn, write_embedding
from vlocnetpp.explain.embedding_figure import plot_embeddings
from vlocnetpp.explain.errors import ExplainError
from vlocnetpp.explain.scene import Cloud, fuse, polyline, write_ply
from vlocnetpp.explain.scene_figure import plot_scene
from vlocnetpp.explain.spread import spread
from vlocnetpp.explain.streamed_features import StreamedFeatures, stream_features
from vlocnetpp.metrics import localization_metrics
from vlocnetpp.network.explaining import LAST
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.figures import view_from_above
from vlocnetpp.reporting.files import write_json, write_text
from vlocnetpp.reporting.tables import Table, markdown_table
from vlocnetpp.runtime import Model

TRUTH_RGB, ESTIMATE_RGB = (0, 0, 0), (230, 159, 0)
"""Of the trajectories in the PLY file, as in the picture."""


@dataclass(frozen=True)
class Options:
    """Options of the pictures."""

    split: str = "test"
    frames: int = 4
    """Rows of activation maps."""
    points: int = 400
    """Frames that are embedded at most."""
    layers: tuple[str, ...] = (LAST,)
    """Of the activation maps; see `Explanation.layers`."""
    scalar: str = "position"
    """What the activation maps explain: a name in `SCALARS`."""
    voxel_m: float | None = None
    """Edge of the scene's voxels, metres; None chooses it by the scene's size."""
    pdf: bool = False
    """Whether the figures are written as PDF, too."""


def explain(models: Sequence[Model], dataset: Dataset, out: Path, options: Options | None = None) -> list[Table]:
    """Write activation.png, embedding.png, scene.png, embedding.csv, scene.ply, explain.json and explain.md.

    Args:
        models: one or two from `export.rebuild`; the scene shows the first.
        dataset: with poses in the split; masks, and depth in the split `train`, are shown where there are any.
        out: folder, made if missing.
        options: by default those of `Options`.

    Returns:
        The table of figures, as in the report.

    Raises:
        ExplainError: a model without localization, an unknown layer or scalar, too few frames with poses, an answer
            that is not finite, models with different classes.
        DataError: no such split, other classes than the model's, an image that cannot be read, a file that cannot be
            written.
        CameraMismatchError: the camera of the dataset is not that of a model.
    """
    options = options or Options()
    frames = dataset.frames(options.split)
    posed, pose_N7 = true_poses(frames)
    check(models, dataset, options, int(posed.sum()))
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is not a folder")
    out.mkdir(parents=True, exist_ok=True)  # before the long computation, so that a missing folder is noticed first
    names = model_names(models)
    closely = spread(len(frames), options.frames)
    watched = {
        name: stream_features(model, dataset, options.split, closely, options.layers, options.scalar)
        for name, model in zip(names, models)
    }
    lengths = [len(sequence.frames) for sequence in dataset.sequences(options.split)]
    chosen = np.flatnonzero(posed)[spread(int(posed.sum()), options.points)]
    chosen_N7 = pose_N7[chosen]
    view = view_from_above(pose_N7[posed])
    embeddings = {
        name: embed(each.features_NC[chosen], chosen_N7, (view.right, view.up)) for name, each in watched.items()
    }
    cloud = fuse(dataset.frames(cloud_split(dataset, options.split)), options.voxel_m)

    rows = [
        SheetRow(
            frames[i].name, frames[i].image(), frames[i].mask(), {name: watched[name].explanations[i] for name in names}
        )
        for i in closely
    ]
    classes = next((model.metadata.classes for model in models if model.metadata.classes), ()) or [
        (each.name, each.color) for each in dataset.classes
    ]
    plot_activations(out / "activation.png", rows, classes, options.scalar, options.pdf)
    sequence = np.repeat(np.arange(len(lengths)), lengths)[chosen]
    plot_embeddings(out / "embedding.png", embeddings, chosen_N7, sequence, view, options.pdf)
    write_embedding(out / "embedding.csv", embeddings, [frames[i] for i in chosen], chosen_N7, dataset.map_frame)
    truth = by_sequence(pose_N7[:, :3], posed, lengths)
    estimate = by_sequence(watched[names[0]].pose_N7[:, :3], posed, lengths)
    plot_scene(out / "scene.png", cloud, truth, estimate, view, names[0], options.pdf)
    write_scene(out / "scene.ply", cloud, truth, estimate, dataset.map_frame)
    table = figures_of(embeddings, watched, pose_N7, posed)
    write_json(out / "explain.json", {row[0]: dict(zip(table.columns[1:], row[1:])) for row in table.rows})
    write_page(out / "explain.md", models, dataset, options, table, cloud)
    return [table]


def check(models: Sequence[Model], dataset: Dataset, options: Options, posed: int) -> None:
    """Raise ExplainError or DataError for invalid requests, before any long computation."""
    require_sklearn()
    if posed < LEAST_FRAMES:
        raise ExplainError(
            f"{dataset.root}: split '{options.split}' has {posed} frames with a ground-truth pose; "
            f"an explanation needs at least {LEAST_FRAMES}"
        )
    if options.points < LEAST_FRAMES:
        raise ExplainError(f"--points: {options.points} is not at least {LEAST_FRAMES}")
    for model in models:
        named_layers(explanation_of(model), options.layers, str(model.path))
        check_labels(model, dataset, options.split)
    if len({model.metadata.classes for model in models} - {()}) > 1:
        raise ExplainError(f"{' and '.join(str(model.path) for model in models)}: have different semantic classes")
    if options.scalar not in SCALARS:
        raise ExplainError(f"scalar '{options.scalar}' does not exist; there are {', '.join(SCALARS)}")


def model_names(models: Sequence[Model]) -> list[str]:
    """Unique names of the models in the pictures: the preset, then also the file, then also a number."""
    names = [model.metadata.preset for model in models]
    if len(set(names)) < len(names):
        names = [f"{name} {model.path.parent.name}/{model.path.name}" for name, model in zip(names, models)]
    if len(set(names)) < len(names):
        names = [f"{number}: {name}" for number, name in enumerate(names, 1)]
    return names


def cloud_split(dataset: Dataset, split: str) -> str:
    """Where the scene's depth comes from: the mapping run, where the dataset keeps it apart."""
    return "train" if "train" in dataset.splits else split


def by_sequence(position_N3: Floats, posed_N: NDArray[np.bool_], lengths: Sequence[int]) -> list[Floats]:
    """The positions (N, 3) of frames with poses, one array for each sequence that has any."""
    ends = np.cumsum(lengths)[:-1]
    parts = zip(np.split(position_N3, ends), np.split(posed_N, ends))
    return [part[kept] for part, kept in parts if kept.any()]


def write_scene(path: Path, cloud: Cloud, truth: list[Floats], estimate: list[Floats], map_frame: str) -> None:
    """The cloud and both trajectories as PLY."""
    every = np.concatenate(truth)
    step_m = max(float(np.linalg.norm(np.ptp(every, axis=0))) / 1000, 1e-3)
    lines = {
        "ground truth (black)": polyline(truth, TRUTH_RGB, step_m),
        "estimate (orange)": polyline(estimate, ESTIMATE_RGB, step_m),
    }
    write_ply(path, {"scene": cloud, **lines}, map_frame)


def figures_of(
    embeddings: dict[str, Embedding], watched: dict[str, StreamedFeatures], pose_N7: Floats, posed_N: NDArray[np.bool_]
) -> Table:
    """The figures behind the pictures, a row for each model."""
    columns = ("model", "median m", "median deg", "stress 2D", "stress 3D", "rank with position", "rank with rotation")
    rows = []
    for name, each in embeddings.items():
        errors = localization_metrics(watched[name].pose_N7[posed_N], pose_N7[posed_N])
        medians = errors["median_translation_m"], errors["median_rotation_deg"]
        rows.append([name, *medians, each.stress_2, each.stress_3, each.rank_position, each.rank_rotation])
    return Table("Features and poses", columns, rows)


def write_page(
    path: Path, models: Sequence[Model], dataset: Dataset, options: Options, table: Table, cloud: Cloud
) -> None:
    """The index of all that was written, with captions."""
    where = f"{dataset.root.resolve().name}, {options.split}"
    files = ", ".join(f"{model.path.name} ({model.metadata.preset})" for model in models)
    scene = (
        f"Depth of the split {cloud_split(dataset, options.split)}, {len(cloud.points_N3)} voxels; in the picture, "
        "what is higher than the cameras is cut off. scene.ply has all of it, and both trajectories as points."
        if len(cloud.points_N3)
        else f"The split {cloud_split(dataset, options.split)} has no frame with depth and pose, so there is no scene: "
        "the trajectories alone. So has scene.ply."
    )
    captions = {
        "activation": f"What the answered {options.scalar} rests on, Grad-CAM++ at {', '.join(options.layers)}: "
        f"{options.frames} frames spread over the split. Each map is scaled to its own maximum.",
        "embedding": "Penultimate features by metric MDS, turned onto the true positions, coloured by time like these. "
        "Stress: 0 keeps every distance of the features. Rank: 1 where far in the room is far in the features.",
        "scene": f"Estimated against true trajectory of {table.rows[0][0]}. {scene}",
    }
    parts = [f"# {files} on {where}"]
    for name, caption in captions.items():
        parts += [f"![{name}]({name}.png)", caption]
    parts += [markdown_table(table.columns, table.rows), "embedding.csv has the embedded points of every frame shown."]
    write_text(path, "\n\n".join(parts) + "\n")
