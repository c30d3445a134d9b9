"""A benchmark from the plan to the report; when interrupted, the same command continues it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlocnetpp.benchmark.machine import describe_machine
from vlocnetpp.benchmark.make import Shared, make
from vlocnetpp.benchmark.plan import BenchmarkError, Job, Plan, Settings, plan
from vlocnetpp.benchmark.record import read_errors, read_record, write_record
from vlocnetpp.benchmark.report import About, Result, write_benchmark
from vlocnetpp.benchmark.suite_report import write_suite
from vlocnetpp.data import dataset_digest, open_dataset
from vlocnetpp.data.files import lock
from vlocnetpp.progress import duration
from vlocnetpp.reporting.files import write_json
from vlocnetpp.reporting.out_folder import remove_results
from vlocnetpp.reporting.tables import Table
from vlocnetpp.runtime.model_file import choose_device

SETTINGS_NAME, RESULTS, RUNS = "settings.json", "results", "runs"
VERSION = 2
FILES = (SETTINGS_NAME, RESULTS, RUNS, "report.md", "report.html", "benchmark.json", "figures")
"""What a benchmark writes."""


@dataclass(frozen=True)
class Outcome:
    """How a benchmark ended."""

    failed: tuple[str, ...] = ()
    """Rows without a result, which the report names with the reason."""
    stopped_by: int = 0
    """Number of the signal that ended it early; 0 where it is over."""


def benchmark(root: Path, out: Path, settings: Settings, command: str = "") -> Outcome:
    """Run every row that the labels of a dataset allow and write report.md, report.html, benchmark.json and figures.

    Args:
        root: folder of the dataset.
        out: folder of the benchmark; finished rows in it are not repeated, an interrupted training is continued.
        command: how it was called, for the report.

    Raises BenchmarkError where `out` holds a benchmark with other settings, and the errors of its parts: DataError,
    ConfigError, CheckpointError, ModelFileError.
    """
    dataset = open_dataset(root, settings.layout or None)
    planned = plan(dataset, settings)
    digest = dataset_digest(dataset)
    machine = describe_machine(str(choose_device(settings.device)))
    check_settings(out, settings, digest)
    with alone(out):
        if stopped_by := _run(planned, Shared(dataset, settings, out / RUNS), out, machine):
            return Outcome(stopped_by=stopped_by)
        return report(out, planned, About(dataset, settings, planned.splits, digest, command))


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Refuse a second benchmark in the folder for as long as this one runs. Raises BenchmarkError."""
    with (out / SETTINGS_NAME).open("rb") as held:
        if not lock(held.fileno()):
            raise BenchmarkError(f"{out}: another benchmark is running here; wait for it or end it")
        yield


def _run(planned: Plan, shared: Shared, out: Path, machine: str) -> int:
    """Make the remaining rows. Returns the number of the signal that stopped one, or 0."""
    left = [job for job in planned.jobs if _missing(out, job)]
    paces: dict[str, list[float]] = {}
    for number, job in enumerate(left):
        _say(job, len(planned.jobs) - len(left) + number + 1, len(planned.jobs), _left_s(left[number:], paces))
        began = time.monotonic()
        judge = make(job, shared, machine)
        if isinstance(judge, int):
            return judge
        for split in _missing(out, job):
            record, errors = judge(split)
            record = replace(record, load=round(os.getloadavg()[0], 1))
            write_record(out / RESULTS / split, job.key, record, errors)
        if job.expected_s:
            paces.setdefault(job.kind, []).append((time.monotonic() - began) / job.expected_s)
    return 0


def _missing(out: Path, job: Job) -> list[str]:
    """The splits for which a job has no row yet."""
    return [split for split in job.splits if read_record(out / RESULTS / split, job.key) is None]


def report(out: Path, planned: Plan, about: About) -> Outcome:
    """Write the report of a benchmark whose rows are all finished."""
    print(f"benchmark: writing the report into {out}", file=sys.stderr, flush=True)
    results: dict[str, list[Result]] = {}
    for split in planned.splits:
        jobs = [job for job in planned.jobs if split in job.splits]
        results[split] = [_read(out / RESULTS / split, job) for job in jobs]
    if len(planned.splits) == 1:
        write_benchmark(out, results[planned.splits[0]], planned.skipped, about)
    else:
        write_suite(out, results, planned.skipped, about)
    failed = [job.key for rows in results.values() for job, record, _ in rows if record.failed]
    return Outcome(tuple(dict.fromkeys(failed)))


def _read(folder: Path, job: Job) -> Result:
    record = read_record(folder, job.key)
    if record is None:
        raise BenchmarkError(f"{folder}: the result of {job.key} has gone; begin the benchmark again to make it anew")
    localizes = not record.failed and "localization" in record.metrics
    return job, record, read_errors(folder, job.key) if localizes else None


def check_settings(out: Path, settings: Settings, digest: str) -> None:
    """Write the settings into the folder of a benchmark, or compare them with those in it. Raises BenchmarkError."""
    noted = out / SETTINGS_NAME
    wanted = json.loads(json.dumps({"version": VERSION, "dataset": digest, **settings.fixed()}))
    if not noted.exists():
        if foreign := [name for name in FILES if (out / name).exists()]:
            raise BenchmarkError(f"{out}: holds {foreign[0]} of something else; name another folder")
        write_json(noted, wanted)
        return
    try:
        before = json.loads(noted.read_text(encoding="utf-8"))
        changed = [name for name in {**before, **wanted} if before.get(name) != wanted.get(name)]
    except (OSError, ValueError, AttributeError) as error:
        raise BenchmarkError(f"{noted}: cannot be read; name another folder, or delete this one") from error
    if changed:
        name = changed[0]
        if name == "version":
            raise BenchmarkError(f"{out}: was begun by another version of vlocnetpp; name another folder")
        if name == "dataset":
            raise BenchmarkError(f"{out}: was begun on other data; name another folder, or restore the data")
        raise BenchmarkError(
            f"{out}: was begun with {name} {_text(before.get(name))}, not {_text(wanted.get(name))}; "
            "go on with the same settings or name another folder"
        )


def begin_anew(out: Path) -> None:
    """Remove the benchmark that a folder holds; other files stay. Raises BenchmarkError where it is running."""
    if (out / SETTINGS_NAME).is_file():
        with alone(out):
            remove_results(out, FILES)


def open_plan(root: Path, out: Path, settings: Settings, anew: bool = False) -> tuple[Table, str]:
    """The plan and the time for what is left to run; writes nothing. Raises as `benchmark` does.

    Rows that are finished in `out` are marked, unless the benchmark there is to be replaced (`anew`).
    """
    planned = plan(open_dataset(root, settings.layout or None), settings)
    rows, left = [], []
    for job in planned.jobs:
        records = [None if anew else read_record(out / RESULTS / split, job.key) for split in job.splits]
        state = "begun" if any(records) or (not anew and (out / RUNS / job.key).exists()) else "to do"
        if all(records):
            state = "failed" if any(record.failed for record in records if record) else "done"
        else:
            left.append(job)
        expected = "unknown" if job.expected_s is None else f"about {duration(job.expected_s)}"
        rows.append([job.name, job.kind, "-" if job.seed is None else str(job.seed), expected, state])
    rows += [[each.name, "left out", "-", "-", each.reason] for each in planned.skipped]
    total = _left_s(left, {})
    time_left = "for as long as the epochs take" if total is None else f"about {duration(total)}"
    return Table("Plan", ("row", "kind", "seed", "time", "state"), rows), (
        f"{len(left)} of {len(planned.jobs)} rows to run, {time_left}"
    )


def command_line() -> str:
    """How this process was called, as the report quotes it."""
    return shlex.join(["vlocnetpp", *sys.argv[1:]])


def _say(job: Job, number: int, total: int, left_s: float | None) -> None:
    """Print which job of how many runs, and the time left."""
    seed = "" if job.seed is None else f", seed {job.seed}"
    left = "" if left_s is None else f"; about {duration(left_s)} left"
    print(f"benchmark: {number} of {total}, {job.name}{seed}{left}", file=sys.stderr, flush=True)


def _left_s(jobs: list[Job], paces: dict[str, list[float]]) -> float | None:
    """The planned time of the jobs, scaled by the pace of finished jobs of their kind; None where the plan has no
    time.
    """
    total = 0.0
    for job in jobs:
        if job.expected_s is None:
            return None
        known = paces.get(job.kind, [1.0])
        total += job.expected_s * sum(known) / len(known)
    return total


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items()) or "nothing"
    return "unset" if value in (None, "") else str(value)


def exit_status(outcome: Outcome) -> int:
    """0: every row has a result; 1: some have failed and the report says why; 128 and the signal: stopped early."""
    if outcome.stopped_by:
        return 128 + signal.Signals(outcome.stopped_by)
    return 1 if outcome.failed else 0
