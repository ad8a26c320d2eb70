"""One frozen record of how an appliance is, with reasons as codes; for a topic, a verb and a scrape alike."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.compat import StrEnum
from appliance.records.channel import VisionReport
from appliance.records.ids import ApplianceId, AuthorisationId, CameraId
from appliance.records.times import UtcTime


class HealthReason(StrEnum):
    """Why an appliance is not as it should be; stable, for rules and dashboards."""

    NOT_READY = "not_ready"
    NOT_ARMED = "not_armed"
    CAMERA_LOST = "camera_lost"
    CAMERA_DISTURBED = "camera_disturbed"
    TASK_FAILING = "task_failing"
    BROKER_UNREACHABLE = "broker_unreachable"
    ALERTS_WAITING = "alerts_waiting"
    CLOCK_NOT_TRUSTED = "clock_not_trusted"
    DISK_SLOW = "disk_slow"
    SETTINGS_WEAK = "settings_weak"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHealth:
    """How a task of the supervisor does; `last_code` is the code of its last failure, empty for none."""

    name: str
    is_running: bool
    n_restarts: int
    n_bugs: int
    last_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraHealth:
    """How a camera does: frames since its process started, and those that found no free slot."""

    camera_id: CameraId
    has_frames: bool
    n_frames: int
    n_frames_skipped: int
    width_px: int
    height_px: int
    last_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRecord:
    """How the appliance is now. It names no place and nobody; counts are since the last worker's start."""

    appliance_id: ApplianceId
    version: str
    at: UtcTime
    uptime_s: float
    is_ready: bool
    is_armed: bool
    deployment_id: AuthorisationId | None
    deployment_ends_at: UtcTime | None
    reasons: tuple[HealthReason, ...]
    tasks: tuple[TaskHealth, ...]
    cameras: tuple[CameraHealth, ...]
    vision: VisionReport | None
    n_alerts_pending: int
    n_alerts_expired: int
