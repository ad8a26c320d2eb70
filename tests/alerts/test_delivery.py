"""The supervisor's rules for alerts, on a real outbox and a broker in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from appliance.alerts.delivery import AlertDelivery, DeliveryRules
from appliance.envelope import sign_payload
from appliance.errors import AuthorityError, BrokerError, ExpiredError
from appliance.handset.opening import open_message
from appliance.records.alerts import Adjudication, Judgement, Outcome, Receipt
from appliance.records.delivery import AdmissionRefusal, OutboxCounts
from appliance.records.ids import AlertId, AuthorisationId, HandsetId, KeyId
from appliance.records.wire import dump_record
from appliance.sealing import signer_of
from drivers.outbox import SqliteOutbox
from tests.fakes.alerts import APPLIANCE, DEPLOYMENT, AlertWorld, make_world
from tests.fakes.broker import FakeBroker, FakeLink, FakeMessage
from tests.fakes.clock import START, FakeClock

ResultT = TypeVar("ResultT")
RULES = DeliveryRules(cooldown_s=300.0, expiry_s=600.0, first_retry_s=2.0, longest_retry_s=60.0)


def on_disk(call: Callable[[], ResultT]) -> Awaitable[ResultT]:
    return asyncio.to_thread(call)


class Bench:
    """A delivery with everything around it."""

    def __init__(self, folder: Path, handsets: tuple[str, ...] = ("handset-1",)) -> None:
        self.world: AlertWorld = make_world(folder, handsets)
        self.clock = FakeClock()
        self.broker = FakeBroker()
        self.events: list[tuple[str, dict[str, str]]] = []
        self.path = folder / "outbox.sqlite"
        self.outbox = SqliteOutbox(self.path)
        self.delivery = self.make_delivery()

    def make_delivery(self) -> AlertDelivery:
        return AlertDelivery(
            outbox=self.outbox,
            run_on_disk=on_disk,
            clock=self.clock,
            random=lambda: 0.5,
            signer=self.world.signer,
            appliance_id=APPLIANCE,
            deployment_id=DEPLOYMENT,
            recipients=self.world.recipients,
            rules=RULES,
            on_event=lambda kind, data: self.events.append((kind, data)),
        )

    async def counts(self) -> OutboxCounts:
        return await on_disk(self.outbox.counts)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeLink]:
        link = self.broker.link()
        task = asyncio.ensure_future(self.delivery.run_delivery(link))
        try:
            yield link
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, is_so: Callable[[], bool]) -> None:
        for _ in range(5000):
            if is_so():
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"never came: {self.kinds()}, {len(self.broker.sent)} sent")

    def receipt(
        self,
        number: int = 1,
        *,
        topic_handset: str = "handset-1",
        handset: str = "handset-1",
        signed_by: str = "handset-1",
        deployment: AuthorisationId = DEPLOYMENT,
        shown_at: datetime = START,
    ) -> FakeMessage:
        record = Receipt(
            alert_id=AlertId(f"alert-{number}"),
            deployment_id=deployment,
            handset_id=HandsetId(handset),
            shown_at=shown_at,
        )
        return self.sign("receipt", "receipts", record, topic_handset, signed_by)

    def adjudication(self, number: int = 1, judgement: Judgement = Judgement.SAME) -> FakeMessage:
        record = Adjudication(
            alert_id=AlertId(f"alert-{number}"),
            deployment_id=DEPLOYMENT,
            handset_id=HandsetId("handset-1"),
            judgement=judgement,
            outcome=Outcome.SPOKEN_TO,
            decided_at=START,
        )
        return self.sign("adjudication", "adjudications", record, "handset-1", "handset-1")

    def sign(self, kind: str, root: str, record: object, topic_handset: str, signed_by: str) -> FakeMessage:
        keys = next(one for one in self.world.handsets if one.recipient.handset_id == signed_by)
        signer = signer_of(KeyId(signed_by), bytes.fromhex(keys.signing_seed_hex))
        data = sign_payload(kind, dump_record(record), [signer])
        return FakeMessage(f"{root}/{APPLIANCE}/{topic_handset}", data)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.outbox.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, ("handset-1", "handset-2"))
    yield made
    made.outbox.close()


async def test_alert_is_on_disk_before_it_is_sent(bench: Bench) -> None:
    admission = await bench.delivery.admit(bench.world.seal(), is_test=False)
    assert admission.is_admitted
    assert bench.broker.sent == []
    assert (await bench.counts()).n_pending_deliveries == 1


async def test_alert_goes_to_each_recipient_on_its_own_topic_with_an_expiry(pair: Bench) -> None:
    async with pair.running():
        await pair.delivery.admit(pair.world.seal(), is_test=True)
        await pair.until(lambda: len(pair.broker.sent) >= 2)
    topics = {message.topic for message in pair.broker.sent[:2]}
    assert topics == {f"alerts/{APPLIANCE}/handset-1", f"alerts/{APPLIANCE}/handset-2"}
    assert pair.broker.sent[0].expiry_s == 600
    header, _ = open_message(pair.broker.sent[0].payload, pair.world.public.signing_key_hex, FakeClock())
    assert header.is_test
    assert header.expires_at == START + timedelta(seconds=600)


async def test_alert_is_sent_again_with_jitter_until_its_receipt(bench: Bench) -> None:
    async with bench.running():
        await bench.delivery.admit(bench.world.seal(), is_test=False)
        await bench.until(lambda: len(bench.broker.sent) >= 4)
        assert await bench.delivery.take_in(bench.receipt())
        assert (await bench.counts()).n_pending_deliveries == 0
        n_sent, n_naps = len(bench.broker.sent), len(bench.clock.slept_s)
        await asyncio.sleep(0.05)
        assert len(bench.broker.sent) - n_sent <= 1
        assert len(bench.clock.slept_s) - n_naps <= 2  # idle: nothing pending, no polling
    # half of 2, 4, 8 s: three waits lie between four sendings
    left_s = [message.expiry_s for message in bench.broker.sent[:4]]
    assert left_s == [600, 599, 597, 593]
    assert bench.kinds().count("alert.sent") == 1
    assert bench.kinds()[-1] == "alert.receipt"


async def test_lost_link_raises_and_the_next_one_sends_again(bench: Bench) -> None:
    await bench.delivery.admit(bench.world.seal(), is_test=False)
    link = bench.broker.link()
    bench.broker.cut()
    with pytest.raises(BrokerError):
        await bench.delivery.run_delivery(link)
    async with bench.running():
        await bench.until(lambda: len(bench.broker.sent) >= 1)


async def test_alert_of_before_a_restart_is_sent(bench: Bench) -> None:
    await bench.delivery.admit(bench.world.seal(), is_test=False)
    await on_disk(bench.outbox.close)
    bench.outbox = await on_disk(lambda: SqliteOutbox(bench.path))
    bench.delivery = bench.make_delivery()
    async with bench.running():
        await bench.until(lambda: len(bench.broker.sent) >= 1)


async def test_newest_alert_goes_first(bench: Bench) -> None:
    for number in (1, 2, 3):
        await bench.delivery.admit(bench.world.seal(number, f"entry-{number}"), is_test=False)
    async with bench.running():
        await bench.until(lambda: len(bench.broker.sent) >= 3)
    key = bench.world.public.signing_key_hex
    ids = [open_message(one.payload, key, FakeClock())[0].alert_id for one in bench.broker.sent[:3]]
    assert ids == ["alert-3", "alert-2", "alert-1"]


async def test_alert_that_nobody_showed_expires_loudly(bench: Bench) -> None:
    async with bench.running():
        await bench.delivery.admit(bench.world.seal(), is_test=False)
        await bench.until(lambda: "alert.expired" in bench.kinds())
    assert (await bench.counts()).n_expired_alerts == 1


async def test_cool_down_and_second_admission_are_told(bench: Bench) -> None:
    await bench.delivery.admit(bench.world.seal(1), is_test=False)
    refused = await bench.delivery.admit(bench.world.seal(2), is_test=False)
    assert refused.refusal is AdmissionRefusal.COOL_DOWN
    assert bench.events[-1] == ("alert.refused", {"alert_id": "alert-2", "why": "cool_down"})


async def test_no_alert_is_issued_while_the_clock_is_not_trusted(bench: Bench) -> None:
    bench.clock.distrust()
    with pytest.raises(ExpiredError):
        await bench.delivery.admit(bench.world.seal(), is_test=False)
    assert (await bench.counts()).n_alerts == 0


async def test_alert_sealed_to_a_stranger_is_refused(bench: Bench, tmp_path: Path) -> None:
    stranger = await on_disk(lambda: make_world(tmp_path / "stranger", ["handset-9"]))
    with pytest.raises(AuthorityError):
        await bench.delivery.admit(stranger.seal(), is_test=False)


async def test_receipt_is_recorded_once(bench: Bench) -> None:
    await bench.delivery.admit(bench.world.seal(), is_test=False)
    assert await bench.delivery.take_in(bench.receipt())
    assert await bench.delivery.take_in(bench.receipt())
    assert bench.kinds().count("alert.receipt") == 1
    assert (bench.delivery.counts.n_receipts, bench.delivery.counts.n_repeated) == (1, 1)


async def test_adjudication_is_told_with_its_decision(bench: Bench) -> None:
    await bench.delivery.admit(bench.world.seal(), is_test=False)
    assert await bench.delivery.take_in(bench.adjudication())
    assert bench.events[-1] == (
        "alert.adjudicated",
        {"alert_id": "alert-1", "handset_id": "handset-1", "judgement": "same", "outcome": "spoken_to"},
    )
    assert not await bench.delivery.take_in(bench.adjudication(judgement=Judgement.NOT_SAME))
    assert bench.delivery.counts.n_refused == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"signed_by": "handset-2"},
        {"topic_handset": "handset-2"},
        {"handset": "handset-2"},
        {"topic_handset": "handset-2", "signed_by": "handset-2"},
        {"topic_handset": "handset-9"},
        {"deployment": AuthorisationId("deployment-2")},
        {"number": 9},
    ],
    ids=lambda wrong: "+".join(wrong),
)
async def test_receipt_that_does_not_agree_is_refused_and_counted(pair: Bench, wrong: dict[str, str]) -> None:
    await pair.delivery.admit(pair.world.seal(), is_test=False)
    assert not await pair.delivery.take_in(pair.receipt(**wrong))  # type: ignore[arg-type]  # a test's table
    assert pair.kinds()[-1] == "answer.refused"
    assert pair.delivery.counts.n_refused == 1
    assert (await pair.counts()).n_pending_deliveries == 2


async def test_receipt_by_a_stranger_is_refused(bench: Bench, tmp_path: Path) -> None:
    await bench.delivery.admit(bench.world.seal(), is_test=False)
    own = bench.world
    bench.world = await on_disk(lambda: make_world(tmp_path / "stranger"))
    forged = bench.receipt()
    bench.world = own
    assert not await bench.delivery.take_in(forged)


async def test_receipt_does_not_pass_for_an_adjudication(bench: Bench) -> None:
    await bench.delivery.admit(bench.world.seal(), is_test=False)
    receipt = bench.receipt()
    moved = FakeMessage(receipt.topic.replace("receipts", "adjudications"), receipt.payload)
    assert not await bench.delivery.take_in(moved)


@pytest.mark.parametrize(
    "topic", ["receipts", "receipts/other/handset-1", "alerts/appliance-1/handset-1", ""]
)
async def test_answer_on_another_topic_is_refused(bench: Bench, topic: str) -> None:
    await bench.delivery.admit(bench.world.seal(), is_test=False)
    assert not await bench.delivery.take_in(FakeMessage(topic, bench.receipt().payload))


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff" * 100, b"x" * 5000])
async def test_answer_that_is_garbage_is_refused(bench: Bench, payload: bytes) -> None:
    assert not await bench.delivery.take_in(FakeMessage(f"receipts/{APPLIANCE}/handset-1", payload))


async def test_inbox_goes_on_after_a_refusal(bench: Bench) -> None:
    await bench.delivery.admit(bench.world.seal(), is_test=False)
    link, other = bench.broker.link(), bench.broker.link()
    task = asyncio.ensure_future(bench.delivery.run_inbox(link))
    await asyncio.sleep(0.01)
    await other.publish(f"receipts/{APPLIANCE}/handset-1", b"garbage", expiry_s=None)
    receipt = bench.receipt()
    await other.publish(receipt.topic, receipt.payload, expiry_s=None)
    await bench.until(lambda: bench.delivery.counts.n_receipts == 1)
    bench.broker.cut()
    with pytest.raises(BrokerError):
        await task
    assert bench.kinds()[-2:] == ["answer.refused", "alert.receipt"]


async def test_no_event_names_a_person_or_a_score(bench: Bench) -> None:
    async with bench.running():
        await bench.delivery.admit(bench.world.seal(), is_test=False)
        await bench.until(lambda: "alert.sent" in bench.kinds())
        await bench.delivery.take_in(bench.adjudication())
    text = repr(bench.events)
    assert "Bloggs" not in text
    assert "0.612" not in text
