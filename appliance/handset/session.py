"""From the broker to the officer and back: show, prove that it was shown, ask, sign the decision, send it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from appliance.envelope import sign_payload
from appliance.errors import ApplianceError, AuthorityError, BrokerError, StorageError
from appliance.handset.blind import AfterView, BeforeView, Card
from appliance.handset.inbox import HandsetInbox, RepeatedAlert
from appliance.handset.keys import HandsetKeys
from appliance.handset.store import Decision, HandsetStore, ShownAlert
from appliance.ports import BrokerLink, BrokerMessage, Clock
from appliance.records.alert_format import PAYLOAD_ADJUDICATION, PAYLOAD_RECEIPT
from appliance.records.alerts import Adjudication, Judgement, Outcome, Receipt
from appliance.records.ids import KeyId
from appliance.records.wire import dump_record
from appliance.sealing import signer_of

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")


class RunAside(Protocol):
    """Run a call that blocks (a person thinks, a file is written) on another thread, and wait for it."""

    def __call__(self, call: Callable[[], ResultT], /) -> Awaitable[ResultT]: ...


class Officer(Protocol):
    """A person, or a script in their place. Each call blocks for as long as they take."""

    def show(self, view: BeforeView) -> None:
        """Put the card before them; when this returns, they have been shown it."""

    def judge(self, view: BeforeView) -> Judgement | None:
        """Say what they see in the two pictures; None leaves it to `handset decide`."""

    def conclude(self, view: AfterView) -> Outcome:
        """Show what was held back, and say what they then did."""


class ScriptedOfficer:
    """Implement the Officer port for a demonstration or a test, by the before-view alone."""

    def __init__(
        self,
        judge: Callable[[BeforeView], Judgement],
        outcome: Outcome = Outcome.NO_ACTION,
        on_conclude: Callable[[AfterView], None] = lambda _: None,
    ) -> None:
        self._judge = judge
        self._outcome = outcome
        self._on_conclude = on_conclude

    def show(self, view: BeforeView) -> None:
        """Show nothing: a script sees what it is given."""

    def judge(self, view: BeforeView) -> Judgement:
        """Return the script's judgement."""
        return self._judge(view)

    def conclude(self, view: AfterView) -> Outcome:
        """Pass the after-view on, and return the outcome given at the start."""
        self._on_conclude(view)
        return self._outcome


class AnswerSender:
    """Sign a handset's receipts and decisions and send them on the topics of the alert's appliance."""

    def __init__(self, keys: HandsetKeys, link: BrokerLink) -> None:
        self._handset_id = keys.recipient.handset_id
        self._signer = signer_of(KeyId(self._handset_id), bytes.fromhex(keys.signing_seed_hex))
        self._link = link

    async def send_receipt(self, shown: ShownAlert) -> None:
        """Send the proof that an alert was shown; the broker keeps it as long as it takes (BrokerError)."""
        receipt = Receipt(
            alert_id=shown.alert_id,
            deployment_id=shown.deployment_id,
            handset_id=self._handset_id,
            shown_at=shown.shown_at,
        )
        data = sign_payload(PAYLOAD_RECEIPT, dump_record(receipt), [self._signer])
        topic = f"receipts/{shown.appliance_id}/{self._handset_id}"
        await self._link.publish(topic, data, expiry_s=None)

    async def send_decision(self, shown: ShownAlert, decision: Decision) -> None:
        """Send the officer's decision (BrokerError)."""
        adjudication = Adjudication(
            alert_id=shown.alert_id,
            deployment_id=shown.deployment_id,
            handset_id=self._handset_id,
            judgement=decision.judgement,
            outcome=decision.outcome,
            decided_at=decision.decided_at,
        )
        data = sign_payload(PAYLOAD_ADJUDICATION, dump_record(adjudication), [self._signer])
        topic = f"adjudications/{shown.appliance_id}/{self._handset_id}"
        await self._link.publish(topic, data, expiry_s=None)


class HandsetSession:
    """Serve one officer over one link; `on_event` is told `card`, `repeated`, `refused` and `decided`.

    Thread: the event loop; the officer and the store through `run_aside`. One card at a time: what comes
    meanwhile waits, and has no receipt until it is shown.
    """

    def __init__(
        self,
        *,
        keys: HandsetKeys,
        inbox: HandsetInbox,
        store: HandsetStore,
        officer: Officer,
        clock: Clock,
        run_aside: RunAside,
        on_event: Callable[[str, dict[str, str]], None] = lambda _kind, _data: None,
    ) -> None:
        self._keys = keys
        self._inbox = inbox
        self._store = store
        self._officer = officer
        self._clock = clock
        self._run_aside = run_aside
        self._on_event = on_event

    async def run(self, link: BrokerLink, *, n_cards: int | None = None) -> None:
        """Receive until cancelled, or until `n_cards` cards were shown.

        Decisions of alerts not yet expired are sent again first: a broker may have lost them.

        Raises:
            BrokerError: The link is lost; run it again with a new one.
            StorageError: What was shown cannot be kept, so nothing more is shown.
        """
        sender = AnswerSender(self._keys, link)
        await link.subscribe(self._inbox.topic)
        await self._send_decisions_again(sender)
        left = n_cards
        if left == 0:
            return
        async for message in link.messages():
            if await self.take_in(message, sender) and left is not None:
                left -= 1
                if left <= 0:
                    return

    async def take_in(self, message: BrokerMessage, sender: AnswerSender) -> bool:
        """Handle one message; returns whether it made a card."""
        try:
            found = await self._run_aside(lambda: self._inbox.accept(message))
            if isinstance(found, Card):
                await self._run_aside(lambda: self._officer.show(found.before))
        except StorageError:
            raise
        except ApplianceError as err:  # a message that cannot be used or drawn: no receipt, the next one
            self._on_event("refused", {"why": err.code})
            logger.warning("a message was refused: %s", err)
            return False
        if isinstance(found, RepeatedAlert):
            self._on_event("repeated", {"alert_id": found.shown.alert_id})
            await sender.send_receipt(found.shown)
            return False
        await self._serve(found, sender)
        return True

    async def _serve(self, card: Card, sender: AnswerSender) -> None:
        header = card.header
        shown = ShownAlert(
            alert_id=header.alert_id,
            appliance_id=header.appliance_id,
            deployment_id=header.deployment_id,
            shown_at=self._clock.now(),
            expires_at=header.expires_at,
        )
        # in this order: a crash shows the card again rather than never, and no receipt goes before it is kept
        await self._run_aside(lambda: self._store.keep_shown(shown))
        self._on_event("card", {"alert_id": header.alert_id})
        try:
            await sender.send_receipt(shown)
        except BrokerError as err:  # the officer goes on; the receipt goes when the alert comes again
            logger.warning("a receipt waits for the broker: %s", err, extra={"alert_id": header.alert_id})
        judgement = await self._run_aside(lambda: self._officer.judge(card.before))
        if judgement is None:
            return
        after = card.judge(judgement)
        outcome = await self._run_aside(lambda: self._officer.conclude(after))
        decision = Decision(
            alert_id=header.alert_id, judgement=judgement, outcome=outcome, decided_at=self._clock.now()
        )
        try:
            await self._run_aside(lambda: self._store.keep_decision(decision))
        except AuthorityError as err:  # `handset decide` was quicker
            self._on_event("refused", {"alert_id": header.alert_id, "why": err.code})
            logger.warning("a decision was refused: %s", err, extra={"alert_id": header.alert_id})
            return
        await sender.send_decision(shown, decision)
        self._on_event("decided", {"alert_id": header.alert_id, "judgement": judgement.value})

    async def _send_decisions_again(self, sender: AnswerSender) -> None:
        for alert_id in await self._run_aside(self._store.list_decided):
            shown = await self._run_aside(partial(self._store.find_shown, alert_id))
            decision = await self._run_aside(partial(self._store.find_decision, alert_id))
            if shown is not None and decision is not None and self._clock.now() < shown.expires_at:
                await sender.send_decision(shown, decision)
