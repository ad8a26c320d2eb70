"""How an alert lies in bytes: the message on the wire, and what is inside its ciphertext.

A message is `AL1\\n`, the envelope's length (u32, big-endian), the DSSE envelope of an AlertHeader, then the
ciphertext. The plain text under the ciphertext is AlertDetail as JSON, the probe's JPEG and the reference's
JPEG, each behind its length (u32, big-endian), then zeros up to a multiple of 4 KiB, so that the length of an
alert says little about who is on it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from appliance.errors import RecordError
from appliance.records.ids import AlertId, ApplianceId, AuthorisationId

MAGIC = b"AL1\n"
PAYLOAD_ALERT = "alert"
PAYLOAD_RECEIPT = "receipt"
PAYLOAD_ADJUDICATION = "adjudication"
LARGEST_MESSAGE_BYTES = 256 * 1024
LARGEST_ANSWER_BYTES = 4096
"""A receipt or an adjudication with its envelope."""
SIZE_CLASS_BYTES = 4096
_LENGTH = struct.Struct(">I")
_N_PARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertParts:
    """What an officer gets: AlertDetail as JSON bytes, and two JPEGs."""

    detail_json: bytes
    probe_jpeg: bytes
    reference_jpeg: bytes


def bind_alert(alert_id: AlertId, appliance_id: ApplianceId, deployment_id: AuthorisationId) -> bytes:
    """Return what an alert's ciphertext is bound to; ids hold no zero byte, so no two alerts share it."""
    return b"alert\0" + b"\0".join(part.encode("utf-8") for part in (alert_id, appliance_id, deployment_id))


def pack_parts(parts: AlertParts) -> bytes:
    """Return the parts behind their lengths, padded with zeros to a multiple of SIZE_CLASS_BYTES."""
    packed = bytearray()
    for part in (parts.detail_json, parts.probe_jpeg, parts.reference_jpeg):
        packed += _LENGTH.pack(len(part)) + part
    packed += bytes(-len(packed) % SIZE_CLASS_BYTES)
    return bytes(packed)


def unpack_parts(packed: bytes) -> AlertParts:
    """Return what `pack_parts` packed.

    Raises:
        RecordError: A length points past the end, or the padding is not zeros within one size class.
    """
    parts: list[bytes] = []
    start = 0
    for _ in range(_N_PARTS):
        part, start = _take_part(packed, start)
        parts.append(part)
    padding = packed[start:]
    if len(packed) % SIZE_CLASS_BYTES or len(padding) >= SIZE_CLASS_BYTES or any(padding):
        raise RecordError("alert: the padding is not what belongs there")
    return AlertParts(detail_json=parts[0], probe_jpeg=parts[1], reference_jpeg=parts[2])


def frame_message(envelope: bytes, ciphertext: bytes) -> bytes:
    """Return the message; RecordError when it is longer than any receiver takes."""
    data = MAGIC + _LENGTH.pack(len(envelope)) + envelope + ciphertext
    if len(data) > LARGEST_MESSAGE_BYTES:
        raise RecordError(f"alert: {len(data)} bytes, {LARGEST_MESSAGE_BYTES} allowed")
    return data


def split_message(data: bytes, limit_bytes: int = LARGEST_MESSAGE_BYTES) -> tuple[bytes, bytes]:
    """Return envelope and ciphertext of a message; nothing in them is verified yet.

    Raises:
        RecordError: Longer than `limit_bytes`, another magic, or a length past the end.
    """
    if len(data) > limit_bytes:
        raise RecordError(f"alert: {len(data)} bytes, {limit_bytes} allowed")
    if not data.startswith(MAGIC):
        raise RecordError("alert: not an alert message")
    envelope, start = _take_part(data, len(MAGIC))
    return envelope, data[start:]


def _take_part(data: bytes, start: int) -> tuple[bytes, int]:
    body = start + _LENGTH.size
    if len(data) < body:
        raise RecordError("alert: a length is missing")
    (length,) = _LENGTH.unpack_from(data, start)
    end = body + length
    if end > len(data):
        raise RecordError("alert: a length points past the end")
    return data[body:end], end
