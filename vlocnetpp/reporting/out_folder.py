"""The one policy for folders of results: new, or replaced when asked; files of others are never touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vlocnetpp.errors import DataError


@contextmanager
def result_folder(out: Path, files: Sequence[str], replace: bool) -> Iterator[Path]:
    """Yield an empty folder to write results into; at a clean end they move to `out` together.

    Args:
        files: names or patterns of everything that the command writes.
        replace: whether an earlier result in `out` goes, once the new one is whole; all other files there stay.

    Raises:
        DataError: before any work, where `out` cannot be written, or holds such files and `replace` was not asked for.
    """
    out = Path(out)
    try:
        before = _results(out, files)
        if before and not replace:
            raise DataError(
                f"{out}: holds an earlier result ({before[0].name}); --replace replaces it, or name another folder"
            )
        if out.exists() and not (out.is_dir() and os.access(out, os.W_OK)):
            raise DataError(f"{out}: is not a folder that can be written to")
        whole = out.resolve()
        partial = whole.with_name(f"{whole.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error
    try:
        yield partial
        try:
            out.mkdir(exist_ok=True)
            remove_results(out, files)
            for path in list(partial.iterdir()):
                path.rename(out / path.name)
        except OSError as error:
            raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_earlier(files: Sequence[Path], replace: bool) -> None:
    """The same policy for results that are files beside others: raises DataError, before any work, where one exists and
    `replace` was not asked for.
    """
    for file in files:
        if file.is_file() and not replace:
            raise DataError(f"{file}: exists already; --replace replaces it, or name another file")


def contents(out: Path, files: Sequence[str]) -> str:
    """What is in a result folder, for the last line of a command: each of `files` that is there, in their order; a
    pattern stands for all that fit it.
    """
    return f"{out}: {', '.join(name for name in files if any(Path(out).glob(name)))}"


def remove_results(out: Path, files: Sequence[str]) -> None:
    """Remove what `files` names from a folder; other files stay. Raises OSError."""
    for path in _results(out, files):
        _remove(path)


def _results(out: Path, files: Sequence[str]) -> list[Path]:
    return sorted(path for pattern in files for path in out.glob(pattern)) if out.is_dir() else []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
