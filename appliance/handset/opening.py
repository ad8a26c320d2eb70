"""Verify an alert message and open it with the handset's own key; nothing is parsed before it is verified."""

from __future__ import annotations

import base64
import hashlib

from appliance.envelope import open_by_key
from appliance.errors import AuthorityError, ExpiredError, IntegrityError, RecordError
from appliance.ports import Clock
from appliance.records.alert_format import (
    LARGEST_MESSAGE_BYTES,
    PAYLOAD_ALERT,
    AlertParts,
    bind_alert,
    split_message,
    unpack_parts,
)
from appliance.records.alerts import AlertHeader
from appliance.records.ids import HandsetId
from appliance.records.wire import parse_record
from appliance.sealing import open_bytes, open_key


def open_message(
    data: bytes, appliance_public_key_hex: str, clock: Clock, *, limit_bytes: int = LARGEST_MESSAGE_BYTES
) -> tuple[AlertHeader, bytes]:
    """Return header and ciphertext of a message that the appliance signed.

    Raises:
        RecordError: Longer than `limit_bytes` (checked first), or not an alert message.
        SignatureError: Not signed by this appliance.
        IntegrityError: The ciphertext is not the one that was signed.
        ExpiredError: Too old, or the clock cannot be trusted to tell.
    """
    envelope, ciphertext = split_message(data, limit_bytes)
    payload = open_by_key(PAYLOAD_ALERT, envelope, appliance_public_key_hex, limit_bytes=limit_bytes)
    header = parse_record(AlertHeader, payload, limit_bytes=limit_bytes)
    if hashlib.sha256(ciphertext).hexdigest() != header.ciphertext_sha256:
        raise IntegrityError("alert: the ciphertext is not the one that was signed")
    if not clock.is_trusted():
        raise ExpiredError("alert: the clock is not trusted, so its age cannot be told")
    if clock.now() >= header.expires_at:
        raise ExpiredError("alert: expired")
    return header, ciphertext


def open_alert(
    header: AlertHeader, ciphertext: bytes, handset_id: HandsetId, sealing_private_key: bytes
) -> AlertParts:
    """Return the detail (JSON bytes) and the two pictures of an alert for this handset.

    Args:
        header: From `open_message`.
        ciphertext: From `open_message`.
        handset_id: This handset.
        sealing_private_key: Its X25519 private key, 32 bytes.

    Raises:
        AuthorityError: Not for this handset.
        IntegrityError: The key or the ciphertext does not open, or belongs to another alert.
        RecordError: What is inside is not an alert.
    """
    sealed = next((one for one in header.sealed_keys if one.handset_id == handset_id), None)
    if sealed is None:
        raise AuthorityError("alert: not sealed to this handset")
    try:
        sealed_key = base64.b64decode(sealed.sealed_key_base64, validate=True)
    except ValueError:
        raise RecordError("alert: a sealed key is not base64") from None
    key = open_key(sealed_key, sealing_private_key)
    bound_to = bind_alert(header.alert_id, header.appliance_id, header.deployment_id)
    return unpack_parts(open_bytes(ciphertext, key, bound_to))
