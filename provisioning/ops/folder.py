"""Central ops' folder: who signs, what is drafted, which keys of which appliance are used up.

trust.json  signers.json  state.json      who may sign, whose key is which, counters
keys/                                     private keys, and a key for each drafted list
lists/v1/  header.dsse.json  content.sealed
authorisations/ID.dsse.json
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from appliance.deployment.authority import LARGEST_TRUST_BYTES, parse_trust
from appliance.errors import StorageError, UsageError
from appliance.records.deployment import Role, Trust
from appliance.records.ids import AuthorisationId, KeyId, PersonName
from appliance.records.wire import dump_record, parse_record
from drivers.files import replace_synced
from drivers.keystore_file import FileKeyStore

RecordT = TypeVar("RecordT")
LARGEST_FILE_BYTES = 16 << 20
_LIST_NAME = re.compile(r"v([1-9]\d{0,8})")
_ENVELOPE = ".dsse.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsSigner:
    """A person of ops, what they may sign, and under which name their private key is kept."""

    person: PersonName
    role: Role
    key_id: KeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsSigners:
    """Everybody whose private key is in this folder."""

    signers: tuple[OpsSigner, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsState:
    """Counters; `used_list_keys` are appliances' single-use keys that a list was sealed to."""

    is_development: bool
    next_version: Annotated[int, Field(ge=1)] = 1
    used_list_keys: tuple[KeyId, ...] = ()


class OpsFolder:
    """Read and write ops' folder; one command at a time changes it (`locked`).

    Raises:
        UsageError: The folder was not made by `ops init`.
        StorageError, KeyStoreError, RecordError: It cannot be read, is open to others, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "state.json").is_file():
            raise UsageError(f"{path}: not a folder of ops; make one with `ops init {path}`")
        self.keys = FileKeyStore(path / "keys")

    @classmethod
    def create(cls, path: Path, *, trust: Trust, signers: OpsSigners, state: OpsState) -> OpsFolder:
        """Write the public part of a new folder; the keys are there already."""
        for name in ("lists", "authorisations"):
            (path / name).mkdir(mode=0o700, exist_ok=True)
        write_private(path / "trust.json", dump_record(trust))
        write_private(path / "signers.json", dump_record(signers))
        write_private(path / "state.json", dump_record(state))  # last: it says that all is there
        return cls(path)

    @property
    def trust_path(self) -> Path:
        """Return the file that every appliance pins."""
        return self.path / "trust.json"

    @property
    def trust(self) -> Trust:
        """Return who may sign what."""
        return parse_trust(read_limited(self.trust_path, LARGEST_TRUST_BYTES))

    @property
    def signers(self) -> OpsSigners:
        """Return whose private keys are here."""
        return read_record(OpsSigners, self.path / "signers.json")

    @property
    def state(self) -> OpsState:
        """Return the counters."""
        return read_record(OpsState, self.path / "state.json")

    def save_state(self, state: OpsState) -> None:
        """Replace the counters, durably."""
        write_private(self.path / "state.json", dump_record(state))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands out; StorageError when one is at work."""
        descriptor = os.open(self.path / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StorageError(f"{self.path}: another command is at work in it") from None
            yield

    def list_versions(self) -> list[int]:
        """Return the versions of the drafted lists, in order."""
        names = (_LIST_NAME.fullmatch(path.name) for path in (self.path / "lists").iterdir())
        return sorted(int(name[1]) for name in names if name)

    def pick_version(self, version: int | None) -> int:
        """Return `version`, or the newest when it is None; UsageError when there is no such list."""
        versions = self.list_versions()
        if not versions or (version is not None and version not in versions):
            raise UsageError(f"{self.path}: there is no such list; make one with `ops enrol`")
        return versions[-1] if version is None else version

    def pick_authorisation(self, authorisation_id: AuthorisationId | None) -> Path:
        """Return an authorisation's file, the newest when no id is given; UsageError when there is none."""
        folder = self.path / "authorisations"
        paths = sorted(folder.glob("*" + _ENVELOPE), key=lambda path: (path.stat().st_mtime_ns, path.name))
        if authorisation_id is not None:
            paths = [path for path in paths if path.name == authorisation_id + _ENVELOPE]
        if not paths:
            raise UsageError(f"{self.path}: no such authorisation; make one with `ops authorise`")
        return paths[-1]

    def authorisation_path(self, authorisation_id: AuthorisationId) -> Path:
        """Return where an authorisation's envelope is kept."""
        return self.path / "authorisations" / (authorisation_id + _ENVELOPE)

    def header_path(self, version: int) -> Path:
        """Return where a list's signed header is kept."""
        return self.path / "lists" / f"v{version}" / ("header" + _ENVELOPE)

    def content_path(self, version: int) -> Path:
        """Return where a list's content lies, under the key `draft_key_id(version)`."""
        return self.path / "lists" / f"v{version}" / "content.sealed"

    def add_list(self, version: int, *, header: bytes, content: bytes) -> None:
        """Write a drafted list, all of it or nothing."""
        final = self.header_path(version).parent
        aside = final.with_name(f".{final.name}")
        with as_storage_error(final):
            aside.mkdir(mode=0o700)
            write_private(aside / self.header_path(version).name, header)
            write_private(aside / self.content_path(version).name, content)
            aside.rename(final)

    def remove_list(self, version: int) -> None:
        """Destroy a drafted list's key, then its files."""
        self.keys.destroy(draft_key_id(version))
        with as_storage_error(self.path):
            shutil.rmtree(self.header_path(version).parent)


def draft_key_id(version: int) -> KeyId:
    """Return the name of the key under which ops keeps a list."""
    return KeyId(f"draft-v{version}")


def read_record(kind: type[RecordT], path: Path) -> RecordT:
    """Return the record that a file holds; errors as `read_limited`, and RecordError."""
    return parse_record(kind, read_limited(path, LARGEST_FILE_BYTES), limit_bytes=LARGEST_FILE_BYTES)


def read_limited(path: Path, limit_bytes: int) -> bytes:
    """Return a file's bytes, one more than the limit at most; StorageError when it cannot be read."""
    with as_storage_error(path), path.open("rb") as file:
        return file.read(limit_bytes + 1)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file durably, with mode 0600; StorageError otherwise."""
    with as_storage_error(path):
        replace_synced(path, data)


@contextmanager
def as_storage_error(path: Path) -> Iterator[None]:
    """Report the operating system's errors as StorageError, in one line."""
    try:
        yield
    except OSError as err:
        raise StorageError(f"{path}: {err.strerror}") from err
