"""A list as ops publishes it to one appliance: a folder of four files."""

from __future__ import annotations

from pathlib import Path

from appliance.errors import RecordError, StorageError
from appliance.records.watchlist import ListPacket
from drivers.files import sync_folder, write_synced

HEADER_FILE = "watchlist.dsse.json"
SEALED_FILE = "watchlist.sealed"
KEY_FILE = "watchlist.key.json"
AUTHORISATION_FILE = "authorisation.dsse.json"
LARGEST_PART_BYTES = 128 * 1024
"""Header, key and authorisation: each is refused above this before it is read."""


def read_packet(folder: Path) -> ListPacket:
    """Return what lies in a publication's folder; nothing in it is verified yet.

    The sealed content is not read: no list need fit the supervisor's memory. Thread: disk.

    Raises:
        RecordError: A file is missing, too long, or not a plain file.
        StorageError: The folder cannot be read.
    """
    sealed = folder / SEALED_FILE
    if sealed.is_symlink() or not sealed.is_file():
        raise RecordError(f"{folder}: {SEALED_FILE} is missing")
    return ListPacket(
        header=_read_part(folder / HEADER_FILE),
        authorisation=_read_part(folder / AUTHORISATION_FILE),
        key=_read_part(folder / KEY_FILE),
        sealed_content=sealed,
    )


def write_packet(folder: Path, *, header: bytes, authorisation: bytes, key: bytes, sealed: bytes) -> None:
    """Write a publication aside and rename it into place, so that nobody sees a part of it.

    Raises:
        StorageError: The folder exists already, or cannot be written.
    """
    aside = folder.with_name(f".{folder.name}.partial")
    parts = {HEADER_FILE: header, AUTHORISATION_FILE: authorisation, KEY_FILE: key, SEALED_FILE: sealed}
    try:
        if folder.exists() and any(folder.iterdir()):
            raise StorageError(f"{folder}: it holds something already; publish to a new folder")
        aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, data in parts.items():
            write_synced(aside / name, data)
        sync_folder(aside)
        aside.rename(folder)  # replaces an empty folder
        sync_folder(folder.parent)
    except OSError as err:
        raise StorageError(f"{folder}: {err.strerror}") from err


def _read_part(path: Path) -> bytes:
    try:
        if path.is_symlink() or not path.is_file():
            raise RecordError(f"{path.parent}: {path.name} is missing")
        with path.open("rb") as file:
            data = file.read(LARGEST_PART_BYTES + 1)
    except OSError as err:
        raise StorageError(f"{path}: {err.strerror}") from err
    if len(data) > LARGEST_PART_BYTES:
        raise RecordError(f"{path.parent}: {path.name} is longer than {LARGEST_PART_BYTES} bytes")
    return data
