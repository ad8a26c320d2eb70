"""Read files whose bytes are pinned, and write them so that a power cut leaves the old or the new one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from appliance.errors import ModelIntegrityError, ModelMissingError, StorageError


def read_pinned(path: Path, *, size_limit_bytes: int, sha256: str) -> bytes:
    """Return the bytes of a file after checking them; what is checked is what is returned.

    Raises:
        ModelMissingError: There is no such file.
        ModelIntegrityError: It is longer than the limit, or its sha256 is another.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(size_limit_bytes + 1)
    except FileNotFoundError as err:
        raise ModelMissingError(f"{path} is not there; fetch it with: models fetch") from err
    except OSError as err:
        raise StorageError(f"cannot read {path}: {err.strerror}") from err
    if len(data) > size_limit_bytes:
        raise ModelIntegrityError(f"{path}: longer than {size_limit_bytes} bytes")
    check_sha256(data, sha256, str(path))
    return data


def check_sha256(data: bytes, sha256: str, name: str) -> None:
    """Raise ModelIntegrityError unless the bytes have the pinned sha256; an empty pin fits nothing."""
    found = sha256_of(data)
    if found != sha256:
        raise ModelIntegrityError(f"{name}: sha256 is {found}, pinned is {sha256 or 'none'}")


def sha256_of(data: bytes) -> str:
    """Return the sha256 as hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write aside, fsync, rename; StorageError when the disk refuses.

    Args:
        mode: The file's, less the umask; it has it before it has any bytes.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.unlink(missing_ok=True)
        with open(aside, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as err:
        aside.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {err.strerror}") from err
