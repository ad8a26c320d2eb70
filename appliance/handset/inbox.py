"""From a message's bytes to a card or a refusal; nothing here draws, sends or waits."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.errors import AuthorityError
from appliance.handset.blind import Card
from appliance.handset.keys import HandsetKeys
from appliance.handset.opening import open_alert, open_message
from appliance.handset.store import HandsetStore, ShownAlert
from appliance.ports import BrokerMessage, Clock
from appliance.records.deployment import AppliancePublic


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedAlert:
    """An alert that was shown before: it gets its receipt again and no second card."""

    shown: ShownAlert


class HandsetInbox:
    """Accept alerts of one appliance for one handset. Thread: the session's."""

    def __init__(
        self, *, keys: HandsetKeys, appliance: AppliancePublic, store: HandsetStore, clock: Clock
    ) -> None:
        self._keys = keys
        self._appliance = appliance
        self._store = store
        self._clock = clock
        self.topic = f"alerts/{appliance.appliance_id}/{keys.recipient.handset_id}"

    def accept(self, message: BrokerMessage) -> Card | RepeatedAlert:
        """Return a card to show, or that it was shown before.

        Raises:
            AuthorityError: Another topic or appliance, not for this handset, a stranger's, or expired.
            IntegrityError: Changed on the way.
            RecordError: Not an alert.
        """
        if message.topic != self.topic:
            raise AuthorityError("alert: not this handset's topic")
        header, ciphertext = open_message(message.payload, self._appliance.signing_key_hex, self._clock)
        if header.appliance_id != self._appliance.appliance_id:
            raise AuthorityError("alert: of another appliance")
        parts = open_alert(
            header,
            ciphertext,
            self._keys.recipient.handset_id,
            bytes.fromhex(self._keys.sealing_private_hex),
        )
        shown = self._store.find_shown(header.alert_id)
        return Card(header, parts) if shown is None else RepeatedAlert(shown=shown)
