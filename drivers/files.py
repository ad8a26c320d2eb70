"""Write files that survive a power cut: the bytes are synced, and so is the folder that names them."""

from __future__ import annotations

import os
from pathlib import Path


def write_synced(path: Path, data: bytes, *, is_new: bool = False) -> None:
    """Write a file of mode 0600 and sync it; the folder is the caller's to sync.

    Args:
        is_new: FileExistsError when the file is there already.

    Raises:
        OSError: The disk refuses; the caller says what that means.
    """
    how = os.O_EXCL if is_new else os.O_TRUNC
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_synced(path: Path, data: bytes) -> None:
    """Replace a file by way of one beside it: the old one or the new one is there, whole; OSError."""
    aside = path.with_name(f".{path.name}.partial")
    write_synced(aside, data)
    aside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable: what was created, renamed or removed in it; OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
