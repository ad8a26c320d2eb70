"""The rules for alerts in the supervisor: on disk before first sent, and sent until its handset has shown it.

The loops hold no state that matters: whatever ends them, opening the link again and running them again goes
on from the outbox. They raise BrokerError when the link is lost; reconnecting is the supervisor's part.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from appliance.alerts.message import (
    ADJUDICATIONS_TOPIC,
    RECEIPTS_TOPIC,
    AnswerRules,
    open_answer,
    pack_alert,
)
from appliance.envelope import Signer
from appliance.errors import AuthorityError, ExpiredError, RecordError
from appliance.ports import BrokerLink, BrokerMessage, Clock
from appliance.records.alerts import Adjudication, AlertHeader, Receipt, SealedAlert
from appliance.records.delivery import Admission, PendingDelivery, Recorded
from appliance.records.deployment import Recipient
from appliance.records.ids import AlertId, ApplianceId, AuthorisationId, HandsetId

logger = logging.getLogger(__name__)
ALERTS_TOPIC = "alerts"
_MOST_DOUBLINGS = 16
_LONGEST_NAP_S = 0.25
"""A new alert that comes while older ones wait for their next sending waits no longer than this."""
ResultT = TypeVar("ResultT")


class RunOnDisk(Protocol):
    """Run a call on the `disk` thread and wait for its result."""

    def __call__(self, call: Callable[[], ResultT], /) -> Awaitable[ResultT]: ...


class Outbox(Protocol):
    """What delivery needs of the outbox; see drivers/outbox.py. Thread: disk."""

    def admit(
        self,
        alert: SealedAlert,
        make_message: Callable[[int], bytes],
        *,
        deployment_id: AuthorisationId,
        expires_at: datetime,
        cooldown_s: float,
        now: datetime,
    ) -> Admission:
        """Put an alert on disk, or say why not."""

    def pending(self, now: datetime) -> list[PendingDelivery]:
        """Return the deliveries without a receipt, newest first."""

    def message_of(self, alert_id: AlertId) -> bytes | None:
        """Return the signed message, while somebody still needs it."""

    def mark_sent(self, alert_id: AlertId, handset_id: HandsetId) -> None:
        """Count one more sending."""

    def record_receipt(self, receipt: Receipt) -> Recorded | None:
        """End a delivery; None for an alert not sent to that handset."""

    def record_adjudication(self, adjudication: Adjudication) -> Recorded | None:
        """Keep a decision; None for an alert not sent to that handset."""

    def expire(self, now: datetime) -> list[AlertId]:
        """Delete the messages that are too old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """Times of delivery, from the configuration.

    An alert is sent again after a random wait of 0 to `first_retry_s` doubled with each sending, at most
    `longest_retry_s` (full jitter), until its receipt or until `expiry_s` after it was issued.
    """

    cooldown_s: float
    expiry_s: float
    first_retry_s: float
    longest_retry_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryCounts:
    """What happened since the start."""

    n_sent: int
    n_receipts: int
    n_adjudications: int
    n_repeated: int
    n_refused: int


class AlertDelivery:
    """Admit alerts, send them, and take in receipts and adjudications, for one deployment.

    Thread: the event loop; everything of the outbox goes through `run_on_disk`. `on_event` gets what the
    audit must know: `alert.admitted`, `alert.refused`, `alert.sent`, `alert.expired`, `alert.receipt`,
    `alert.adjudicated`, `answer.refused`; its values are ids, counts, closed words and error codes.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        run_on_disk: RunOnDisk,
        clock: Clock,
        random: Callable[[], float],
        signer: Signer,
        appliance_id: ApplianceId,
        deployment_id: AuthorisationId,
        recipients: Sequence[Recipient],
        rules: DeliveryRules,
        on_event: Callable[[str, dict[str, str]], None],
    ) -> None:
        self._outbox = outbox
        self._run_on_disk = run_on_disk
        self._clock = clock
        self._random = random
        self._signer = signer
        self._rules = rules
        self._on_event = on_event
        self._answers = AnswerRules(
            appliance_id=appliance_id,
            deployment_id=deployment_id,
            recipients={recipient.handset_id: recipient for recipient in recipients},
        )
        self._is_news = asyncio.Event()
        self._due_s: dict[tuple[AlertId, HandsetId], float] = {}
        self._counts = dict.fromkeys(("sent", "receipts", "adjudications", "repeated", "refused"), 0)

    @property
    def counts(self) -> DeliveryCounts:
        """Return what happened since the start."""
        return DeliveryCounts(**{f"n_{name}": value for name, value in self._counts.items()})

    async def admit(self, alert: SealedAlert, *, is_test: bool) -> Admission:
        """Sign an alert and put it on disk; the running delivery loop sends it at once.

        Args:
            alert: As it left the vision worker.
            is_test: The entry is a volunteer; the handset shows it as a test.

        Raises:
            ExpiredError: The clock is not trusted, so nothing may be issued.
            AuthorityError: The alert is sealed to somebody who is not a recipient of this deployment.
            StorageError: The outbox cannot be written; the alert is not taken in.
        """
        if not self._clock.is_trusted():
            self._on_event("alert.refused", {"alert_id": alert.alert_id, "why": "clock"})
            raise ExpiredError("the clock is not trusted: no alert is issued")
        if {sealed.handset_id for sealed in alert.sealed_keys} != set(self._answers.recipients):
            self._on_event("alert.refused", {"alert_id": alert.alert_id, "why": "recipients"})
            raise AuthorityError("the alert is not sealed to this deployment's recipients")
        now = self._clock.now()
        expires_at = now + timedelta(seconds=self._rules.expiry_s)

        def make_message(sequence: int) -> bytes:
            return self._make_message(alert, sequence, now, expires_at, is_test=is_test)

        admission = await self._run_on_disk(
            lambda: self._outbox.admit(
                alert,
                make_message,
                deployment_id=self._answers.deployment_id,
                expires_at=expires_at,
                cooldown_s=self._rules.cooldown_s,
                now=now,
            )
        )
        if admission.refusal is not None:
            self._on_event("alert.refused", {"alert_id": alert.alert_id, "why": admission.refusal.value})
        else:
            self._on_event(
                "alert.admitted", {"alert_id": alert.alert_id, "sequence": str(admission.sequence)}
            )
            self._is_news.set()
        return admission

    async def run_delivery(self, link: BrokerLink) -> None:
        """Send what is pending until cancelled; everything pending goes out at once on a fresh link.

        Raises:
            BrokerError: The link is lost; nothing else is.
            StorageError: The outbox cannot be read.
        """
        self._due_s.clear()
        while True:
            self._is_news.clear()
            await self._expire_old()
            now = self._clock.now()
            rows = await self._run_on_disk(partial(self._outbox.pending, now))
            if not rows:
                await self._is_news.wait()
                continue
            await self._send_due(link, rows)
            if not self._is_news.is_set():
                await self._clock.sleep(self._wait_s(rows))

    async def run_inbox(self, link: BrokerLink) -> None:
        """Take in receipts and adjudications until cancelled.

        Raises:
            BrokerError: The link is lost; a handset sends its receipt again when the alert reaches it again.
            StorageError: The outbox cannot be written.
        """
        for kind in (RECEIPTS_TOPIC, ADJUDICATIONS_TOPIC):
            await link.subscribe(f"{kind}/{self._answers.appliance_id}/+")
        async for message in link.messages():
            await self.take_in(message)

    async def take_in(self, message: BrokerMessage) -> bool:
        """Take in one message; what is not a handset's own answer is refused, counted and told.

        Returns:
            Whether it was a valid answer, new or repeated.
        """
        try:
            answer = open_answer(message.topic, message.payload, self._answers)
            recorded = await self._record(answer)
        except (AuthorityError, RecordError) as err:
            self._count("refused")
            self._on_event("answer.refused", {"why": err.code})
            logger.warning("an answer was refused: %s", err)
            return False
        self._tell_answer(answer, recorded)
        return True

    def _make_message(
        self, alert: SealedAlert, sequence: int, issued_at: datetime, expires_at: datetime, *, is_test: bool
    ) -> bytes:
        header = AlertHeader(
            alert_id=alert.alert_id,
            appliance_id=self._answers.appliance_id,
            deployment_id=self._answers.deployment_id,
            sequence=sequence,
            issued_at=issued_at,
            expires_at=expires_at,
            sealed_keys=alert.sealed_keys,
            ciphertext_sha256=hashlib.sha256(alert.ciphertext).hexdigest(),
            is_test=is_test,
        )
        return pack_alert(header, alert.ciphertext, self._signer)

    async def _send_due(self, link: BrokerLink, rows: Sequence[PendingDelivery]) -> None:
        keys = {(row.alert_id, row.handset_id) for row in rows}
        self._due_s = {key: due_s for key, due_s in self._due_s.items() if key in keys}
        for row in rows:
            if self._is_news.is_set():
                return  # a newer alert goes first, and what has its receipt by now does not go again
            if self._due_of(row) <= self._clock.monotonic_s():
                await self._send(link, row)

    async def _send(self, link: BrokerLink, row: PendingDelivery) -> None:
        message = await self._run_on_disk(lambda: self._outbox.message_of(row.alert_id))
        left_s = math.ceil((row.expires_at - self._clock.now()).total_seconds())
        if message is None or left_s <= 0:
            return
        topic = f"{ALERTS_TOPIC}/{self._answers.appliance_id}/{row.handset_id}"
        await link.publish(topic, message, expiry_s=left_s)
        longest_s = self._rules.first_retry_s * 2 ** min(row.n_sent, _MOST_DOUBLINGS)
        wait_s = self._random() * min(longest_s, self._rules.longest_retry_s)
        self._due_s[row.alert_id, row.handset_id] = self._clock.monotonic_s() + wait_s
        await self._run_on_disk(lambda: self._outbox.mark_sent(row.alert_id, row.handset_id))
        self._count("sent")
        if row.n_sent == 0:
            self._on_event("alert.sent", {"alert_id": row.alert_id, "handset_id": row.handset_id})

    def _due_of(self, row: PendingDelivery) -> float:
        return self._due_s.get((row.alert_id, row.handset_id), -math.inf)

    def _wait_s(self, rows: Sequence[PendingDelivery]) -> float:
        next_due_s = min(self._due_of(row) for row in rows) - self._clock.monotonic_s()
        return min(max(next_due_s, 0.0), _LONGEST_NAP_S)

    async def _expire_old(self) -> None:
        if not self._clock.is_trusted():
            return
        now = self._clock.now()
        for alert_id in await self._run_on_disk(lambda: self._outbox.expire(now)):
            self._on_event("alert.expired", {"alert_id": alert_id})
            logger.error("an alert expired before each handset had shown it", extra={"alert_id": alert_id})

    async def _record(self, answer: Receipt | Adjudication) -> Recorded:
        recorded = await self._run_on_disk(
            lambda: (
                self._outbox.record_receipt(answer)
                if isinstance(answer, Receipt)
                else self._outbox.record_adjudication(answer)
            )
        )
        if recorded is None:
            raise AuthorityError("answer: to an alert that was not sent to this handset")
        if recorded is Recorded.CONFLICTING:
            raise AuthorityError("adjudication: unlike the one already given; the first one stands")
        return recorded

    def _tell_answer(self, answer: Receipt | Adjudication, recorded: Recorded) -> None:
        if recorded is Recorded.REPEATED:
            self._count("repeated")
            return
        self._is_news.set()
        data = {"alert_id": answer.alert_id, "handset_id": answer.handset_id}
        if isinstance(answer, Receipt):
            self._count("receipts")
            self._on_event("alert.receipt", data)
        else:
            self._count("adjudications")
            decision = {"judgement": answer.judgement.value, "outcome": answer.outcome.value}
            self._on_event("alert.adjudicated", data | decision)

    def _count(self, name: str) -> None:
        self._counts[name] += 1
