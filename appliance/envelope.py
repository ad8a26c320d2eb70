"""Sign bytes for a purpose, and accept only bytes that enough of the right people signed.

The format is DSSE (Dead Simple Signing Envelope, v1): the signature covers the payload's type and the exact
payload bytes, so nothing is parsed or serialised again before it is verified. The primitives are libsodium's.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey
from pydantic import Field

from appliance.errors import SignatureError
from appliance.records.deployment import TrustedKey, TrustedRole
from appliance.records.ids import KeyId, PersonName
from appliance.records.wire import dump_record, parse_record

TYPE_PREFIX = "application/vnd.appliance."
"""A payload type is this and a name such as `alert`: a receipt can never pass for an authorisation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature; field names are DSSE's."""

    keyid: KeyId
    sig: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with its signatures; field names are DSSE's, payload is base64."""

    payload: str
    payloadType: str  # noqa: N815  DSSE's name
    signatures: Annotated[tuple[Signature, ...], Field(max_length=16)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A private Ed25519 key and the name under which others know its public half."""

    key_id: KeyId
    key: SigningKey


def sign_payload(kind: str, payload: bytes, signers: Sequence[Signer]) -> bytes:
    """Return an envelope (JSON bytes) of `payload`, signed by each signer for the payload type `kind`."""
    envelope = Envelope(
        payload=base64.b64encode(payload).decode("ascii"), payloadType=TYPE_PREFIX + kind, signatures=()
    )
    return _with_signatures(envelope, payload, signers)


def add_signature(data: bytes, signer: Signer, *, limit_bytes: int) -> bytes:
    """Return the envelope with one more signature; an earlier one by the same key is replaced."""
    envelope = parse_record(Envelope, data, limit_bytes=limit_bytes)
    payload = _payload_of(envelope)
    return _with_signatures(envelope, payload, [signer])


def open_by_key(kind: str, data: bytes, public_key_hex: str, *, limit_bytes: int) -> bytes:
    """Return the payload of an envelope that the one given key signed.

    Raises:
        SignatureError: Another payload type, or no valid signature by this key.
        RecordError: Not an envelope, or longer than `limit_bytes`.
    """
    key = TrustedKey(key_id=KeyId("only"), person=PersonName("only"), public_key_hex=public_key_hex)
    envelope = parse_record(Envelope, data, limit_bytes=limit_bytes)
    payload = _payload_of(envelope)
    if not _valid_persons(kind, envelope, payload, [key], match_key_id=False):
        raise SignatureError(f"{kind}: not signed by the expected key")
    return payload


def open_by_role(kind: str, data: bytes, role: TrustedRole, *, limit_bytes: int) -> bytes:
    """Return the payload of an envelope that enough different persons of `role` signed.

    Two keys of one person count once; signatures by strangers count nothing and harm nothing.

    Raises:
        SignatureError: Another payload type, or fewer persons than the role's threshold.
        RecordError: Not an envelope, or longer than `limit_bytes`.
    """
    envelope = parse_record(Envelope, data, limit_bytes=limit_bytes)
    payload = _payload_of(envelope)
    persons = _valid_persons(kind, envelope, payload, role.keys, match_key_id=True)
    if len(persons) < role.threshold:
        raise SignatureError(f"{kind}: signed by {len(persons)} of the {role.threshold} persons needed")
    return payload


def _with_signatures(envelope: Envelope, payload: bytes, signers: Sequence[Signer]) -> bytes:
    message = _pre_authentication_encoding(envelope.payloadType, payload)
    new_ids = {signer.key_id for signer in signers}
    kept = tuple(old for old in envelope.signatures if old.keyid not in new_ids)
    added = tuple(
        Signature(
            keyid=signer.key_id,
            sig=base64.b64encode(signer.key.sign(message).signature).decode("ascii"),
        )
        for signer in signers
    )
    return dump_record(
        Envelope(payload=envelope.payload, payloadType=envelope.payloadType, signatures=kept + added)
    )


def _payload_of(envelope: Envelope) -> bytes:
    try:
        return base64.b64decode(envelope.payload, validate=True)
    except ValueError:
        raise SignatureError("the payload is not base64") from None


def _valid_persons(
    kind: str, envelope: Envelope, payload: bytes, keys: Iterable[TrustedKey], *, match_key_id: bool
) -> set[PersonName]:
    if envelope.payloadType != TYPE_PREFIX + kind:
        raise SignatureError(f"{kind}: the envelope holds another type of payload")
    message = _pre_authentication_encoding(envelope.payloadType, payload)
    return {
        key.person
        for key in keys
        for signature in envelope.signatures
        if (not match_key_id or signature.keyid == key.key_id) and _is_valid(key, message, signature)
    }


def _is_valid(key: TrustedKey, message: bytes, signature: Signature) -> bool:
    try:
        VerifyKey(bytes.fromhex(key.public_key_hex)).verify(
            message, base64.b64decode(signature.sig, validate=True)
        )
    except (BadSignatureError, ValueError):
        return False
    return True


def _pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)  # DSSE v1, PAE
