"""Where an appliance's own secrets are, and the key it signs with."""

from __future__ import annotations

from nacl.signing import SigningKey

from appliance.envelope import Signer
from appliance.ports import KeyStore
from appliance.records.ids import KeyId

SIGNING_KEY_ID = KeyId("appliance-signing")
KEYS_FOLDER = "keys"
"""In the appliance's state folder, where secrets are files."""
VAULT_FOLDER = "vault"
"""In the appliance's state folder."""


def make_signer(keys: KeyStore, key_id: KeyId = SIGNING_KEY_ID) -> Signer:
    """Make and keep a fresh signing key; KeyStoreError when there is one of this name."""
    return Signer(key_id=key_id, key=SigningKey(keys.create(key_id)))


def load_signer(keys: KeyStore, key_id: KeyId = SIGNING_KEY_ID) -> Signer:
    """Return a kept signing key; KeyStoreError when there is none."""
    return Signer(key_id=key_id, key=SigningKey(keys.load(key_id)))


def public_key_hex(signer: Signer) -> str:
    """Return the public half, 32 bytes as hexadecimal."""
    return bytes(signer.key.verify_key).hex()
