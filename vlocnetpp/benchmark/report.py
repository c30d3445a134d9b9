"""The report of a benchmark: Markdown and HTML for people, JSON for programs, all from the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from vlocnetpp.benchmark import result_tables as tables
from vlocnetpp.benchmark.figures import plot_error_bars, plot_error_by_distance, plot_shares
from vlocnetpp.benchmark.methods import Method
from vlocnetpp.benchmark.page import write_page
from vlocnetpp.benchmark.paper_figures import figure_2, figure_3
from vlocnetpp.benchmark.paper_tables import paper_tables
from vlocnetpp.benchmark.plan import Job, Settings, Skipped, changed, configuration
from vlocnetpp.benchmark.record import Errors, Record
from vlocnetpp.benchmark.rows import Row, join
from vlocnetpp.benchmark.sentences import as_json, costs, duel_table, duels, leak_gap, usefulness, winners
from vlocnetpp.data import Dataset
from vlocnetpp.metrics import pose_errors
from vlocnetpp.peers.nearest_training_pose import METRES_PER_DEGREE, NEAREST_TRAINING_POSE
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.files import write_json, write_text
from vlocnetpp.reporting.tables import Table, markdown_table

VERSION = 1
ORACLE = NEAREST_TRAINING_POSE.name
LEAK_PROBE, LEAK_OWN = "vlocnet_leak_probe", "vlocnet"
Result = tuple[Job, Record, Errors | None]


@dataclass(frozen=True)
class About:
    """The head of a report: data, machine, command."""

    dataset: Dataset
    settings: Settings
    splits: tuple[str, ...]
    """The splits that were judged on."""
    digest: str
    command: str

    @property
    def name(self) -> str:
        """Of the dataset, from its folder."""
        return self.dataset.root.resolve().name


def write_benchmark(out: Path, results: Sequence[Result], skipped: Sequence[Skipped], about: About) -> None:
    """Write report.md, report.html, benchmark.json and figures/ of one split.

    Raises DataError where they cannot be written.
    """
    rows = join([(record, errors) for _, record, errors in results])
    failed = [Skipped(job.key, record.failed) for job, record, _ in results if record.failed]
    localizing = [row for row in rows if row.errors]
    (split,) = about.splits
    distance_N = distances(about.dataset, split)[:, 0] if localizing else np.empty(0)
    pictures = draw(out, localizing, distance_N, about.name)
    found = duels(rows)
    classes = [each.name for each in about.dataset.classes]
    chapters: list[tuple[Table, str]] = [
        (tables.localization_table(rows, about.name), LOCALIZATION),
        (duel_table(found), DUELS),
        (tables.odometry_table(rows, about.name), ODOMETRY.format(drift=drift_words(rows))),
        (tables.segmentation_table(rows, classes), SEGMENTATION),
        (tables.multitask_table(rows), MULTITASK),
        (tables.cost_table(rows), COST),
    ]
    chapters = [(table, words) for table, words in chapters if table.rows]
    sentences = winners(rows, found) + costs(rows) + verdicts(rows, distance_N)
    title = f"Benchmark on {about.name}, {split}"
    body: list[str] = []
    for number, (table, words) in enumerate(chapters):
        body += chapter(table, words)
        if number == 0:
            body += [picture(caption, file) for caption, file in pictures.items()]
    of_paper = paper_tables(rows, about.name, classes)
    figures = draw_paper(out, localizing, about.name)
    if of_paper or figures:
        body += ["## The paper's tables and figures", PAPER]
        body += [f"### {table.title}\n\n{markdown_table(table.columns, table.rows)}" for table in of_paper]
        body += [picture(caption, file) for caption, file in figures.items()]
    notes = facts(results, about)
    text = markdown_report(title, notes, sentences, body, rows, [*skipped, *failed])
    of_rows = [{"key": job.key, **asdict(record)} for job, record, _ in results]
    comparisons = [as_json(duel) for duel in found]
    content = {"rows": of_rows, "comparisons": comparisons, "says": sentences}
    chapters += [(table, "") for table in of_paper]
    write_files(out, title, text, about, {"split": split}, content, skipped, chapters)


def write_files(
    out: Path,
    title: str,
    text: str,
    about: About,
    judged: Mapping[str, Any],
    content: Mapping[str, Any],
    skipped: Sequence[Skipped],
    chapters: Sequence[tuple[Table, str]],
) -> None:
    """Write report.md, report.html and benchmark.json. Raises DataError where they cannot be written.

    Args:
        judged: the split or splits, for the JSON's description of the dataset. content: the rows, their comparisons and
        the sentences about them, as plain data.
    """
    write_text(out / "report.md", text)
    write_page(out / "report.html", title, text)
    write_json(
        out / "benchmark.json",
        {
            "version": VERSION,
            "dataset": {"name": about.name, "digest": about.digest, **judged},
            "settings": asdict(about.settings),
            "command": about.command,
            **content,
            "left_out": [each._asdict() for each in skipped],
            "tables": [table._asdict() for table, _ in chapters],
        },
    )


def distances(dataset: Dataset, split: str) -> Floats:
    """From each posed frame of a split to its nearest training pose by the oracle's balance (N, 2): metres, degrees."""
    train = np.array([f.pose_7 for f in dataset.frames("train") if f.pose_7 is not None], np.float64)
    found = []
    for frame in dataset.frames(split):
        if frame.pose_7 is not None:
            metres, degrees = pose_errors(train, np.tile(frame.pose_7, (len(train), 1)))
            best = np.argmin(metres + METRES_PER_DEGREE * degrees)
            found.append((metres[best], degrees[best]))
    return np.array(found, np.float64).reshape(-1, 2)


def drift_words(rows: Sequence[Row]) -> str:
    """Over which lengths drift was measured."""
    found = {m for row in rows for r in row.records for m in r.metrics.get("odometry", {}).get("segment_lengths_m", [])}
    lengths = ", ".join(f"{metres:g}" for metres in sorted(found))
    return f"over segments of {lengths} m" if found else "(none: the sequences are too short for a segment)"


def draw(out: Path, rows: Sequence[Row], distance_N: Floats, name: str) -> dict[str, Path]:
    """Draw the figures for which there are rows. Returns them by caption."""
    if not rows:
        return {}
    folder = out / "figures"
    pictures = {
        "Median (dot) and quartiles (bar) of the errors by method; small strokes are single seeds": "error_bars.png",
        "Median error against the distance to the nearest training pose": "error_by_distance.png",
        "Share of the frames within an error": "shares.png",
    }
    files = [folder / file for file in pictures.values()]
    plot_error_bars(files[0], rows, name)
    plot_error_by_distance(files[1], rows, distance_N, name)
    plot_shares(files[2], rows, name)
    return dict(zip(pictures, files, strict=True))


def draw_paper(out: Path, rows: Sequence[Row], name: str) -> dict[str, Path]:
    """Draw figures 2 and 3 of the paper, where there are rows for them. Returns them by caption."""
    pictures = {
        "Localization, in the shape of the paper's Fig. 2": (figure_2, "paper_figure_2.png"),
        "Multitask variants, in the shape of the paper's Fig. 3": (figure_3, "paper_figure_3.png"),
    }
    files = {caption: (plot, out / "figures" / file) for caption, (plot, file) in pictures.items()}
    return {caption: file for caption, (plot, file) in files.items() if plot(file, rows, name)}


def verdicts(rows: Sequence[Row], distance_N: Floats) -> list[str]:
    """Sentences on the leak probe, and on whether training beats an ideal retrieval far from the training poses."""
    known = {row.name: row for row in rows if row.errors}
    lines = []
    if LEAK_PROBE in known and LEAK_OWN in known:
        lines.append(leak_gap(known[LEAK_PROBE], known[LEAK_OWN]))
    trained = [row for row in known.values() if row.learned and not row.greyed]
    if trained and ORACLE in known:
        best = min(trained, key=lambda row: row.mean("localization", "median_translation_m"))
        lines.append(usefulness(best, known[ORACLE], distance_N))
    return lines


def facts(results: Sequence[Result], about: About) -> list[str]:
    """How the report was made."""
    settings, dataset = about.settings, about.dataset
    records = [record for _, record, _ in results]
    loads = [record.load for record in records]
    train = len(dataset.frames("train"))
    judged = ", ".join(f"{len(dataset.frames(split))} in '{split}'" for split in about.splits)
    budget = f"{settings.budget} of training steps for each method and seed, all its stages and tasks together"
    lines = [
        f"command: `{about.command}`" if about.command else "",
        f"data: {about.name}, layout {dataset.layout}, {train} frames for training, {judged}",
        f"digest of the data: {about.digest}",
        f"budget: {budget if settings.budget else ' '.join(f'{k}={v}' for k, v in settings.overrides.items())}",
        f"seeds: {settings.seeds}; a figure is the mean over the seeds, in brackets the smallest and the largest",
        *(f"machine: {machine}" for machine in dict.fromkeys(record.machine for record in records)),
        f"load of the machine: {min(loads):g} to {max(loads):g} while the rows were made, of which this is one",
        *(f"source: {revision}" for revision in dict.fromkeys(record.source_revision for record in records)),
        f"date: {date.today().isoformat()}",
        *older_settings(results, about),
    ]  # fmt: skip
    return [line for line in lines if line]


def older_settings(results: Sequence[Result], about: About) -> list[str]:
    """A line for each method whose rows are of other settings than its file and the trainer's defaults make today."""
    found: dict[str, list[str]] = {}
    for job, record, _ in results:
        if isinstance(job.what, Method) and record.settings:
            now = configuration(job.what, job.seed or 0, about.dataset, about.settings)
            if names := changed(record.settings, now):
                found[job.name] = names
    return [
        f"{name}: was trained with other settings than its file has now ({', '.join(names)}); `--replace` begins anew"
        for name, names in found.items()
    ]


def markdown_report(
    title: str,
    notes: Sequence[str],
    sentences: Sequence[str],
    body: Sequence[str],
    rows: Sequence[Row],
    without_result: Sequence[Skipped],
) -> str:
    """The whole page; `body` are its chapters and pictures."""
    parts = [f"# {title}", markdown_list(notes)]
    if sentences:
        parts += ["## What the figures say", markdown_list(sentences)]
    parts += [*body, "## The rows", markdown_list([f"{tables.marked(row)}: {row.note}" for row in rows if row.note])]
    if without_result:
        parts += ["## Rows without a result", markdown_list([f"{each.name}: {each.reason}" for each in without_result])]
    return "\n\n".join(parts) + "\n"


def chapter(table: Table, words: str) -> list[str]:
    """Heading, words where there are any, and the table."""
    return [part for part in (f"## {table.title}", words, markdown_table(table.columns, table.rows)) if part]


def picture(caption: str, file: Path) -> str:
    """A picture of the folder `figures` beside the page, and its caption."""
    return f"![{caption}](figures/{file.name})\n\n{caption}."


def markdown_list(lines: Sequence[str]) -> str:
    """Each line an item."""
    return "\n".join(f"- {line}" for line in lines)


LOCALIZATION = (
    "Errors of global poses, nothing aligned; a frame without an answer counts as infinitely wrong. Rows in italics "
    "look at the ground truth of the frames they are judged on: bounds, not methods."
)
DUELS = (
    "Difference of the median errors on the same frames (method minus rival; negative: the method is better) with the "
    "95 % interval of a paired bootstrap over frames. Neighbouring frames resemble each other, so the intervals are "
    "narrower than those over many recordings would be."
)
ODOMETRY = (
    "Drift of accumulated relative motions {drift}, and the root mean square error of "
    "one frame's motion (RPE). A sequence starts cold; its first frame has no motion."
)
SEGMENTATION = "Pixels without a label do not count."
PAPER = (
    "The methods of the paper's tables I to V and figures 2 and 3, as printed and as measured in this run. What is "
    "printed is of other data and other hardware: it shows whether methods rank alike, not which numbers are better. "
    "The means of table V are not all those of its classes: DeepLab's is the sum of the nine classes divided by ten, "
    "and FCN-8s and AdapNet have the same classes beside different means."
)
MULTITASK = "In one budget a multitask network learns all its tasks: equal time, not equal time for each task."
COST = (
    "Size: what a robot has to carry, the map of a method without a network or the exported network. Time of a frame "
    "on this machine: streaming as on the robot, from the decoded image to the answer."
)
