"""Encrypt bytes under a content key, and seal such a key to one reader. The primitives are libsodium's.

Bytes go under XChaCha20-Poly1305 with a random nonce; a key goes into a sealed box (X25519), which only the
holder of the private half opens and which does not say who made it. Who signed: see appliance.envelope.
"""

from __future__ import annotations

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.secret import Aead
from nacl.signing import SigningKey
from nacl.utils import random

from appliance.envelope import Signer
from appliance.errors import IntegrityError, KeyStoreError
from appliance.records.ids import KeyId

KEY_BYTES = 32
SEALING_OVERHEAD_BYTES = 40
"""What `seal_bytes` adds: a nonce of 24 bytes and a tag of 16."""


def new_content_key() -> bytes:
    """Return a random key of 32 bytes; use it for one thing only."""
    return random(KEY_BYTES)


def seal_bytes(plain: bytes, key: bytes, bound_to: bytes) -> bytes:
    """Encrypt `plain`, so that it opens with the same key and the same `bound_to` only.

    Args:
        plain: What to keep secret; its length shows.
        key: 32 bytes.
        bound_to: What the bytes belong to (ids, a purpose); authenticated, not contained in the result.

    Returns:
        The random nonce (24 bytes), the ciphertext and its tag (16 bytes).

    Raises:
        KeyStoreError: The key is not 32 bytes long.
    """
    return bytes(_aead(key).encrypt(plain, bound_to))


def open_bytes(sealed: bytes, key: bytes, bound_to: bytes) -> bytes:
    """Return what `seal_bytes` encrypted.

    Raises:
        IntegrityError: Another key, other bytes, or bound to something else; which one is not told.
        KeyStoreError: The key is not 32 bytes long.
    """
    box = _aead(key)
    if len(sealed) < SEALING_OVERHEAD_BYTES:
        raise IntegrityError("sealed bytes are too short to be whole")
    try:
        return box.decrypt(sealed, bound_to)
    except CryptoError:
        raise IntegrityError("sealed bytes do not open: another key, or they were changed") from None


def seal_key(key: bytes, public_key_hex: str) -> bytes:
    """Seal a content key to the reader who holds the private half of an X25519 public key.

    Raises:
        KeyStoreError: The content key is not 32 bytes long, or the public key is not one.
    """
    if len(key) != KEY_BYTES:
        raise KeyStoreError("a content key has 32 bytes")
    try:
        box = SealedBox(PublicKey(bytes.fromhex(public_key_hex)))
        return box.encrypt(key)
    except (ValueError, TypeError, CryptoError):
        raise KeyStoreError("a sealing key is 32 bytes in hexadecimal") from None


def open_key(sealed: bytes, private_key: bytes) -> bytes:
    """Return the content key that `seal_key` sealed to this reader.

    Raises:
        IntegrityError: Sealed to somebody else, or changed.
        KeyStoreError: The private key is not 32 bytes long.
    """
    if len(private_key) != KEY_BYTES:
        raise KeyStoreError("a private sealing key has 32 bytes")
    try:
        key = SealedBox(PrivateKey(private_key)).decrypt(sealed)
    except (CryptoError, ValueError, TypeError):
        raise IntegrityError("sealed key does not open: for another reader, or it was changed") from None
    if len(key) != KEY_BYTES:
        raise IntegrityError("sealed key has another length than a key")
    return key


def new_sealing_pair() -> tuple[bytes, str]:
    """Return a fresh X25519 pair: the private half (32 bytes) and the public half as hexadecimal."""
    private = PrivateKey.generate()
    return bytes(private), bytes(private.public_key).hex()


def new_signing_pair() -> tuple[bytes, str]:
    """Return a fresh Ed25519 pair: the seed (32 bytes) and the public half as hexadecimal."""
    key = SigningKey.generate()
    return bytes(key), bytes(key.verify_key).hex()


def signer_of(key_id: KeyId, seed: bytes) -> Signer:
    """Return a signer from an Ed25519 seed of 32 bytes; KeyStoreError when it has another length."""
    if len(seed) != KEY_BYTES:
        raise KeyStoreError("a signing seed has 32 bytes")
    return Signer(key_id=key_id, key=SigningKey(seed))


def _aead(key: bytes) -> Aead:
    if len(key) != KEY_BYTES:
        raise KeyStoreError("a content key has 32 bytes")
    return Aead(key)
