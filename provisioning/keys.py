"""Make the keys of an appliance, and what central ops must know of them."""

from __future__ import annotations

from pathlib import Path

from appliance.app.state import open_state
from appliance.deployment.identity import SIGNING_KEY_ID, load_signer, make_signer, public_key_hex
from appliance.errors import KeyStoreError
from appliance.records.deployment import AppliancePublic
from appliance.records.ids import ApplianceId
from appliance.records.wire import dump_record, parse_record

LARGEST_PUBLIC_BYTES = 1 << 20


def make_appliance_keys(state_folder: Path, appliance_id: ApplianceId, n_list_keys: int) -> AppliancePublic:
    """Make the appliance's signing key, unless it has one, and more single-use list keys.

    Returns:
        The public halves: the signing key, and every list key that no list has used.

    Raises:
        KeyStoreError: The state folder's keys are open to others.
        RecordError: Too many or too few list keys.
    """
    state = open_state(state_folder)
    if SIGNING_KEY_ID not in state.keys.list_ids():
        make_signer(state.keys)
    state.vault.make_list_keys(n_list_keys)
    return AppliancePublic(
        appliance_id=appliance_id,
        signing_key_hex=public_key_hex(load_signer(state.keys)),
        list_keys=state.vault.unused_list_keys(),
    )


def read_appliance_public(path: Path) -> AppliancePublic:
    """Return what `provision keys` wrote; KeyStoreError when it cannot be read, RecordError if damaged."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_PUBLIC_BYTES + 1)
    except OSError as err:
        raise KeyStoreError(f"{path}: {err.strerror}; `provision keys` writes it") from err
    return parse_record(AppliancePublic, data, limit_bytes=LARGEST_PUBLIC_BYTES)


def dump_appliance_public(public: AppliancePublic) -> bytes:
    """Return what `read_appliance_public` reads."""
    return dump_record(public) + b"\n"
