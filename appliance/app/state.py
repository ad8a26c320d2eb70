"""Where an appliance keeps what lasts: keys, the vault, the outbox, the audit log."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.audit import AuditLog
from appliance.deployment.identity import KEYS_FOLDER, VAULT_FOLDER, load_signer
from appliance.deployment.vault import Vault
from appliance.envelope import Signer
from appliance.errors import StorageError
from appliance.ports import Clock
from appliance.records.ids import ApplianceId, KeyId
from drivers.keystore_file import FileKeyStore
from drivers.list_store import FileListStore
from drivers.outbox import SqliteOutbox


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceState:
    """An appliance's state folder, opened. Thread: disk."""

    folder: Path
    keys: FileKeyStore
    vault: Vault

    def signer(self, appliance_id: ApplianceId) -> Signer:
        """Return the appliance's signing key; KeyStoreError when `provision keys` has not made it."""
        return replace(load_signer(self.keys), key_id=KeyId(appliance_id))

    def open_audit(self, appliance_id: ApplianceId, clock: Clock) -> AuditLog:
        """Open the audit log; one process at a time."""
        return AuditLog(self.folder / "audit.jsonl", signer=self.signer(appliance_id), clock=clock)

    def open_outbox(self) -> SqliteOutbox:
        """Open the outbox."""
        return SqliteOutbox(self.folder / "outbox.sqlite")


def open_state(folder: Path) -> ApplianceState:
    """Open a state folder, making it where it is missing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise StorageError(f"{folder}: {err.strerror}") from err
    keys = FileKeyStore(folder / KEYS_FOLDER)
    return ApplianceState(folder=folder, keys=keys, vault=Vault(keys, FileListStore(folder / VAULT_FOLDER)))


def lock_state(folder: Path) -> int:
    """Take the state folder for this process alone; return the descriptor that holds it.

    Raises:
        StorageError: Another appliance process runs on this folder.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        os.close(descriptor)
        raise StorageError(f"{folder}: another appliance process runs on this state folder") from err
    return descriptor
