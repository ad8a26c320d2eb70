"""Never list, line 4: no action on a score. The officer sees two pictures; score and name are absent, not
hidden, until the first judgement; the decision is the officer's.

Built and tested here: what an officer is given before and after the judgement, drawn and as JSON, through the
real inbox and session; that the first judgement stands; that nothing but an officer makes an adjudication,
and that the appliance issues alerts but no decisions.

Not built yet: a handset that is not a terminal.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TypeVar

import pytest
from rich.console import Console

from appliance.errors import AuthorityError
from appliance.handset.blind import AfterView, BeforeView, Card
from appliance.handset.command import JsonOfficer
from appliance.handset.drawing import draw_before
from appliance.handset.inbox import HandsetInbox
from appliance.handset.session import HandsetSession
from appliance.handset.store import HandsetStore
from appliance.records.alerts import Judgement, Outcome
from tests.fakes.alerts import APPLIANCE, DETAIL, HANDSET, AlertWorld, make_world
from tests.fakes.broker import FakeBroker, FakeMessage
from tests.fakes.clock import FakeClock
from tests.never_list.imports import callers_of
from tests.never_list.mutation import Mutation

ResultT = TypeVar("ResultT")
HELD_BACK = (DETAIL.name, "Bloggs", "0.61", "0.51", str(DETAIL.score), str(DETAIL.threshold))

MUTATIONS = [
    Mutation(
        file="appliance/handset/blind.py",
        old="            instruction=detail.instruction,",
        new='            instruction=f"{detail.instruction} ({detail.score:.2f})",',
        test="test_nothing_that_is_shown_before_the_judgement_tells_name_or_score",
    ),
    Mutation(
        file="appliance/handset/blind.py",
        old="    is_test: bool\n",
        new="    is_test: bool\n    score: float = 0.0\n",
        test="test_what_is_held_back_has_no_place_in_the_view_before",
    ),
    Mutation(
        file="appliance/handset/blind.py",
        old="        if self._is_judged:",
        new="        if False:",
        test="test_the_first_judgement_stands",
    ),
    Mutation(
        file="appliance/handset/session.py",
        old="        if judgement is None:\n            return\n",
        new="        judgement = judgement or Judgement.SAME\n",
        test="test_without_a_judgement_nothing_is_told_and_nothing_is_decided",
    ),
    Mutation(
        file="appliance/handset/session.py",
        old="        judgement = await self._run_aside(lambda: self._officer.judge(card.before))",
        new="        self._officer.conclude(card.judge(Judgement.SAME))\n"
        "        judgement = await self._run_aside(lambda: self._officer.judge(card.before))",
        test="test_the_officer_judges_two_pictures_before_anything_else_is_told",
    ),
]


def make_card(world: AlertWorld, folder: Path) -> Card:
    inbox = HandsetInbox(
        keys=world.handsets[0], appliance=world.public, store=HandsetStore(folder), clock=FakeClock()
    )
    found = inbox.accept(FakeMessage(inbox.topic, world.pack(world.seal())))
    assert isinstance(found, Card)
    return found


def test_what_is_held_back_has_no_place_in_the_view_before() -> None:
    before = {field.name for field in dataclasses.fields(BeforeView)}
    assert before == {
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
    after = {field.name for field in dataclasses.fields(AfterView)}
    assert after - before == {"judgement", "name", "score", "threshold", "n_frames_agreed"}


def test_nothing_that_is_shown_before_the_judgement_tells_name_or_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = make_card(make_world(tmp_path), tmp_path)
    console = Console(file=StringIO(), width=120)
    console.print(draw_before(card.before))
    assert isinstance(console.file, StringIO)
    JsonOfficer().show(card.before)
    for text in (console.file.getvalue(), capsys.readouterr().out, repr(card.before)):
        assert card.before.alert_id in text
        assert not [held for held in HELD_BACK if held in text]


def test_the_first_judgement_stands(tmp_path: Path) -> None:
    card = make_card(make_world(tmp_path), tmp_path)
    after = card.judge(Judgement.NOT_SAME)
    assert (after.judgement, after.name, after.score) == (Judgement.NOT_SAME, DETAIL.name, DETAIL.score)
    with pytest.raises(AuthorityError):
        card.judge(Judgement.SAME)


class NotingOfficer:
    """Implement the Officer port; notes what is done to them, in order."""

    def __init__(self, judgement: Judgement | None) -> None:
        self._judgement = judgement
        self.notes: list[str] = []

    def show(self, view: BeforeView) -> None:
        self.notes.append("shown two pictures" if view.probe_jpeg and view.reference_jpeg else "shown")

    def judge(self, view: BeforeView) -> Judgement | None:
        self.notes.append("asked")
        return self._judgement

    def conclude(self, view: AfterView) -> Outcome:
        self.notes.append(f"told after judging {view.judgement.value}")
        return Outcome.NO_ACTION


def aside(call: Callable[[], ResultT]) -> Awaitable[ResultT]:
    return asyncio.to_thread(call)


@dataclass
class Desk:
    """An officer's handset, and what was sent over its broker."""

    world: AlertWorld
    store: HandsetStore
    broker: FakeBroker

    async def serve(self, officer: NotingOfficer) -> None:
        keys, clock = self.world.handsets[0], FakeClock()
        inbox = HandsetInbox(keys=keys, appliance=self.world.public, store=self.store, clock=clock)
        session = HandsetSession(
            keys=keys, inbox=inbox, store=self.store, officer=officer, clock=clock, run_aside=aside
        )
        task = asyncio.ensure_future(session.run(self.broker.link(), n_cards=1))
        await asyncio.sleep(0.01)
        await self.broker.link().publish(inbox.topic, self.world.pack(self.world.seal()), expiry_s=60)
        await asyncio.wait_for(task, 5.0)

    def n_sent(self, root: str) -> int:
        return sum(message.topic == f"{root}/{APPLIANCE}/{HANDSET}" for message in self.broker.sent)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(make_world(tmp_path), HandsetStore(tmp_path), FakeBroker())


async def test_the_officer_judges_two_pictures_before_anything_else_is_told(desk: Desk) -> None:
    officer = NotingOfficer(Judgement.NOT_SAME)
    await desk.serve(officer)
    assert officer.notes == ["shown two pictures", "asked", "told after judging not_same"]
    assert (desk.n_sent("receipts"), desk.n_sent("adjudications")) == (1, 1)


async def test_without_a_judgement_nothing_is_told_and_nothing_is_decided(desk: Desk) -> None:
    officer = NotingOfficer(None)
    await desk.serve(officer)
    assert officer.notes == ["shown two pictures", "asked"]
    assert (desk.n_sent("receipts"), desk.n_sent("adjudications")) == (1, 0)


def test_decisions_are_made_on_handsets_alone() -> None:
    # The outbox makes the record from what a handset sent, to be read back.
    assert callers_of("Adjudication") == {
        "appliance.handset.session:AnswerSender",
        "drivers.outbox:SqliteOutbox",
    }
    assert callers_of("send_decision") == {
        "appliance.handset.session:HandsetSession",
        "appliance.handset.command:build_app",
    }
