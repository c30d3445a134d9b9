"""TUM trajectories: what is written is read back, others' files too, and bad lines are named."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vlocnetpp.data.frames import DataError
from vlocnetpp.reporting import read_tum, write_tum

POSES = np.array([[1.5, -2.25, 0.125, 0.5, 0.5, -0.5, 0.5], [math.nan] * 7, [0, 0, 0, -1.0, 0, 0, 0]])
STAMPS = np.array([1_700_000_000_123_456_789, 1_700_000_000_156_790_122, 5])


def test_round_trip_keeps_nanoseconds_and_leaves_out_missing_estimates(tmp_path):
    path = tmp_path / "run" / "estimate.tum"
    write_tum(path, STAMPS, POSES, "map", note="model lab.ts\nsecond line")
    stamps, poses = read_tum(path)
    assert stamps.tolist() == [STAMPS[0], STAMPS[2]]
    np.testing.assert_array_equal(poses[0], POSES[0])
    np.testing.assert_array_equal(poses[1], [0, 0, 0, 1, 0, 0, 0])  # q and -q are one rotation; w >= 0 is read
    assert [each.name for each in path.parent.iterdir()] == ["estimate.tum"]


def test_the_file_says_what_it_holds(tmp_path):
    path = tmp_path / "estimate.tum"
    write_tum(path, STAMPS[:1], POSES[:1], "lab_map", note="model lab.ts\nsecond line")
    comments, data = path.read_text().splitlines()[:-1], path.read_text().splitlines()[-1]
    assert all(line.startswith("#") for line in comments)
    assert "timestamp[s] x[m] y[m] z[m] qx qy qz qw" in comments[0]
    assert "'lab_map'" in comments[1]
    assert comments[2:] == ["# model lab.ts", "# second line"]
    # qx qy qz qw: w goes last here, first in the library.
    assert data.split()[4:] == ["0.500000000", "-0.500000000", "0.500000000", "0.500000000"]
    assert data.split()[0] == "1700000000.123456789"


def test_reads_what_other_tools_write(tmp_path):
    path = tmp_path / "groundtruth.txt"
    path.write_text("# ground truth\n\n1.403636579e+09 1 2 3 0 0 0 1\n1403636579.5  4 5 6 0 0 -1 0\n")
    stamps, poses = read_tum(path)
    assert stamps.tolist() == [1_403_636_579_000_000_000, 1_403_636_579_500_000_000]
    np.testing.assert_array_equal(poses[0], [1, 2, 3, 1, 0, 0, 0])


def test_an_empty_trajectory(tmp_path):
    write_tum(tmp_path / "empty.tum", [], np.empty((0, 7)), "map")
    stamps, poses = read_tum(tmp_path / "empty.tum")
    assert stamps.shape == (0,)
    assert poses.shape == (0, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n", "line 1: a TUM line has 8 numbers .*, this one 3"),
        ("# fine\n1 0 0 0 0 0 0 one\n", "line 2: .* is not eight numbers"),
        ("nan 0 0 0 0 0 0 1\n", "line 1: .* is not eight numbers"),
        ("1 0 0 0 0 0 0 0\n", "line 1: the quaternion has length 0"),
        ("1 nan 0 0 0 0 0 1\n", "line 1: the pose has a NaN"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, message):
    path = tmp_path / "bad.tum"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_tum(path)


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_tum(tmp_path / "none.tum")
    (tmp_path / "binary.tum").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not text"):
        read_tum(tmp_path / "binary.tum")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_tum(tmp_path / "file" / "estimate.tum", STAMPS, POSES, "map")
    with pytest.raises(DataError, match="1 stamps for 3 poses"):
        write_tum(tmp_path / "estimate.tum", STAMPS[:1], POSES, "map")
    with pytest.raises(DataError, match="-1 ns is negative"):
        write_tum(tmp_path / "estimate.tum", [-1, 0, 1], POSES, "map")
