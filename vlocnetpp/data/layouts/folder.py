"""The project's own folder: what `from-bag` and `render` write and every command reads.

    ROOT/dataset.yaml               format, map_frame, classes, splits
    ROOT/settings.yaml              what it was made with, where an interrupted conversion can be continued
    ROOT/<sequence>/frames.csv      one row a frame: stamp, pose, K, and the files below relative to the sequence
    ROOT/<sequence>/image/NNNNNN.jpg    (or .png)
    ROOT/<sequence>/depth/NNNNNN.png    16-bit millimetres, 0 = unknown
    ROOT/<sequence>/mask/NNNNNN.png     8-bit class ids, 255 = unlabelled

Poses are camera-to-world (optical frame, metres), numbers are written so that they read back bit for bit; the cells of
an unknown pose, depth or mask are empty.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Mapping
from collections.abc import Sequence as Listing
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Any, final

import cv2
import numpy as np
import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray

from vlocnetpp.data.files import lock
from vlocnetpp.data.frames import LATEST_NS, DataError, Dataset, Frame, LabelClass, Sequence, StampError, decode_image
from vlocnetpp.data.layouts.text_files import inside
from vlocnetpp.data.poses import checked_intrinsics, checked_pose, known_pose, note_of_lost

FORMAT = 1
INDEX, SETTINGS, TABLE = "dataset.yaml", "settings.yaml", "frames.csv"
POSE_COLUMNS = ("x_m", "y_m", "z_m", "qw", "qx", "qy", "qz")
K_COLUMNS = ("fx_px", "fy_px", "cx_px", "cy_px")
FILE_COLUMNS = ("image", "depth", "mask")
COLUMNS = ("name", "stamp_ns", *POSE_COLUMNS, *K_COLUMNS, *FILE_COLUMNS)
DEEPEST_MM = 65534
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return (root / INDEX).is_file()


def read(root: Path) -> Dataset:
    """Read the index of a folder; pixels load on demand. Raises DataError naming the file and what is wrong in it."""
    index = _read_index(root / INDEX)
    classes = tuple(_label_class(entry, root / INDEX) for entry in index.get("classes") or ())
    splits: dict[str, tuple[Sequence, ...]] = {}
    owner: dict[str, str] = {}
    notes: list[str] = []
    for split, names in index["splits"].items():
        for name in names:
            if name in owner:
                raise DataError(f"{root / INDEX}: sequence '{name}' is in split '{owner[name]}' and in '{split}'")
            owner[name] = split
        splits[split] = tuple(_read_sequence(root, name, notes) for name in names)
    if not owner:
        raise DataError(f"{root / INDEX}: no split lists a sequence")
    return Dataset(root, "folder", splits, classes, str(index.get("map_frame", "map")), tuple(notes))


@final
class FolderWriter:
    """Writes the project's folder, whole or not at all: into `<root>.partial`, renamed at a clean exit.

    A context manager. An error inside the `with` removes what was written so far. Raises DataError if `root` exists
    (nothing is overwritten), if another run is writing or was killed there, or if no frame was added.

    With `settings`, plain values that decide the content, interrupted work can be continued: sequences that were
    `complete` stay in `<root>.partial`, and a writer with equal settings `keep`s them. Other settings are refused.
    """

    def __init__(
        self,
        root: Path,
        classes: Listing[LabelClass] = (),
        map_frame: str = "map",
        jpeg_quality: int = 92,
        settings: Mapping[str, str | int | float] | None = None,
    ) -> None:
        self.root = Path(root)
        if self.root.exists():
            raise DataError(f"{self.root}: exists already and is not overwritten; remove it or name another folder")
        self.partial = self.root.with_name(self.root.name + ".partial")
        self.classes = tuple(classes)
        self.map_frame = map_frame
        self.jpeg_quality = jpeg_quality
        self.settings = None if settings is None else dict(settings)
        self._complete: set[str] = set()
        self._lock: IO[bytes] | None = None
        self._splits: dict[str, list[str]] = {}
        self._rows: dict[str, list[list[str]]] = {}

    def __enter__(self) -> FolderWriter:
        try:
            self.partial.mkdir(parents=True)
        except FileExistsError:
            if self.settings is None:
                raise DataError(
                    f"{self.partial}: another run is writing here or was killed; remove it if none is running"
                ) from None
            if self._is_begun():
                self._go_on(self.settings)
                return self
        except OSError as error:
            raise DataError(f"{self.partial}: cannot be created: {error.strerror}") from error
        if self.settings is not None:
            try:
                _write(self.partial / SETTINGS, yaml.safe_dump(self.settings, sort_keys=False).encode())
            except DataError:
                shutil.rmtree(self.partial, ignore_errors=True)
                raise
            self._hold()
        return self

    def _is_begun(self) -> bool:
        """Whether what is at `partial` holds anything; else its writer was killed before it wrote its settings."""
        if not self.partial.is_dir():
            return True
        return any(path.name != SETTINGS or path.stat().st_size for path in self.partial.iterdir())

    def _go_on(self, settings: dict[str, str | int | float]) -> None:
        """Continue an unfinished folder: keep the complete sequences and remove the others."""
        try:
            before = yaml.safe_load((self.partial / SETTINGS).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError):
            before = None
        if not isinstance(before, dict):
            raise DataError(f"{self.partial}: is in the way and cannot be gone on with; remove it or move it away")
        for key in {**settings, **before}:
            if before.get(key) != settings.get(key):
                raise DataError(
                    f"{self.partial}: was begun with {key} {before.get(key)}, not {settings.get(key)}; "
                    "go on with the same settings, or remove it"
                )
        self._hold()
        for folder in sorted(path for path in self.partial.iterdir() if path.is_dir()):
            if (folder / TABLE).is_file():
                self._complete.add(folder.name)
            else:
                shutil.rmtree(folder)

    def _hold(self) -> None:
        """Lock the folder for as long as this process lives."""
        self._lock = (self.partial / SETTINGS).open("rb")
        if not lock(self._lock.fileno()):
            self._lock.close()
            raise DataError(f"{self.partial}: another run is writing here; wait for it or end it")

    def keep(self, sequence: str, split: str) -> bool:
        """Whether an earlier run completed this sequence; then it is part of the dataset as it is.

        Sequences are listed in the order in which they are first named, here or by `add`.
        """
        rows = self._rows_of(sequence, split)
        if sequence in self._complete and not rows:
            lines = (self.partial / sequence / TABLE).read_text(encoding="utf-8").splitlines()
            rows += [line.split(",") for line in lines[1:]]
        return sequence in self._complete

    def complete(self, sequence: str) -> None:
        """Mark a sequence as complete: from now on an interruption does not lose it. One without frames is none."""
        if self.stamps(sequence):
            self._write_table(sequence)
            self._complete.add(sequence)

    def stamps(self, sequence: str) -> list[int]:
        """Stamps of the frames that a sequence has, nanoseconds."""
        return [int(row[1]) for row in self._rows.get(sequence, ())]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._lock is not None:
                self._lock.close()
            if self.settings is None or not self._complete:
                shutil.rmtree(self.partial, ignore_errors=True)  # gone already after a clean finish

    def add(
        self,
        sequence: str,
        split: str,
        stamp_ns: int,
        image_HW3: NDArray[np.uint8] | None,
        K_33: NDArray[np.float64],
        pose_7: NDArray[np.float64] | None = None,
        depth_HW: NDArray[np.float32] | None = None,
        mask_HW: NDArray[np.uint8] | None = None,
        *,
        encoded: bytes | None = None,
    ) -> str:
        """Append a frame to a sequence and return its name, `<sequence>/NNNNNN`.

        image_HW3: (H, W, 3) uint8 RGB, stored as JPEG. encoded: the bytes of a JPEG or 8-bit PNG, stored unchanged;
        they are decoded once to check them unless `image_HW3` holds their pixels already. depth_HW: (H, W) metres;
        what is not finite, not positive or beyond 65.534 m becomes 0, unknown. mask_HW: (H, W) uint8 class ids. Stamps
        must increase within a sequence.
        Raises DataError on anything that could not be read back.
        """
        rows = self._rows_of(sequence, split)
        number = f"{len(rows):06d}"
        name = f"{sequence}/{number}"
        where = self.root / name
        stamp_ns = int(stamp_ns)
        if rows and stamp_ns <= int(rows[-1][1]):
            raise DataError(f"{where}: stamp {stamp_ns} does not come after {rows[-1][1]}, the one before it")
        K = checked_intrinsics(K_33, where)
        pose_cells = [""] * 7 if pose_7 is None else [repr(float(value)) for value in checked_pose(pose_7, where)]
        if encoded is None:
            if image_HW3 is None:
                raise DataError(f"{where}: a frame needs an image")
            encoded = self._jpeg(image_HW3, where)
        pixels = decode_image(encoded, where, cv2.IMREAD_GRAYSCALE) if image_HW3 is None else image_HW3
        suffix, size = image_suffix(encoded, where), pixels.shape[:2]
        files = {"image": (suffix, encoded)}
        if mask_HW is not None and mask_HW.dtype != np.uint8:
            raise DataError(f"{where}: a mask must be uint8 class ids, not {mask_HW.dtype}")
        layers = {"depth": None if depth_HW is None else _millimetres(depth_HW), "mask": mask_HW}
        for kind, layer in layers.items():
            if layer is None:
                continue
            if layer.shape != size:
                raise DataError(f"{where}: {kind} of shape {layer.shape} does not fit the image of shape {size}")
            files[kind] = (".png", cv2.imencode(".png", layer)[1].tobytes())
        cells = {kind: f"{kind}/{number}{ending}" for kind, (ending, _) in files.items()}
        for kind, (_, data) in files.items():
            _write(self.partial / sequence / cells[kind], data)
        K_cells = [repr(float(value)) for value in (K[0, 0], K[1, 1], K[0, 2], K[1, 2])]
        rows.append([number, str(stamp_ns), *pose_cells, *K_cells, *(cells.get(kind, "") for kind in FILE_COLUMNS)])
        return name

    def _rows_of(self, sequence: str, split: str) -> list[list[str]]:
        if sequence not in self._rows:
            for kind, name in (("sequence", sequence), ("split", split)):
                if not _PLAIN_NAME.fullmatch(name):
                    raise DataError(f"{self.root}: {kind} name '{name}' must be letters, digits, '.', '_' and '-'")
            self._rows[sequence] = []
            self._splits.setdefault(split, []).append(sequence)
        if sequence not in self._splits.get(split, ()):
            raise DataError(f"{self.root}: sequence '{sequence}' cannot be in a second split, '{split}'")
        return self._rows[sequence]

    def _jpeg(self, image_HW3: NDArray[np.uint8], where: Path) -> bytes:
        if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3:
            raise DataError(f"{where}: an image must be (H, W, 3) uint8, not {image_HW3.shape} {image_HW3.dtype}")
        bgr = cv2.cvtColor(np.ascontiguousarray(image_HW3), cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])[1].tobytes()

    def _finish(self) -> None:
        for sequences in self._splits.values():
            sequences[:] = [name for name in sequences if self._rows[name]]
        self._splits = {split: sequences for split, sequences in self._splits.items() if sequences}
        if not self._splits:
            raise DataError(f"{self.root}: not written, no frame was added")
        for sequence, rows in self._rows.items():
            if rows and sequence not in self._complete:
                self._write_table(sequence)
        index = {
            "format": FORMAT,
            "map_frame": self.map_frame,
            "classes": [{"name": each.name, "color": list(each.color)} for each in self.classes],
            "splits": self._splits,
        }
        text = yaml.safe_dump(index, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
        _write(self.partial / INDEX, text.encode())
        try:
            self.partial.rename(self.root)
        except OSError as error:
            raise DataError(f"{self.root}: cannot be put in place: {error.strerror}") from error

    def _write_table(self, sequence: str) -> None:
        lines = [",".join(cells) for cells in (COLUMNS, *self._rows[sequence])]
        table = self.partial / sequence / TABLE
        _write(table.with_suffix(".new"), ("\n".join(lines) + "\n").encode())
        table.with_suffix(".new").replace(table)


def image_suffix(encoded: bytes, where: object) -> str:
    """`.jpg` or `.png` by the first bytes of an encoded image. Raises DataError, naming `where`, for anything else."""
    if encoded.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    raise DataError(f"{where}: the encoded image is neither JPEG nor PNG")


def _millimetres(depth_HW: NDArray[np.float32]) -> NDArray[np.uint16]:
    """(H, W) metres -> uint16 millimetres, 0 where unknown or not representable."""
    millimetres = np.rint(depth_HW.astype(np.float32) * np.float32(1000.0))
    storable = (millimetres > 0) & (millimetres <= DEEPEST_MM)  # False for NaN
    return np.where(storable, millimetres, np.float32(0.0)).astype(np.uint16)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(index, dict) or "format" not in index:
        raise DataError(f"{path}: has no 'format', so this is not a dataset folder")
    if index["format"] != FORMAT:
        raise DataError(f"{path}: format {index['format']} is not known, this version reads format {FORMAT}")
    splits = index.get("splits")
    named = isinstance(splits, dict) and all(
        isinstance(split, str)
        and isinstance(names, list)
        and all(isinstance(name, str) and _PLAIN_NAME.fullmatch(name) for name in names)
        for split, names in splits.items()
    )
    if not named:
        raise DataError(f"{path}: 'splits' must map each split to a list of sequence folders")
    if not isinstance(index.get("classes") or [], list):
        raise DataError(f"{path}: 'classes' must be a list of names and colors")
    return index


def _label_class(entry: Any, path: Path) -> LabelClass:
    try:
        red, green, blue = (int(value) for value in entry["color"])
        if not all(0 <= value <= 255 for value in (red, green, blue)):
            raise ValueError("out of 8 bits")
        return LabelClass(str(entry["name"]), (red, green, blue))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: a class needs a name and a color [red, green, blue] of 0-255, not {entry!r}"
        ) from error


def _read_sequence(root: Path, name: str, notes: list[str]) -> Sequence:
    table = root / name / TABLE
    lost: list[str] = []
    present = {
        f"{folder.name}/{file.name}"
        for folder in (root / name / kind for kind in FILE_COLUMNS)
        for file in (folder.iterdir() if folder.is_dir() else ())
    }
    try:
        with table.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{table}: column {missing[0]} is missing")
            frames = [_frame(row, root, name, f"{table}:{reader.line_num}", present, lost) for row in reader]
    except OSError as error:
        raise DataError(f"{table}: cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{table}: is not a table: {error}") from error
    if not frames:
        raise DataError(f"{table}: lists no frame")
    if len({frame.name for frame in frames}) < len(frames):
        raise DataError(f"{table}: a frame name occurs twice")
    for before, after in pairwise(frames):
        if after.stamp_ns <= before.stamp_ns:
            raise StampError(f"{table}: stamps do not increase, {after.name} comes at or before {before.name}")
    notes += note_of_lost(lost, len(lost) + sum(frame.pose_7 is not None for frame in frames))
    return Sequence(name, tuple(frames))


def _frame(row: dict[str, Any], root: Path, sequence: str, where: str, present: set[str], lost: list[str]) -> Frame:
    if None in row or None in row.values():
        raise DataError(f"{where}: has more or fewer cells than the header")
    try:
        stamp_ns = int(row["stamp_ns"])
        fx, fy, cx, cy = (float(row[column]) for column in K_COLUMNS)
        cells = [row[column] for column in POSE_COLUMNS]
        pose = np.array(cells, np.float64) if any(cells) else None
    except ValueError as error:
        raise DataError(f"{where}: a cell is empty or not a number ({error})") from error
    if not -LATEST_NS <= stamp_ns < LATEST_NS:
        raise DataError(f"{where}: stamp {stamp_ns} does not fit 64 bits of nanoseconds")
    paths: dict[str, Path | None] = {}
    for kind in FILE_COLUMNS:
        if row[kind] and row[kind] not in present and not inside(root / sequence, row[kind], where).is_file():
            raise DataError(f"{root / sequence / row[kind]}: is missing, {where} lists it")
        paths[kind] = root / sequence / row[kind] if row[kind] else None
    if paths["image"] is None:
        raise DataError(f"{where}: no image is given")
    K = checked_intrinsics([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], where)
    return Frame(
        f"{sequence}/{row['name']}",
        stamp_ns,
        paths["image"],
        K,
        None if pose is None else known_pose(pose, where, lost),
        paths["depth"],
        paths["mask"],
    )
