"""Model files that are damaged, that lie, or that do more than compute: refused in one line before they are built."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT

from vlocnetpp.runtime import ModelFileError, load_model, read_metadata

DEMO = ROOT / "models/demo.ts"


@pytest.fixture(scope="module")
def demo() -> bytes:
    return DEMO.read_bytes()


def test_every_single_flipped_bit_of_a_record_is_refused(demo: bytes, tmp_path: Path) -> None:
    """Before, 117 of 120 loaded with other weights and no complaint."""
    with zipfile.ZipFile(DEMO) as archive:
        starts = [(record.header_offset, record.file_size) for record in archive.infolist() if record.file_size > 256]
    rng = np.random.default_rng(0)
    for _ in range(40):
        start, size = starts[rng.integers(len(starts))]
        # Behind the local header and its padding, so within the content.
        at = start + 256 + int(rng.integers(size - 256 + 1))
        damaged = bytearray(demo)
        damaged[at] ^= 1 << int(rng.integers(8))
        file = tmp_path / "damaged.ts"
        file.write_bytes(damaged)
        with pytest.raises(ModelFileError) as caught:
            load_model(file, "cpu")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def with_metadata(demo: Path, path: Path, **changes: Any) -> Path:
    """The demo's file with other metadata."""
    with zipfile.ZipFile(demo) as old, zipfile.ZipFile(path, "w") as new:
        for record in old.infolist():
            data = old.read(record)
            if record.filename.endswith("/extra/metadata.json"):
                data = json.dumps({**json.loads(data), **changes}).encode()
            new.writestr(record.filename, data)
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"position_min_3": [float("nan")] * 3}, "position_min_3"),
        ({"position_min_3": [9.0, 9.0, 9.0]}, "below position_max_3"),
        ({"calibration_2": [0.0, 1.0]}, "two positive numbers"),
        ({"calibration_2": [-1.0, 1.0]}, "two positive numbers"),
        ({"motion_calibration_2": [1.0]}, "two positive numbers or none"),
        ({"motion_calibration_2": [1.0, 0.0]}, "two positive numbers or none"),
        ({"resize": "nonsense"}, "whole or crop"),
        ({"format": -5}, "has format -5"),
        ({"input_height": 10**9}, "from 1 to 8192"),
        ({"input_height": "128"}, "from 1 to 8192"),
        ({"K_33": [[1.0, 0.0], [0.0, 1.0]]}, "3 x 3 intrinsics"),
        ({"classes": [["x" * 10**6, [0, 0, 0]]]}, "up to 255 names"),
        ({"classes": [["Sky", [0, 0, 256]]]}, "up to 255 names"),
        ({"state_shapes": {"a": [10**12]}}, "names with sizes"),
        ({"tasks": ["cooking"]}, "localization or odometry"),
        ({"limits": {"uncertainty_m": float("inf")}}, "names with positive numbers"),
        ({"map_frame": ""}, "the name of a frame"),
        ({"metrics": [1]}, "an object"),
        ({"dataset": {"x": "y" * (5 << 20)}}, "over 4 MiB"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_metadata_that_cannot_be_is_refused_in_one_bounded_line(tmp_path: Path, changes: dict, says: str) -> None:
    file = with_metadata(DEMO, tmp_path / "lies.ts", **changes)
    with pytest.raises(ModelFileError) as caught:
        read_metadata(file)
    said = str(caught.value)
    assert says in said and "\n" not in said and len(said) < 600


def test_metadata_nested_beyond_reason_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "deep.ts", "w") as archive:
        archive.writestr("deep/extra/metadata.json", "[" * 100_000)
    with pytest.raises(ModelFileError, match="is not JSON"):
        read_metadata(tmp_path / "deep.ts")


class Writes(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x


class Reads(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_file("/etc/hostname", False, 8, dtype=torch.uint8)


class Loops(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while bool(x.sum() <= 0):
            x = x * 1
        return x


@pytest.mark.parametrize(("module", "says"), [(Writes, "save"), (Reads, "from_file"), (Loops, "without a bound")])
def test_code_that_touches_files_or_never_returns_is_refused_before_it_is_built(
    tmp_path: Path, module: type, says: str
) -> None:
    """TorchScript would run it with the rights of the process."""
    written = tmp_path / "written"
    evil = torch.jit.script(module(str(written)) if module is Writes else module())
    with zipfile.ZipFile(DEMO) as archive:
        name = next(each for each in archive.namelist() if each.endswith("/extra/metadata.json"))
        metadata = archive.read(name).decode()
    file = tmp_path / "evil.ts"
    evil.save(str(file), _extra_files={"metadata.json": metadata})
    began = time.monotonic()
    with pytest.raises(ModelFileError, match=says):
        load_model(file, "cpu")
    assert time.monotonic() - began < 30.0 and not written.exists()


def test_zeros_that_are_zipped_to_next_to_nothing_are_refused(tmp_path: Path) -> None:
    """1.5 MB of them would be gigabytes."""
    file = tmp_path / "bomb.ts"
    with zipfile.ZipFile(DEMO) as old, zipfile.ZipFile(file, "w") as new:
        for record in old.infolist():
            new.writestr(record.filename, old.read(record))
        new.writestr("demo.ts/data/zeros", bytes(65 << 20), compress_type=zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelFileError, match="compressed, over 64 MiB"):
        load_model(file, "cpu")


def test_the_shipped_file_passes(tmp_path: Path) -> None:
    copy = shutil.copy(DEMO, tmp_path / "copy.ts")
    assert load_model(copy, "cpu").metadata == read_metadata(DEMO)
