"""The vault's files: a state, and a folder for each list that is or was installed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import RecordError, StorageError
from appliance.records.watchlist import ListPacket
from drivers.files import sync_folder, write_synced

LARGEST_FILE_BYTES = 128 * 1024
"""State, header, key and authorisation; the sealed content is copied, never read as a whole."""
_STATE = "state.json"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ASIDE = ".partial-"
_PARTS = {
    "header": "watchlist.dsse.json",
    "authorisation": "authorisation.dsse.json",
    "key": "watchlist.key.json",
}
_SEALED = "watchlist.sealed"


class FileListStore:
    """Implement the vault's ListStore in a folder of mode 0700. Thread: disk.

    Everything is written aside, synced and renamed: after a power cut a list is there whole or not at all,
    and the state is the old one or the new one.

    Raises:
        StorageError: From every method, when the folder cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lists = folder / "lists"
        with _as_storage_error(folder):
            for each in (folder, self._lists):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
                each.chmod(0o700)

    def load_state(self) -> bytes | None:
        """Return the state as last saved; None when there never was one."""
        with _as_storage_error(self._folder):
            try:
                return _read(self._folder / _STATE)
            except FileNotFoundError:
                return None

    def save_state(self, data: bytes) -> None:
        """Replace the state; when this returns, it survives a power cut."""
        aside = self._folder / f"{_ASIDE}{_STATE}"
        with _as_storage_error(self._folder):
            write_synced(aside, data)
            aside.replace(self._folder / _STATE)
            sync_folder(self._folder)

    def put(self, name: str, packet: ListPacket) -> None:
        """Copy a packet in under a name, all of it or nothing; replaces what was there."""
        aside, final = self._lists / f"{_ASIDE}{name}", self._path_of(name)
        with _as_storage_error(final):
            _remove_folder(aside)
            _remove_folder(final)
            aside.mkdir(mode=0o700)
            for part, file_name in _PARTS.items():
                write_synced(aside / file_name, getattr(packet, part))
            _copy_synced(packet.sealed_content, aside / _SEALED)
            sync_folder(aside)
            aside.rename(final)
            sync_folder(self._lists)

    def load(self, name: str) -> ListPacket:
        """Return an installed packet; RecordError when it is not there or not whole."""
        folder = self._path_of(name)
        with _as_storage_error(folder):
            try:
                parts = {part: _read(folder / file_name) for part, file_name in _PARTS.items()}
            except FileNotFoundError:
                raise RecordError("the vault holds no such list") from None
        return ListPacket(sealed_content=folder / _SEALED, **parts)

    def open_sealed(self, name: str) -> int:
        """Return a descriptor of a list's sealed content, for reading; the caller closes it."""
        path = self._path_of(name) / _SEALED
        with _as_storage_error(path):
            try:
                return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                raise RecordError("the vault holds no such list") from None

    def remove(self, name: str) -> None:
        """Remove a list, and what a killed `put` left of it; nothing happens when it is missing."""
        with _as_storage_error(self._lists):
            _remove_folder(self._lists / f"{_ASIDE}{name}")
            _remove_folder(self._path_of(name))
            sync_folder(self._lists)

    def list_names(self) -> Sequence[str]:
        """Return the names under which something lies here, whole or not, sorted."""
        with _as_storage_error(self._lists):
            return sorted({path.name.removeprefix(_ASIDE) for path in self._lists.iterdir()})

    def _path_of(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise RecordError("a list's name has 1 to 64 letters, digits, - or _")
        return self._lists / name


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE_BYTES + 1)
    if len(data) > LARGEST_FILE_BYTES:
        raise RecordError(f"{path.name}: longer than {LARGEST_FILE_BYTES} bytes")
    return data


def _copy_synced(source: Path, target: Path) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file, source.open("rb") as read:
        shutil.copyfileobj(read, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())


def _remove_folder(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return


@contextmanager
def _as_storage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise StorageError(f"{path}: {err.strerror}") from err
