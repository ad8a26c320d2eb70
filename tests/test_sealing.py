"""Content keys and what is sealed under them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import IntegrityError, KeyStoreError
from appliance.records.ids import KeyId
from appliance.sealing import (
    new_content_key,
    new_sealing_pair,
    new_signing_pair,
    open_bytes,
    open_key,
    seal_bytes,
    seal_key,
    signer_of,
)


@given(st.binary(max_size=5000), st.binary(max_size=50))
def test_sealed_bytes_open_with_their_key_and_binding(plain: bytes, bound_to: bytes) -> None:
    key = new_content_key()
    assert open_bytes(seal_bytes(plain, key, bound_to), key, bound_to) == plain


def test_same_bytes_seal_differently_each_time() -> None:
    key = new_content_key()
    assert seal_bytes(b"same", key, b"") != seal_bytes(b"same", key, b"")


@given(st.integers(min_value=0, max_value=43), st.integers(min_value=1, max_value=255))
def test_flipped_byte_is_refused(position: int, flip: int) -> None:
    key = new_content_key()
    sealed = bytearray(seal_bytes(b"face", key, b"alert-1"))
    sealed[position] ^= flip
    with pytest.raises(IntegrityError):
        open_bytes(bytes(sealed), key, b"alert-1")


def test_other_binding_is_refused() -> None:
    key = new_content_key()
    with pytest.raises(IntegrityError):
        open_bytes(seal_bytes(b"face", key, b"alert-1"), key, b"alert-2")


def test_other_key_is_refused() -> None:
    with pytest.raises(IntegrityError):
        open_bytes(seal_bytes(b"face", new_content_key(), b""), new_content_key(), b"")


@pytest.mark.parametrize("length", [0, 1, 24, 39])
def test_short_sealed_bytes_are_refused(length: int) -> None:
    with pytest.raises(IntegrityError):
        open_bytes(bytes(length), new_content_key(), b"")


def test_key_of_another_length_is_refused() -> None:
    with pytest.raises(KeyStoreError):
        seal_bytes(b"face", bytes(31), b"")
    with pytest.raises(KeyStoreError):
        seal_key(bytes(31), new_sealing_pair()[1])
    with pytest.raises(KeyStoreError):
        open_key(b"", bytes(31))
    with pytest.raises(KeyStoreError):
        signer_of(KeyId("k"), bytes(31))


def test_sealed_key_opens_for_its_reader_only() -> None:
    key = new_content_key()
    private, public_hex = new_sealing_pair()
    sealed = seal_key(key, public_hex)
    assert open_key(sealed, private) == key
    with pytest.raises(IntegrityError):
        open_key(sealed, new_sealing_pair()[0])
    with pytest.raises(IntegrityError):
        open_key(sealed[:-1], private)


@pytest.mark.parametrize("public_hex", ["", "zz", "00" * 31, "00" * 32])
def test_public_key_that_is_none_is_refused(public_hex: str) -> None:
    with pytest.raises(KeyStoreError):
        seal_key(new_content_key(), public_hex)


def test_signing_pair_belongs_together() -> None:
    seed, public_hex = new_signing_pair()
    assert bytes(signer_of(KeyId("k"), seed).key.verify_key).hex() == public_hex
