"""Make the message that goes to the handsets, and refuse answers that are not a handset's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.envelope import Signer, open_by_key, sign_payload
from appliance.errors import AuthorityError, RecordError
from appliance.records.alert_format import (
    LARGEST_ANSWER_BYTES,
    PAYLOAD_ADJUDICATION,
    PAYLOAD_ALERT,
    PAYLOAD_RECEIPT,
    frame_message,
)
from appliance.records.alerts import Adjudication, AlertHeader, Receipt
from appliance.records.deployment import Recipient
from appliance.records.ids import ApplianceId, AuthorisationId, HandsetId
from appliance.records.wire import dump_record, parse_record

RECEIPTS_TOPIC = "receipts"
ADJUDICATIONS_TOPIC = "adjudications"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRules:
    """Who may answer what: this appliance, the deployment in force and its handsets."""

    appliance_id: ApplianceId
    deployment_id: AuthorisationId
    recipients: Mapping[HandsetId, Recipient]


def pack_alert(header: AlertHeader, ciphertext: bytes, signer: Signer) -> bytes:
    """Return the signed message of an alert.

    Raises:
        RecordError: The ciphertext is not the header's, or the message is longer than 256 KiB.
    """
    if hashlib.sha256(ciphertext).hexdigest() != header.ciphertext_sha256:
        raise RecordError("alert: the header names another ciphertext")
    return frame_message(sign_payload(PAYLOAD_ALERT, dump_record(header), [signer]), ciphertext)


def open_answer(topic: str, data: bytes, rules: AnswerRules) -> Receipt | Adjudication:
    """Return the receipt or adjudication that a handset signed.

    The topic's handset, the payload's handset and the key that signed must be one and the same recipient.

    Raises:
        AuthorityError: Another appliance's topic, a stranger, another handset's topic, another deployment.
        SignatureError: Not signed by the topic's handset.
        RecordError: Too long, or not what the topic is for.
    """
    kind, recipient = _sender_of(topic, rules)
    payload_type = PAYLOAD_RECEIPT if kind == RECEIPTS_TOPIC else PAYLOAD_ADJUDICATION
    payload = open_by_key(payload_type, data, recipient.signing_key_hex, limit_bytes=LARGEST_ANSWER_BYTES)
    answer: Receipt | Adjudication = (
        parse_record(Receipt, payload, limit_bytes=LARGEST_ANSWER_BYTES)
        if kind == RECEIPTS_TOPIC
        else parse_record(Adjudication, payload, limit_bytes=LARGEST_ANSWER_BYTES)
    )
    if answer.handset_id != recipient.handset_id:
        raise AuthorityError(f"{payload_type}: names another handset than its topic")
    if answer.deployment_id != rules.deployment_id:
        raise AuthorityError(f"{payload_type}: for another deployment")
    return answer


def _sender_of(topic: str, rules: AnswerRules) -> tuple[str, Recipient]:
    kind, _, rest = topic.partition("/")
    appliance_id, _, handset = rest.partition("/")
    if kind not in (RECEIPTS_TOPIC, ADJUDICATIONS_TOPIC) or appliance_id != rules.appliance_id:
        raise AuthorityError("answer: not a topic of this appliance")
    recipient = rules.recipients.get(HandsetId(handset))
    if recipient is None:
        raise AuthorityError("answer: not a handset of this deployment")
    return kind, recipient
