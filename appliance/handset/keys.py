"""A handset's own keys: one signs its answers, alerts are sealed to the other. They stay in its folder."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from appliance.errors import KeyStoreError, RecordError, StorageError
from appliance.records.deployment import Recipient
from appliance.records.ids import HandsetId, PersonName
from appliance.records.wire import dump_record, parse_record
from appliance.sealing import new_sealing_pair, new_signing_pair
from drivers.files import write_synced

KEYS_FILE = "handset-keys.json"
_LIMIT_BYTES = 4096
SecretText = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes as hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandsetKeys:
    """Both key pairs with whom they belong to; private halves as hexadecimal, never printed."""

    recipient: Recipient
    signing_seed_hex: SecretText = field(repr=False)
    sealing_private_hex: SecretText = field(repr=False)


def create_keys(folder: Path, handset_id: HandsetId, officer: PersonName) -> HandsetKeys:
    """Make a handset's keys and keep them in `folder`, in a file of mode 0600.

    Raises:
        KeyStoreError: There are keys already: alerts are sealed to them.
        RecordError: The id or the officer's name is not one.
        StorageError: The folder cannot be written.
    """
    seed, signing_public_hex = new_signing_pair()
    private, sealing_public_hex = new_sealing_pair()
    keys = HandsetKeys(
        recipient=Recipient(
            handset_id=handset_id,
            officer=officer,
            sealing_key_hex=sealing_public_hex,
            signing_key_hex=signing_public_hex,
        ),
        signing_seed_hex=seed.hex(),
        sealing_private_hex=private.hex(),
    )
    data = dump_record(keys)
    parse_record(HandsetKeys, data, limit_bytes=_LIMIT_BYTES)  # checks the id and the name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_synced(folder / KEYS_FILE, data, is_new=True)
    except FileExistsError:
        raise KeyStoreError(f"{folder / KEYS_FILE} exists: choose another folder") from None
    except OSError as err:
        raise StorageError(f"{folder}: {err.strerror}") from err
    return keys


def load_keys(folder: Path) -> HandsetKeys:
    """Return the keys in `folder`.

    Raises:
        KeyStoreError: Missing (`handset init` makes them), readable by others, or damaged.
    """
    file = folder / KEYS_FILE
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            data = opened.read(_LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise KeyStoreError(f"{file} is missing: run `handset init` first") from None
    except OSError as err:
        raise KeyStoreError(f"{file}: {err.strerror}") from err
    if stat.S_IMODE(mode) & 0o077:
        raise KeyStoreError(f"{file} is open to others: chmod 600 it, or make new keys")
    try:
        return parse_record(HandsetKeys, data, limit_bytes=_LIMIT_BYTES)
    except RecordError as err:
        raise KeyStoreError(f"{file} is damaged: {err}") from None
