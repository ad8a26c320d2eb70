"""What goes to an officer and what comes back. See appliance/schemas/ for each on the wire."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.compat import StrEnum
from appliance.records.frames import Box
from appliance.records.ids import AlertId, ApplianceId, AuthorisationId, CameraId, EntryId, HandsetId
from appliance.records.times import UtcTime
from appliance.records.watchlist import Category


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """An alert's content key, sealed to one handset (X25519 sealed box, base64)."""

    handset_id: HandsetId
    sealed_key_base64: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedAlert:
    """What leaves the vision worker: nobody but the recipients can open it.

    `entry_id` is opaque; the supervisor needs it for the cool-down. `ciphertext` is an AlertDetail with its
    pictures (see appliance.alerts.sealing) under a fresh key.
    """

    alert_id: AlertId
    camera_id: CameraId
    entry_id: EntryId
    captured_at: UtcTime
    sealed_keys: tuple[SealedKey, ...]
    ciphertext: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertHeader:
    """What the appliance signs: which alert, for whom, until when, and the sha256 of its ciphertext."""

    alert_id: AlertId
    appliance_id: ApplianceId
    deployment_id: AuthorisationId
    sequence: int
    issued_at: UtcTime
    expires_at: UtcTime
    sealed_keys: tuple[SealedKey, ...]
    ciphertext_sha256: str
    is_test: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertDetail:
    """What only the officer sees. Name and score stay hidden until the first judgement (never list 4)."""

    camera_id: CameraId
    captured_at: UtcTime
    face_box: Box
    frame_width_px: int
    frame_height_px: int
    category: Category
    instruction: str
    entry_id: EntryId
    name: str
    score: float
    threshold: float
    n_frames_agreed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A handset's proof that an alert was shown to a person."""

    alert_id: AlertId
    deployment_id: AuthorisationId
    handset_id: HandsetId
    shown_at: UtcTime


class Judgement(StrEnum):
    """What the officer sees in the two pictures, before knowing name or score."""

    SAME = "same"
    NOT_SAME = "not_same"
    CANNOT_TELL = "cannot_tell"


class Outcome(StrEnum):
    """What the officer then did."""

    SPOKEN_TO = "spoken_to"
    NOT_FOUND = "not_found"
    NO_ACTION = "no_action"
    ARREST = "arrest"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjudication:
    """An officer's decision on an alert."""

    alert_id: AlertId
    deployment_id: AuthorisationId
    handset_id: HandsetId
    judgement: Judgement
    outcome: Outcome
    decided_at: UtcTime
