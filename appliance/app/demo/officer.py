"""The demonstration's officer: a script that knows who walked where, and never looks at a score."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console

from appliance.handset.blind import AfterView, BeforeView
from appliance.handset.drawing import draw_after, draw_before
from appliance.ports import Clock
from appliance.records.alerts import Judgement, Outcome
from appliance.records.frames import PictureSize

CHECK_S = 0.1
LONGEST_WAIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCard:
    """An alert as it reached the officer: how long after capture, and who really was there."""

    latency_s: float
    person: str | None
    judgement: Judgement


@dataclass(slots=True, kw_only=True, eq=False)
class TruthfulOfficer:
    """Implement the Officer port by the film's own truth.

    Args:
        person_at: Returns who walked there, given seconds since the first frame, the face's box and the
            frame's size.
        listed: The name of whoever is on the list.
        audit_path: The appliance's audit log, which says when the film began.
    """

    person_at: Callable[..., str | None]
    listed: str
    audit_path: Path
    console: Console
    clock: Clock
    cards: list[ShownCard] = field(default_factory=list)
    _latencies: dict[str, float] = field(default_factory=dict)

    def show(self, view: BeforeView) -> None:
        """Draw the card, and note how long after capture it came."""
        self._latencies[view.alert_id] = (self.clock.now() - view.captured_at).total_seconds()
        self.console.print(draw_before(view))

    def judge(self, view: BeforeView) -> Judgement:
        """Return what the truth says of the two pictures."""
        started_at = self._wait_for_start()
        media_time_s = (view.captured_at - started_at).total_seconds() if started_at else -1.0
        size = PictureSize(width_px=view.frame_width_px, height_px=view.frame_height_px)
        person = self.person_at(media_time_s, view.face_box, size)
        judgement = Judgement.SAME if person == self.listed else Judgement.NOT_SAME
        self.cards.append(
            ShownCard(latency_s=self._latencies[view.alert_id], person=person, judgement=judgement)
        )
        self.console.print(
            f"the scripted officer decides by the ground truth, never by the score: {media_time_s:.1f} s into"
            f" the film {person or 'nobody'} walked there, so the pictures show"
            f" [bold]{judgement.value.replace('_', ' ')}[/bold]"
        )
        return judgement

    def conclude(self, view: AfterView) -> Outcome:
        """Show what was held back until now; a volunteer is let go on."""
        self.console.print(draw_after(view))
        return Outcome.NO_ACTION

    def _wait_for_start(self) -> datetime | None:
        never = threading.Event()  # the script may block: it runs beside the loop, as a person would
        for _ in range(int(LONGEST_WAIT_S / CHECK_S)):
            for line in self.audit_path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line) if line.endswith("}") else {}
                if record.get("kind") == "camera.started":
                    return datetime.fromisoformat(record["data"]["first_frame_at"])
            never.wait(CHECK_S)
        return None
