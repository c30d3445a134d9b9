"""Checks of a model file before anything is built from it: it is complete, unchanged, and its code only computes.

A model file is code. TorchScript runs it with the rights of the process, and its operators can read and write files; so
the code's text is checked first. That guards against mistakes and simple attacks, but it is no sandbox: take model
files only from people whose programs you would run.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

MOST_COMPRESSED = 64 << 20
"""Largest size in bytes of the code, the only compressed records. The largest network has a megabyte."""
CHUNK = 1 << 20
CALL = re.compile(r"\b(torch|ops)\.([\w.]+)\(")
OUTSIDE = re.compile(r"(^|\.)(save|load|from_file|_?(read|write)_file|open|system|rpc_\w+|fork|awaitable\w*)$")
"""Operators that touch files, other processes or threads, by their last name."""
NAMESPACES = ("aten", "prim")
"""Operators as `ops.NAMESPACE.name`; the exporter uses no other namespace."""


class ModelFileError(ValueError):
    """A model file cannot be used; the message names the file and the reason in one line."""


def check_archive(path: Path) -> None:
    """Check every record against its checksum, and the code against the allowed operators.

    Raises:
        ModelFileError: a record is damaged or there twice, too much is compressed, or the code does more than compute.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            if len({record.filename for record in records}) != len(records):
                raise ModelFileError(f"{path}: has a record twice; export it again")
            # A few compressed bytes could expand to gigabytes.
            compressed = sum(record.file_size for record in records if record.compress_type != zipfile.ZIP_STORED)
            if compressed > MOST_COMPRESSED:
                raise ModelFileError(f"{path}: holds {compressed} bytes compressed, over {MOST_COMPRESSED >> 20} MiB")
            for record in records:
                if "/code/" in record.filename and record.filename.endswith(".py"):
                    _check_code(path, record, archive)
                else:
                    _check_sum(record, archive)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path}: is damaged: {str(error)[:200]}; copy it again") from error


def _check_sum(record: zipfile.ZipInfo, archive: zipfile.ZipFile) -> None:
    with archive.open(record) as stream:  # raises BadZipFile at the end of a record that is not as it was written
        while stream.read(CHUNK):
            pass


def _check_code(path: Path, record: zipfile.ZipInfo, archive: zipfile.ZipFile) -> None:
    text = archive.read(record).decode()
    for kind, name in CALL.findall(text):
        foreign = kind == "ops" and name.split(".")[0] not in NAMESPACES
        if foreign or OUTSIDE.search(name):
            raise ModelFileError(f"{path}: its code calls {kind}.{name:.60}, more than to compute; it is not run")
    if re.search(r"^\s*while\b", text, re.MULTILINE):
        raise ModelFileError(f"{path}: its code has a loop without a bound; it is not run")
