"""Files that are written whole or not at all, and stay so after a power cut."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a file to write, which takes the place of ``path`` if all goes well and is removed if not.

    The folder of ``path`` is made if it is not there. What was there before stays until the new file is on the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def install(folder: Path, target: Path) -> None:
    """Moves a complete folder to its place, by one rename once all that is in it is on the disk."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)
    os.replace(folder, target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
