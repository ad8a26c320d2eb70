"""Alerts over a real Mosquitto: from the outbox to an officer and back, through an outage too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner

from appliance.alerts.delivery import AlertDelivery, DeliveryRules
from appliance.errors import AuthorityError, BrokerError
from appliance.handset.blind import BeforeView
from appliance.handset.command import build_app
from appliance.handset.inbox import HandsetInbox
from appliance.handset.session import HandsetSession, ScriptedOfficer
from appliance.handset.store import HandsetStore
from appliance.records.alerts import Judgement, Outcome
from appliance.records.ids import AlertId
from appliance.records.wire import dump_record
from drivers.broker import MqttBroker
from drivers.clock import SystemClock
from drivers.mosquitto import BrokerIdentity, start_mosquitto
from drivers.outbox import SqliteOutbox
from tests.fakes.alerts import APPLIANCE, DEPLOYMENT, HANDSET, make_world
from tests.fakes.mosquitto import access_of, require_mosquitto

ResultT = TypeVar("ResultT")
RULES = DeliveryRules(cooldown_s=0.0, expiry_s=600.0, first_retry_s=0.2, longest_retry_s=1.0)
pytestmark = [pytest.mark.broker, pytest.mark.timeout(60)]


class TrustedClock(SystemClock):
    """The machine's clock, trusted: a test's machine may be set to any date."""

    def is_trusted(self) -> bool:
        return True


def aside(call: Callable[[], ResultT]) -> Awaitable[ResultT]:
    return asyncio.to_thread(call)


class Bench:
    """An appliance and a handset on a real broker."""

    def __init__(self, folder: Path) -> None:
        self.world = make_world(folder)
        self.identities = (
            BrokerIdentity(name=APPLIANCE, kind="appliance"),
            BrokerIdentity(name=HANDSET, kind="handset"),
        )
        self.mosquitto = start_mosquitto(
            folder / "mq", 0, program=require_mosquitto(), identities=self.identities
        )
        self.outbox = SqliteOutbox(folder / "outbox.sqlite")
        self.clock = TrustedClock()
        self.events: list[str] = []
        self.steps: list[str] = []
        self.seen: list[tuple[AlertId, datetime]] = []
        self.delivery = AlertDelivery(
            outbox=self.outbox,
            run_on_disk=aside,
            clock=self.clock,
            random=lambda: 0.5,
            signer=self.world.signer,
            appliance_id=APPLIANCE,
            deployment_id=DEPLOYMENT,
            recipients=self.world.recipients,
            rules=RULES,
            on_event=lambda kind, _data: self.events.append(kind),
        )
        store = HandsetStore(folder / HANDSET)
        self.session = HandsetSession(
            keys=self.world.handsets[0],
            inbox=HandsetInbox(
                keys=self.world.handsets[0], appliance=self.world.public, store=store, clock=self.clock
            ),
            store=store,
            officer=ScriptedOfficer(self.judge, Outcome.SPOKEN_TO),
            clock=self.clock,
            run_aside=aside,
            on_event=lambda kind, _data: self.steps.append(f"handset: {kind}"),
        )

    def judge(self, view: BeforeView) -> Judgement:
        self.seen.append((view.alert_id, datetime.now(timezone.utc)))
        return Judgement.SAME

    async def appliance(self) -> None:
        """Serve as the supervisor does: both loops on one link, and again when it is lost."""
        while True:
            try:
                async with MqttBroker(access_of(self.mosquitto, self.identities[0])) as link:
                    await together(self.delivery.run_inbox(link), self.delivery.run_delivery(link))
            except BrokerError as err:
                self.steps.append(f"appliance: {err}")
            await asyncio.sleep(0.1)

    async def handset(self) -> None:
        while True:
            try:
                async with MqttBroker(access_of(self.mosquitto, self.identities[1])) as link:
                    await self.session.run(link)
            except BrokerError as err:
                self.steps.append(f"handset: {err}")
            await asyncio.sleep(0.1)

    async def until(self, kind: str, number: int) -> None:
        for _ in range(1500):
            if self.events.count(kind) >= number:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{kind} never came: {self.events}, {self.delivery.counts}, {self.steps}")


async def together(*loops: Awaitable[None]) -> None:
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def running(*loops: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(together(*loops))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.mosquitto.stop()
    made.outbox.close()


async def test_alert_reaches_the_officer_and_its_receipt_empties_the_outbox(bench: Bench) -> None:
    async with running(bench.appliance(), bench.handset()):
        await asyncio.sleep(0.3)
        started = datetime.now(timezone.utc)
        await bench.delivery.admit(bench.world.seal(), is_test=False)
        await bench.until("alert.adjudicated", 1)
    counts = await aside(bench.outbox.counts)
    assert (counts.n_pending_deliveries, counts.n_receipts, counts.n_adjudications) == (0, 1, 1)
    assert await aside(lambda: bench.outbox.message_of(AlertId("alert-1"))) is None
    ((_, seen_at),) = bench.seen
    print(f"admission to card: {(seen_at - started).total_seconds() * 1000:.0f} ms")


async def test_alerts_of_an_outage_arrive_once_each_after_it(bench: Bench) -> None:
    async with running(bench.appliance(), bench.handset()):
        await bench.delivery.admit(bench.world.seal(1), is_test=False)
        await bench.until("alert.sent", 1)
        await aside(bench.mosquitto.kill)  # with the first alert in flight
        for number in range(2, 6):
            await bench.delivery.admit(bench.world.seal(number, f"entry-{number}"), is_test=False)
        await aside(bench.mosquitto.start_again)
        await bench.until("alert.adjudicated", 5)
    assert sorted(alert_id for alert_id, _ in bench.seen) == [f"alert-{number}" for number in range(1, 6)]
    assert (await aside(bench.outbox.counts)).n_pending_deliveries == 0


async def test_handset_that_was_away_gets_the_alert_when_it_is_back(bench: Bench) -> None:
    async with running(bench.appliance()):
        await bench.delivery.admit(bench.world.seal(), is_test=False)
        await bench.until("alert.sent", 1)
        async with running(bench.handset()):
            await bench.until("alert.receipt", 1)
    assert len(bench.seen) == 1


def test_command_listens_once_and_decides_once(bench: Bench, tmp_path: Path) -> None:
    app = build_app(MqttBroker, bench.clock)
    (tmp_path / "appliance-public.json").write_bytes(dump_record(bench.world.public))
    (tmp_path / "password").write_text(bench.identities[1].password)
    folder = str(tmp_path / HANDSET)

    async def publish() -> None:
        async with MqttBroker(access_of(bench.mosquitto, bench.identities[1])) as link:
            await link.subscribe(f"alerts/{APPLIANCE}/{HANDSET}")
        async with running(bench.appliance()):
            await bench.delivery.admit(bench.world.seal(), is_test=False)
            await bench.until("alert.sent", 1)

    async def take_in() -> None:
        async with running(bench.appliance()):
            await bench.until("alert.adjudicated", 1)

    asyncio.run(publish())
    listen = ["listen", "--folder", folder, "--broker", bench.mosquitto.address, "--once", "--json"]
    listen += ["--appliance", str(tmp_path / "appliance-public.json")]
    listen += ["--password-file", str(tmp_path / "password")]
    shown = CliRunner().invoke(app, listen, catch_exceptions=False)
    card = json.loads(shown.stdout)
    assert card["alert_id"] == "alert-1"
    assert not {"name", "score", "threshold"} & set(card)
    decide = ["decide", "alert-1", "--folder", folder, "--judgement", "same", "--outcome", "spoken_to"]
    assert CliRunner().invoke(app, decide, catch_exceptions=False).exit_code == 0
    with pytest.raises(AuthorityError, match="before"):
        CliRunner().invoke(app, decide, catch_exceptions=False)
    asyncio.run(take_in())
    history = bench.outbox.history_of(AlertId("alert-1"))
    assert history is not None
    assert [one.outcome for one in history.adjudications] == [Outcome.SPOKEN_TO]
