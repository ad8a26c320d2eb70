"""Seal an alert to the officers' handsets; runs in the vision worker, which alone sees the plain pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from appliance.errors import AuthorityError
from appliance.records.alert_format import AlertParts, bind_alert, pack_parts
from appliance.records.alerts import AlertDetail, SealedKey
from appliance.records.deployment import Recipient
from appliance.records.ids import AlertId, ApplianceId, AuthorisationId
from appliance.records.wire import dump_record
from appliance.sealing import new_content_key, seal_bytes, seal_key


def seal_alert(
    detail: AlertDetail,
    probe_jpeg: bytes,
    reference_jpeg: bytes,
    *,
    alert_id: AlertId,
    appliance_id: ApplianceId,
    deployment_id: AuthorisationId,
    recipients: Sequence[Recipient],
) -> tuple[tuple[SealedKey, ...], bytes]:
    """Encrypt an alert under a fresh key, and seal that key to each recipient.

    Args:
        detail: What the officer sees, before and after the first judgement.
        probe_jpeg: The portrait from the camera.
        reference_jpeg: The portrait from the list.
        alert_id: The ciphertext is bound to this id, the appliance and the deployment.
        appliance_id: This appliance.
        deployment_id: The authorisation in force.
        recipients: Handsets of that authorisation, one at least.

    Returns:
        The sealed keys, in the order of the recipients, and the ciphertext; its length is a multiple of
        4 KiB and 40 bytes, whatever the pictures' lengths within that class.

    Raises:
        AuthorityError: No recipient.
        KeyStoreError: A recipient's sealing key is not one.

    Thread: match. Takes well under a millisecond per recipient.
    """
    if not recipients:
        raise AuthorityError("an alert needs a recipient: the authorisation names none")
    packed = pack_parts(
        AlertParts(detail_json=dump_record(detail), probe_jpeg=probe_jpeg, reference_jpeg=reference_jpeg)
    )
    key = new_content_key()
    sealed_keys = tuple(
        SealedKey(
            handset_id=recipient.handset_id,
            sealed_key_base64=base64.b64encode(seal_key(key, recipient.sealing_key_hex)).decode("ascii"),
        )
        for recipient in recipients
    )
    return sealed_keys, seal_bytes(packed, key, bind_alert(alert_id, appliance_id, deployment_id))
