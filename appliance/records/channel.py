"""What the supervisor and its workers say to each other over the Unix socket; see drivers/channel.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from appliance.compat import StrEnum
from appliance.records.alerts import SealedKey
from appliance.records.deployment import OperatingPoint, Recipient
from appliance.records.ids import AlertId, ApplianceId, AuthorisationId, CameraId, EntryId
from appliance.records.times import UtcTime
from appliance.records.zone import ZonePoint

WorkerRole = Literal["vision", "capture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHello:
    """Worker to supervisor, first of all: who is here. Peer credentials are checked beside it."""

    role: WorkerRole
    camera_id: CameraId | None
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureStart:
    """Supervisor to capture process; comes with two descriptors: the ring, and the writer's slot socket.

    `rate` is `real` (a file plays at its own pace) or `fast` (as fast as it decodes). `decoder` chooses who
    decodes rtsp and usb cameras: the processor, or the board's hardware, which CSI cameras always use.
    """

    camera_id: CameraId
    source: str = field(repr=False)  # may hold a password
    rate: Literal["real", "fast"]
    n_slots: int
    slot_bytes: int
    decoder: Literal["software", "hardware"] = "software"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureReport:
    """Capture process to supervisor, every 250 ms while it reads: progress, so that a hang shows.

    `oldest_decoder_age_s` counts from the opening of the camera: a decoder keeps packets as long as it lives.
    """

    n_frames: int
    n_frames_skipped: int
    width_px: int
    height_px: int
    first_frame_at: UtcTime | None
    oldest_decoder_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureEnded:
    """Capture process to supervisor, last of all: the stream is over, or why it cannot go on."""

    is_end_of_stream: bool
    code: str
    message: str
    n_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionCamera:
    """What the vision worker needs to know of a camera; faces outside `zone` are counted, never searched."""

    camera_id: CameraId
    least_face_width_px: int
    zone: tuple[ZonePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionStart:
    """Supervisor to vision worker, once: which networks, and how to decide."""

    models_folder: str
    pair: str
    detector_width_px: int
    detector_height_px: int
    threads: int
    largest_frame_bytes: int
    frames_k: int
    frames_n: int
    cameras: tuple[VisionCamera, ...]
    is_production: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionArm:
    """Supervisor to vision worker: the list's descriptor comes beside it, its key as the blob.

    The key opens the sealed content whose plain sha256 is `content_sha256`; the worker checks that before
    it parses anything.
    """

    appliance_id: ApplianceId
    deployment_id: AuthorisationId
    content_sha256: str
    valid_until: UtcTime
    operating_point: OperatingPoint
    recipients: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionAttach:
    """Supervisor to vision worker: a camera's ring, with two descriptors: the ring, the reader's socket."""

    camera_id: CameraId
    n_slots: int
    slot_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionReady:
    """Vision worker to supervisor: which memory settings took effect; a line for each that did not."""

    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionArmed:
    """Vision worker to supervisor: the networks are warm and the gallery is open."""

    n_entries: int
    n_references: int
    warm_up_s: float
    warnings: tuple[str, ...]


class PictureState(StrEnum):
    """What is wrong with a camera's picture; `moved` stops the camera until a person starts it again."""

    OK = "ok"
    MOVED = "moved"
    DEFOCUSED = "defocused"
    GLARED = "glared"
    FOGGED = "fogged"
    FROZEN = "frozen"
    DARK = "dark"
    LOW_PASS_RATE = "low_pass_rate"  # noqa: S105  a share of faces, no password


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMinute:
    """What a camera's detections came to in one minute; a face may be blurred, turned away and dark at once.

    `monotonic_minute` counts minutes of the clock that all processes of the machine share. `n_detected` is
    every detection; `n_outside_zone` and `n_too_small` are not looked at any further.
    """

    monotonic_minute: int
    n_detected: int
    n_outside_zone: int
    n_too_small: int
    n_blurred: int
    n_turned_away: int
    n_dark: int
    n_searched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionCameraReport:
    """How a camera's picture is, and its field counts of the current and of the last full minute.

    `is_scene_known` is False until the picture held still long enough to be compared with: a camera that is
    moved before cannot be told. `state_since_monotonic_s` is the capture of the frame that settled the state.
    """

    camera_id: CameraId
    state: PictureState
    state_since_monotonic_s: float
    is_scene_known: bool
    current_minute: FieldMinute | None
    last_minute: FieldMinute | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionReport:
    """Vision worker to supervisor, about once a second: counts and ages, never a score.

    Of the faces in the zone that are wide enough, `n_embedded` gave a template, `n_not_best` waited because
    their track has had a better or too near a moment, `n_too_poor` were stopped by the quality gate.
    """

    n_frames: int
    n_frames_dropped: int
    n_faces: int
    n_too_small: int
    n_too_poor: int
    n_not_best: int
    n_embedded: int
    n_searched: int
    n_tracks: int
    n_probes_wiped: int
    slowest_wipe_after_decision_ms: float
    slowest_wipe_after_capture_ms: float
    cameras: tuple[VisionCameraReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionAlert:
    """Vision worker to supervisor: a sealed alert; its ciphertext is the blob."""

    alert_id: AlertId
    camera_id: CameraId
    entry_id: EntryId
    is_volunteer: bool
    captured_at: UtcTime
    sealed_keys: tuple[SealedKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFault:
    """Worker to supervisor, last of all: an expected failure, by its code."""

    code: str
    message: str
    is_retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStop:
    """Supervisor to worker: end; closing the channel says the same."""

    reason: str


CHANNEL_RECORDS: tuple[type[object], ...] = (
    WorkerHello,
    CaptureStart,
    CaptureReport,
    CaptureEnded,
    VisionStart,
    VisionArm,
    VisionAttach,
    VisionReady,
    VisionArmed,
    VisionReport,
    VisionAlert,
    WorkerFault,
    WorkerStop,
)
