"""The handset: what it accepts, what it shows, what it proves."""

from __future__ import annotations

import asyncio
import dataclasses
import stat
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import TypeVar

import pytest
from rich.console import Console, RenderableType

from appliance.envelope import open_by_key, sign_payload
from appliance.errors import (
    ApplianceError,
    AuthorityError,
    BrokerError,
    ExpiredError,
    KeyStoreError,
    PictureError,
    RecordError,
    SignatureError,
)
from appliance.handset.blind import AfterView, BeforeView, Card
from appliance.handset.drawing import draw_after, draw_before, draw_portrait
from appliance.handset.inbox import HandsetInbox, RepeatedAlert
from appliance.handset.keys import KEYS_FILE, create_keys, load_keys
from appliance.handset.session import HandsetSession, Officer, ScriptedOfficer
from appliance.handset.store import Decision, HandsetStore, ShownAlert
from appliance.records.alert_format import AlertParts, frame_message
from appliance.records.alerts import Adjudication, AlertDetail, Judgement, Outcome, Receipt
from appliance.records.ids import AlertId, ApplianceId, HandsetId, PersonName
from appliance.records.wire import dump_record, parse_record
from tests.fakes.alerts import APPLIANCE, DEPLOYMENT, DETAIL, HANDSET, AlertWorld, jpeg, make_world
from tests.fakes.broker import FakeBroker, FakeMessage
from tests.fakes.clock import START, FakeClock

ResultT = TypeVar("ResultT")
END = frame_message(sign_payload("alert", b"", []), b"")  # refused for its missing signature
TOPIC = f"alerts/{APPLIANCE}/{HANDSET}"


def aside(call: Callable[[], ResultT]) -> Awaitable[ResultT]:
    return asyncio.to_thread(call)


class Bench:
    """A handset with everything around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world: AlertWorld = make_world(folder)
        self.keys = self.world.handsets[0]
        self.clock = FakeClock()
        self.broker = FakeBroker()
        self.store = HandsetStore(folder / HANDSET)
        self.seen: list[BeforeView] = []
        self.after: list[AfterView] = []
        self.events: list[tuple[str, dict[str, str]]] = []
        self.inbox = HandsetInbox(
            keys=self.keys, appliance=self.world.public, store=self.store, clock=self.clock
        )

    def judge(self, view: BeforeView) -> Judgement:
        self.seen.append(view)
        return Judgement.SAME

    def session(self, officer: Officer | None = None) -> HandsetSession:
        return HandsetSession(
            keys=self.keys,
            inbox=self.inbox,
            store=self.store,
            officer=officer or ScriptedOfficer(self.judge, Outcome.SPOKEN_TO, self.after.append),
            clock=self.clock,
            run_aside=aside,
            on_event=lambda kind, data: self.events.append((kind, data)),
        )

    async def serve(self, *payloads: bytes, officer: Officer | None = None) -> None:
        """Run a session on a fresh link until it has taken in these payloads."""
        link = self.broker.link()
        task = asyncio.ensure_future(self.session(officer).run(link))
        await asyncio.sleep(0.02)
        for payload in (*payloads, END):
            await self.broker.link().publish(TOPIC, payload, expiry_s=None)
        while self.events[-1:] != [("refused", {"why": "authority.signature"})]:
            await asyncio.sleep(0.001)
        self.events.pop()
        self.broker.cut()
        with pytest.raises(BrokerError):
            await task

    def sent(self, root: str) -> list[bytes]:
        topic = f"{root}/{APPLIANCE}/{HANDSET}"
        return [message.payload for message in self.broker.sent if message.topic == topic]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def shown(alert_id: str = "alert-1") -> ShownAlert:
    return ShownAlert(
        alert_id=AlertId(alert_id),
        appliance_id=APPLIANCE,
        deployment_id=DEPLOYMENT,
        shown_at=START,
        expires_at=START + timedelta(minutes=10),
    )


def decision(judgement: Judgement = Judgement.SAME) -> Decision:
    return Decision(
        alert_id=AlertId("alert-1"), judgement=judgement, outcome=Outcome.NO_ACTION, decided_at=START
    )


# What may be seen, and when


def test_before_view_has_no_field_for_name_score_or_threshold() -> None:
    names = {field.name for field in dataclasses.fields(BeforeView)}
    assert names == {
        "alert_id",
        "camera_id",
        "captured_at",
        "expires_at",
        "face_box",
        "frame_width_px",
        "frame_height_px",
        "category",
        "instruction",
        "is_test",
        "probe_jpeg",
        "reference_jpeg",
    }


def make_card(bench: Bench) -> Card:
    card = bench.inbox.accept(FakeMessage(TOPIC, bench.world.pack(bench.world.seal())))
    assert isinstance(card, Card)
    return card


def test_before_card_as_drawn_holds_neither_name_nor_score(bench: Bench) -> None:
    text = render(draw_before(make_card(bench).before))
    assert "Speak to" in text
    assert "north-gate" in text
    for held_back in ("Bloggs", "0.612", "0.512", "entry-1"):
        assert held_back not in text


def test_judgement_gives_what_was_held_back_once(bench: Bench) -> None:
    card = make_card(bench)
    after = card.judge(Judgement.SAME)
    assert (after.name, after.score, after.threshold) == ("Jo Bloggs", 0.61234, 0.51234)
    assert "Jo Bloggs" in render(draw_after(after))
    with pytest.raises(AuthorityError):
        card.judge(Judgement.NOT_SAME)


def test_volunteer_is_drawn_as_a_test(bench: Bench) -> None:
    header = replace(bench.world.header_of(bench.world.seal()), is_test=True)
    parts = AlertParts(
        detail_json=dump_record(DETAIL), probe_jpeg=jpeg((1, 2, 3)), reference_jpeg=jpeg((1, 2, 3))
    )
    assert "TEST" in render(draw_before(Card(header, parts).before))


def test_detail_that_is_not_one_is_refused(bench: Bench) -> None:
    parts = AlertParts(detail_json=b"{}", probe_jpeg=b"", reference_jpeg=b"")
    with pytest.raises(RecordError):
        Card(bench.world.header_of(bench.world.seal()), parts)


def test_control_codes_of_a_detail_do_not_reach_the_terminal(bench: Bench) -> None:
    before = replace(make_card(bench).before, instruction="\x1b]0;owned\x07")
    assert "\x1b]0" not in render(draw_before(before))


def test_portrait_is_drawn_in_its_colours() -> None:
    text = draw_portrait(jpeg((200, 30, 30)), 4, 3)
    assert text.plain == "\n".join(["▀▀▀▀"] * 3)
    assert all("rgb(2" in str(span.style) or "rgb(19" in str(span.style) for span in text.spans)


@pytest.mark.parametrize("data", [b"", b"not a jpeg", jpeg((1, 2, 3), kind="PNG"), jpeg((1, 2, 3))[:400]])
def test_picture_that_is_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(PictureError):
        draw_portrait(data)


def test_picture_of_too_many_pixels_is_refused() -> None:
    bomb = jpeg((0, 0, 0))
    start = bomb.index(b"\xff\xc0") + 5  # height and width in the frame header
    for size in (b"\x08\x00\x08\x01", b"\x2b\x00\x2b\x00", b"\xff\xff\xff\xff"):
        with pytest.raises(PictureError, match="megapixels"):
            draw_portrait(bomb[:start] + size + bomb[start + 4 :])


def render(drawn: RenderableType) -> str:
    console = Console(width=100, record=True, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(drawn)
    return console.export_text()


# What is accepted


def test_second_delivery_makes_no_second_card(bench: Bench) -> None:
    message = FakeMessage(TOPIC, bench.world.pack(bench.world.seal()))
    assert isinstance(bench.inbox.accept(message), Card)
    bench.store.keep_shown(shown())
    assert bench.inbox.accept(message) == RepeatedAlert(shown=shown())


def test_alert_signed_by_a_stranger_is_refused(bench: Bench, tmp_path: Path) -> None:
    stranger = make_world(tmp_path / "stranger")
    forged = replace(bench.world, signer=stranger.signer)
    with pytest.raises(SignatureError):
        bench.inbox.accept(FakeMessage(TOPIC, forged.pack(forged.seal())))


def test_expired_alert_is_refused(bench: Bench) -> None:
    data = bench.world.pack(bench.world.seal())
    bench.clock.advance(600)
    with pytest.raises(ExpiredError):
        bench.inbox.accept(FakeMessage(TOPIC, data))


def test_alert_on_another_topic_is_refused(bench: Bench) -> None:
    data = bench.world.pack(bench.world.seal())
    with pytest.raises(AuthorityError):
        bench.inbox.accept(FakeMessage(f"alerts/{APPLIANCE}/handset-2", data))


def test_alert_that_names_another_appliance_is_refused(bench: Bench) -> None:
    other = replace(
        bench.world.public, appliance_id=ApplianceId("appliance-2")
    )  # the same key, under another name
    inbox = HandsetInbox(keys=bench.keys, appliance=other, store=bench.store, clock=bench.clock)
    with pytest.raises(AuthorityError):
        inbox.accept(FakeMessage(inbox.topic, bench.world.pack(bench.world.seal())))


# The session


async def test_alert_is_shown_receipted_and_adjudicated(bench: Bench) -> None:
    await bench.serve(bench.world.pack(bench.world.seal()))
    key = bench.keys.recipient.signing_key_hex
    (receipt,), (adjudication,) = bench.sent("receipts"), bench.sent("adjudications")
    parsed = parse_record(Receipt, open_by_key("receipt", receipt, key, limit_bytes=4096), limit_bytes=4096)
    assert (parsed.alert_id, parsed.handset_id, parsed.deployment_id) == ("alert-1", HANDSET, DEPLOYMENT)
    decided = parse_record(
        Adjudication, open_by_key("adjudication", adjudication, key, limit_bytes=4096), limit_bytes=4096
    )
    assert (decided.judgement, decided.outcome) == (Judgement.SAME, Outcome.SPOKEN_TO)
    assert [type(view) for view in bench.seen] == [BeforeView]
    assert [view.name for view in bench.after] == ["Jo Bloggs"]


async def test_second_delivery_gets_its_receipt_again_and_no_card(bench: Bench) -> None:
    data = bench.world.pack(bench.world.seal())
    await bench.serve(data, data)
    await bench.serve(data)  # after a restart too
    assert len(bench.seen) == 1
    assert len(set(bench.sent("receipts"))) == 1
    assert len(bench.sent("receipts")) == 3


async def test_session_goes_on_after_a_refusal(bench: Bench) -> None:
    await bench.serve(b"garbage", bench.world.pack(bench.world.seal()))
    assert bench.events[0] == ("refused", {"why": "record.invalid"})
    assert len(bench.seen) == 1


async def test_alert_whose_picture_cannot_be_drawn_gets_no_receipt(bench: Bench) -> None:
    class DrawingOfficer(ScriptedOfficer):
        def show(self, view: BeforeView) -> None:
            raise PictureError("no")

    await bench.serve(bench.world.pack(bench.world.seal()), officer=DrawingOfficer(bench.judge))
    assert bench.sent("receipts") == []
    assert bench.store.find_shown(AlertId("alert-1")) is None


async def test_undecided_alert_is_receipted_and_left_to_decide(bench: Bench) -> None:
    class SilentOfficer:
        def show(self, view: BeforeView) -> None: ...

        def judge(self, view: BeforeView) -> Judgement | None:
            return None

        def conclude(self, view: AfterView) -> Outcome:
            raise AssertionError(view)

    await bench.serve(bench.world.pack(bench.world.seal()), officer=SilentOfficer())
    assert len(bench.sent("receipts")) == 1
    assert bench.sent("adjudications") == []
    await aside(lambda: bench.store.keep_decision(decision()))


async def test_officer_decides_although_the_broker_went_away(bench: Bench) -> None:
    link = bench.broker.link()

    class SlowOfficer(ScriptedOfficer):
        def show(self, view: BeforeView) -> None:
            link.cut()

    task = asyncio.ensure_future(bench.session(SlowOfficer(bench.judge)).run(link))
    await asyncio.sleep(0.02)
    await bench.broker.link().publish(TOPIC, bench.world.pack(bench.world.seal()), expiry_s=None)
    with pytest.raises(BrokerError):
        await task
    assert bench.sent("adjudications") == []
    bench.broker.links.clear()
    await bench.serve(bench.world.pack(bench.world.seal()))  # delivered again over the next link
    assert len(bench.seen) == 1
    assert (len(bench.sent("receipts")), len(bench.sent("adjudications"))) == (1, 1)


async def test_session_ends_after_the_cards_asked_for(bench: Bench) -> None:
    link = bench.broker.link()
    task = asyncio.ensure_future(bench.session().run(link, n_cards=1))
    await asyncio.sleep(0.02)
    await bench.broker.link().publish(TOPIC, bench.world.pack(bench.world.seal()), expiry_s=None)
    await asyncio.wait_for(task, 5)
    assert len(bench.seen) == 1


# What is kept


def test_alert_that_was_not_shown_cannot_be_decided(bench: Bench) -> None:
    with pytest.raises(AuthorityError, match="not shown"):
        bench.store.keep_decision(decision())


def test_first_decision_stands(bench: Bench) -> None:
    bench.store.keep_shown(shown())
    bench.store.keep_decision(decision())
    with pytest.raises(AuthorityError, match="before"):
        bench.store.keep_decision(decision(Judgement.NOT_SAME))
    assert bench.store.find_decision(AlertId("alert-1")) == decision()


def test_first_showing_stands(bench: Bench) -> None:
    bench.store.keep_shown(shown())
    bench.store.keep_shown(replace(shown(), shown_at=START + timedelta(hours=1)))
    assert bench.store.find_shown(AlertId("alert-1")) == shown()


@pytest.mark.parametrize("alert_id", ["../x", "", "a/b", "a" * 65])
def test_alert_id_that_is_a_path_is_refused(bench: Bench, alert_id: str) -> None:
    with pytest.raises(RecordError):
        bench.store.find_shown(AlertId(alert_id))


def test_damaged_file_is_refused_by_name(bench: Bench) -> None:
    (bench.folder / HANDSET / "alerts" / "alert-1.shown.json").write_bytes(b"{}")
    with pytest.raises(RecordError, match="alert-1"):
        bench.store.find_shown(AlertId("alert-1"))


async def test_nothing_kept_holds_a_name_a_score_or_a_picture(bench: Bench) -> None:
    await bench.serve(bench.world.pack(bench.world.seal()))
    kept = b"".join(file.read_bytes() for file in bench.folder.rglob("*") if file.is_file())
    for held_back in (b"Bloggs", b"0.612", b"JFIF", b"entry-1"):
        assert held_back not in kept


# Keys


def test_keys_come_back_and_are_for_their_owner_only(tmp_path: Path) -> None:
    made = create_keys(tmp_path / "h", HandsetId("h"), PersonName("PC 1"))
    assert load_keys(tmp_path / "h") == made
    assert stat.S_IMODE((tmp_path / "h" / KEYS_FILE).stat().st_mode) == 0o600
    assert made.sealing_private_hex not in repr(made)
    assert made.signing_seed_hex not in repr(made)


def test_keys_are_not_made_twice(tmp_path: Path) -> None:
    create_keys(tmp_path, HandsetId("h"), PersonName("PC 1"))
    with pytest.raises(KeyStoreError):
        create_keys(tmp_path, HandsetId("h"), PersonName("PC 1"))


def test_keys_open_to_others_are_refused(tmp_path: Path) -> None:
    create_keys(tmp_path, HandsetId("h"), PersonName("PC 1"))
    (tmp_path / KEYS_FILE).chmod(0o640)
    with pytest.raises(KeyStoreError, match="open to others"):
        load_keys(tmp_path)


def test_missing_or_damaged_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="init"):
        load_keys(tmp_path)
    made = create_keys(tmp_path, HandsetId("h"), PersonName("PC 1"))
    file = tmp_path / KEYS_FILE
    file.write_bytes(file.read_bytes().replace(made.sealing_private_hex.encode(), b"zz"))
    with pytest.raises(KeyStoreError, match="damaged"):
        load_keys(tmp_path)


@pytest.mark.parametrize(("handset_id", "officer"), [("../h", "PC 1"), ("h", ""), ("h" * 65, "PC 1")])
def test_ids_that_are_none_make_no_keys(tmp_path: Path, handset_id: str, officer: str) -> None:
    with pytest.raises(ApplianceError):
        create_keys(tmp_path / "h", HandsetId(handset_id), PersonName(officer))
    assert not (tmp_path / "h").exists()


def test_detail_record_still_has_what_is_held_back() -> None:
    assert {"name", "score", "threshold"} <= {field.name for field in dataclasses.fields(AlertDetail)}
