"""What an officer may see before the first judgement, and what after it (never list 4).

Before, the name, the score and the threshold are absent, not hidden: `BeforeView` has no such fields, and
what draws it is given nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from appliance.errors import AuthorityError
from appliance.records.alert_format import AlertParts
from appliance.records.alerts import AlertDetail, AlertHeader, Judgement
from appliance.records.frames import Box
from appliance.records.ids import AlertId, CameraId
from appliance.records.watchlist import Category
from appliance.records.wire import parse_record

LARGEST_DETAIL_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeView:
    """Where and when, why, and two JPEGs to compare; `is_test` says that the person is a volunteer."""

    alert_id: AlertId
    camera_id: CameraId
    captured_at: datetime
    expires_at: datetime
    face_box: Box
    frame_width_px: int
    frame_height_px: int
    category: Category
    instruction: str
    is_test: bool
    probe_jpeg: bytes
    reference_jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterView:
    """What the system claims, once the officer has judged: cosine `score`, -1..1, against `threshold`."""

    alert_id: AlertId
    judgement: Judgement
    name: str
    score: float
    threshold: float
    n_frames_agreed: int


class Card:
    """An opened alert; gives out `before` at any time and the rest for a judgement, once."""

    def __init__(self, header: AlertHeader, parts: AlertParts) -> None:
        """Parse the detail; RecordError when it is not one."""
        detail = parse_record(AlertDetail, parts.detail_json, limit_bytes=LARGEST_DETAIL_BYTES)
        self.header = header
        self.before = BeforeView(
            alert_id=header.alert_id,
            camera_id=detail.camera_id,
            captured_at=detail.captured_at,
            expires_at=header.expires_at,
            face_box=detail.face_box,
            frame_width_px=detail.frame_width_px,
            frame_height_px=detail.frame_height_px,
            category=detail.category,
            instruction=detail.instruction,
            is_test=header.is_test or detail.category is Category.VOLUNTEER,
            probe_jpeg=parts.probe_jpeg,
            reference_jpeg=parts.reference_jpeg,
        )
        self._detail = detail
        self._is_judged = False

    def judge(self, judgement: Judgement) -> AfterView:
        """Take the officer's judgement of the two pictures, and return what was held back.

        Raises:
            AuthorityError: Judged before: the first judgement stands.
        """
        if self._is_judged:
            raise AuthorityError("this alert was judged before: the first judgement stands")
        self._is_judged = True
        return AfterView(
            alert_id=self.header.alert_id,
            judgement=judgement,
            name=self._detail.name,
            score=self._detail.score,
            threshold=self._detail.threshold,
            n_frames_agreed=self._detail.n_frames_agreed,
        )
