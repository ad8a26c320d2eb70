"""Secrets as files, for laptops and tests; the device keeps them in its TPM."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import KeyStoreError, StorageError
from appliance.records.ids import KeyId
from drivers.files import sync_folder

SECRET_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ASIDE = "."


class FileKeyStore:
    """Implement the KeyStore port with one file of mode 0600 per secret, in a folder of mode 0700.

    `destroy` overwrites the file before it unlinks it, and that destroys nothing on flash: a solid-state
    disk or a memory card writes the new bytes elsewhere and keeps the old ones until it pleases. Who
    images the chips can get a destroyed secret back. Whoever needs destroyed to mean destroyed uses the
    device's TPM; this store is for development, and for a disk that is itself encrypted under a key that
    can be destroyed.

    Thread: disk; each call blocks for one to three fsyncs.

    Args:
        folder: Made if missing. KeyStoreError when it is readable by others or not ours.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _as_storage_error(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(folder.lstat(), folder, is_folder=True)

    def create(self, key_id: KeyId) -> bytes:
        """Make, keep and return a random secret of 32 bytes; KeyStoreError if the name is taken."""
        path = self._path_of(key_id)
        secret = secrets.token_bytes(SECRET_BYTES)
        aside = self._folder / f"{_ASIDE}{key_id}"
        with _as_storage_error(path):
            aside.unlink(missing_ok=True)  # of a run that was killed here; it was never handed out
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secret)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(aside, path)  # unlike a rename, it never replaces
            except FileExistsError:
                raise KeyStoreError(f"{key_id}: a key of this name exists already") from None
            finally:
                aside.unlink()
            sync_folder(self._folder)
        return secret

    def load(self, key_id: KeyId) -> bytes:
        """Return a secret; KeyStoreError when missing, of another length, or readable by others."""
        path = self._path_of(key_id)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise KeyStoreError(f"{key_id}: there is no such key") from None
        except OSError as err:
            raise KeyStoreError(f"{key_id}: cannot be read: {err.strerror}") from err
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            _check_private(os.fstat(file.fileno()), path, is_folder=False)
            secret = file.read(SECRET_BYTES + 1) or b""
        if len(secret) != SECRET_BYTES:
            raise KeyStoreError(f"{key_id}: not {SECRET_BYTES} bytes long")
        return secret

    def destroy(self, key_id: KeyId) -> None:
        """Overwrite, unlink, and sync the folder; nothing happens when the secret is missing."""
        path = self._path_of(key_id)
        with _as_storage_error(path):
            (self._folder / f"{_ASIDE}{key_id}").unlink(missing_ok=True)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                return
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
            sync_folder(self._folder)

    def list_ids(self) -> Sequence[KeyId]:
        """Return the names of all secrets, sorted."""
        with _as_storage_error(self._folder):
            names = sorted(path.name for path in self._folder.iterdir())
        return [KeyId(name) for name in names if _KEY_ID.fullmatch(name)]

    def _path_of(self, key_id: KeyId) -> Path:
        if not _KEY_ID.fullmatch(key_id):
            raise KeyStoreError("a key's name has 1 to 64 letters, digits, - or _")
        return self._folder / key_id


def _check_private(status: os.stat_result, path: Path, *, is_folder: bool) -> None:
    is_right_kind = stat.S_ISDIR(status.st_mode) if is_folder else stat.S_ISREG(status.st_mode)
    if not is_right_kind:
        raise KeyStoreError(f"{path}: not a plain {'folder' if is_folder else 'file'}")
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        wanted = "700" if is_folder else "600"
        raise KeyStoreError(f"{path}: open to others; chmod {wanted} it and make it yours")


@contextmanager
def _as_storage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise StorageError(f"{path}: {err.strerror}") from err
