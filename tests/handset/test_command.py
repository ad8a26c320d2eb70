"""The command `handset` without a broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from appliance.errors import ApplianceError, AuthorityError, BrokerError, ConfigError, KeyStoreError
from appliance.handset.command import BROKER_FILE, build_app
from appliance.handset.store import HandsetStore
from appliance.ports import BrokerLink
from appliance.records.alerts import Judgement
from appliance.records.broker import BrokerAccess
from appliance.records.deployment import Recipient
from appliance.records.ids import AlertId
from appliance.records.wire import dump_record, parse_record
from tests.fakes.alerts import APPLIANCE, HANDSET, AlertWorld, make_world
from tests.fakes.broker import FakeBroker, FakeLink, FakeMessage
from tests.fakes.clock import FakeClock

TOPIC = f"alerts/{APPLIANCE}/{HANDSET}"


class Bench:
    """A command whose links are in memory; `plan` says what each link in turn does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world: AlertWorld = make_world(folder)
        (folder / "appliance-public.json").write_bytes(dump_record(self.world.public))
        self.clock = FakeClock()
        self.broker = FakeBroker()
        self.accesses: list[BrokerAccess] = []
        self.plan: list[str] = []
        self.app: typer.Typer = build_app(self.open_link, self.clock)

    @asynccontextmanager
    async def open_link(self, access: BrokerAccess) -> AsyncIterator[BrokerLink]:
        self.accesses.append(access)
        step = self.plan.pop(0) if self.plan else "serve"
        if step == "refuse":
            raise BrokerError("nobody there")
        link: FakeLink = self.broker.link()
        await link.subscribe(TOPIC)
        if step == "cut":
            link.cut()
        else:
            link.offer(FakeMessage(TOPIC, self.world.pack(self.world.seal())))
        yield link
        await asyncio.sleep(0)

    def invoke(self, *words: str) -> str:
        result = CliRunner().invoke(self.app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    def listen(self, *words: str) -> str:
        appliance = str(self.folder / "appliance-public.json")
        where = ["--folder", str(self.folder / HANDSET), "--broker", "b:1", "--appliance", appliance]
        return self.invoke("listen", *where, "--once", *words)

    def decide(self, alert_id: str = "alert-1", *words: str) -> str:
        decision = ["--judgement", "same", "--outcome", "spoken_to"]
        return self.invoke("decide", alert_id, "--folder", str(self.folder / HANDSET), *decision, *words)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_init_writes_a_public_record_without_private_halves(bench: Bench) -> None:
    folder = bench.folder / "new"
    said = bench.invoke("init", "--folder", str(folder), "--id", "h-7", "--officer", "PC 7", "--json")
    data = Path(json.loads(said)["recipient"]).read_bytes()
    assert parse_record(Recipient, data, limit_bytes=4096).handset_id == "h-7"
    assert b"private" not in data
    assert b"seed" not in data


def test_listen_shows_the_card_without_name_or_score(bench: Bench) -> None:
    text = bench.listen()
    assert "alert-1" in text
    assert "Bloggs" not in text
    assert "0.612" not in text


def test_listen_as_json_gives_the_before_view_only(bench: Bench) -> None:
    card = json.loads(bench.listen("--json"))
    assert set(card) == {
        "event", "alert_id", "camera_id", "captured_at", "category", "instruction", "is_test"
    }  # fmt: skip


def test_listen_without_a_broker_says_so_at_once(bench: Bench) -> None:
    bench.plan = ["refuse"]
    with pytest.raises(BrokerError):
        bench.listen()


def test_listen_opens_a_lost_link_again(bench: Bench) -> None:
    bench.plan = ["cut", "refuse", "refuse", "serve"]
    assert "alert-1" in bench.listen()
    assert bench.clock.slept_s == [1.0, 2.0, 4.0]


def test_decide_sends_what_listen_has_shown(bench: Bench) -> None:
    bench.listen()
    bench.decide()
    assert bench.broker.sent[-1].topic == f"adjudications/{APPLIANCE}/{HANDSET}"
    kept = HandsetStore(bench.folder / HANDSET).find_decision(AlertId("alert-1"))
    assert kept is not None
    assert kept.judgement is Judgement.SAME


def test_decide_does_not_end_the_session_of_listen(bench: Bench) -> None:
    bench.listen()
    bench.decide()
    assert [access.identifier for access in bench.accesses] == [HANDSET, f"{HANDSET}-decide"]


def test_decide_refuses_an_alert_that_was_not_shown(bench: Bench) -> None:
    bench.listen()
    with pytest.raises(AuthorityError, match="not shown"):
        bench.decide("alert-9")


def test_decide_refuses_a_second_decision(bench: Bench) -> None:
    bench.listen()
    bench.decide()
    with pytest.raises(AuthorityError, match="before"):
        bench.decide()


def test_decision_without_a_broker_is_kept_and_sent_by_listen(bench: Bench) -> None:
    bench.listen()
    bench.plan = ["refuse"]
    with pytest.raises(BrokerError):
        bench.decide()
    asyncio.run(_listen_until_sent(bench))
    assert f"adjudications/{APPLIANCE}/{HANDSET}" in [message.topic for message in bench.broker.sent]


async def _listen_until_sent(bench: Bench) -> None:
    from appliance.handset.inbox import HandsetInbox
    from appliance.handset.session import HandsetSession, ScriptedOfficer

    store = await asyncio.to_thread(HandsetStore, bench.folder / HANDSET)
    keys = bench.world.handsets[0]
    session = HandsetSession(
        keys=keys,
        inbox=HandsetInbox(keys=keys, appliance=bench.world.public, store=store, clock=bench.clock),
        store=store,
        officer=ScriptedOfficer(lambda _: Judgement.SAME),
        clock=bench.clock,
        run_aside=asyncio.to_thread,
    )
    await session.run(bench.broker.link(), n_cards=0)


def test_decide_before_listen_asks_for_the_broker(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="--broker"):
        bench.decide()


def test_password_comes_from_a_file_and_is_kept_private(bench: Bench) -> None:
    (bench.folder / "password").write_text("secret\n")
    bench.listen("--password-file", str(bench.folder / "password"))
    assert (bench.accesses[0].username, bench.accesses[0].password) == (HANDSET, "secret")
    assert (bench.folder / HANDSET / BROKER_FILE).stat().st_mode & 0o077 == 0


def test_listen_without_keys_is_refused(bench: Bench) -> None:
    with pytest.raises(KeyStoreError):
        bench.invoke(
            "listen", "--folder", str(bench.folder / "none"), "--broker", "b:1",
            "--appliance", str(bench.folder / "appliance-public.json"),
        )  # fmt: skip


@pytest.mark.parametrize("content", [None, b"", b"{}", b"x" * 70_000])
def test_appliance_file_that_is_none_is_refused(bench: Bench, content: bytes | None) -> None:
    file = bench.folder / "appliance-public.json"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ApplianceError):
        bench.listen()


@pytest.mark.parametrize("command", ["init", "listen", "decide"])
def test_help_has_an_example(bench: Bench, command: str) -> None:
    assert "Example: handset" in bench.invoke(command, "--help")
