"""From what the parts know to one record: what is wrong, as codes. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from appliance.records.channel import CaptureReport, PictureState, VisionReport
from appliance.records.delivery import OutboxCounts
from appliance.records.deployment import Authorisation
from appliance.records.health import CameraHealth, HealthReason, HealthRecord, TaskHealth
from appliance.records.ids import ApplianceId, CameraId
from appliance.supervisor.tasks import TaskState

DISK_SLOW_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the parts of a running appliance know of themselves at one moment.

    `cameras` has each camera's last report, None before its first frame and after a loss. `disk_delay_s` is
    how long the disk thread took to answer.
    """

    appliance_id: ApplianceId
    version: str
    at: datetime
    uptime_s: float
    is_clock_trusted: bool
    is_ready: bool
    is_armed: bool
    authorisation: Authorisation | None
    tasks: Mapping[str, TaskState]
    cameras: Mapping[CameraId, CaptureReport | None]
    moved: frozenset[CameraId]
    vision: VisionReport | None
    warnings: tuple[str, ...]
    outbox: OutboxCounts
    disk_delay_s: float


def judge_health(observed: Observed) -> HealthRecord:
    """Return the health record."""
    authorisation = observed.authorisation
    return HealthRecord(
        appliance_id=observed.appliance_id,
        version=observed.version,
        at=observed.at,
        uptime_s=round(observed.uptime_s, 1),
        is_ready=observed.is_ready,
        is_armed=observed.is_armed,
        deployment_id=authorisation.authorisation_id if authorisation else None,
        deployment_ends_at=authorisation.ends_at if authorisation else None,
        reasons=tuple(reason for reason, holds in _reasons(observed) if holds),
        tasks=tuple(_task(name, state) for name, state in observed.tasks.items()),
        cameras=tuple(_camera(camera_id, observed) for camera_id in observed.cameras),
        vision=observed.vision,
        n_alerts_pending=observed.outbox.n_pending_alerts,
        n_alerts_expired=observed.outbox.n_expired_alerts,
    )


def _reasons(observed: Observed) -> tuple[tuple[HealthReason, bool], ...]:
    broker = observed.tasks.get("broker")
    failing = any(
        not state.is_running and not state.is_done
        for name, state in observed.tasks.items()
        if name != "broker" and not name.startswith("capture-")
    )
    lost = any(
        report is None and not _is_over(camera_id, observed) for camera_id, report in observed.cameras.items()
    )
    disturbed = bool(observed.moved) or (
        observed.vision is not None
        and any(camera.state is not PictureState.OK for camera in observed.vision.cameras)
    )
    return (
        (HealthReason.NOT_READY, not observed.is_ready),
        (HealthReason.NOT_ARMED, not observed.is_armed),
        (HealthReason.CAMERA_LOST, observed.is_armed and lost),
        (HealthReason.CAMERA_DISTURBED, observed.is_armed and disturbed),
        (HealthReason.TASK_FAILING, failing),
        (HealthReason.BROKER_UNREACHABLE, broker is not None and not broker.is_healthy),
        (HealthReason.ALERTS_WAITING, observed.outbox.n_pending_alerts > 0),
        (HealthReason.CLOCK_NOT_TRUSTED, not observed.is_clock_trusted),
        (HealthReason.DISK_SLOW, observed.disk_delay_s > DISK_SLOW_S),
        (HealthReason.SETTINGS_WEAK, bool(observed.warnings)),
    )


def _is_over(camera_id: CameraId, observed: Observed) -> bool:
    state = observed.tasks.get(f"capture-{camera_id}")
    return state is not None and state.is_done


def _task(name: str, state: TaskState) -> TaskHealth:
    return TaskHealth(
        name=name,
        is_running=state.is_running,
        n_restarts=state.n_restarts,
        n_bugs=state.n_bugs,
        last_code=state.last_code,
    )


def _camera(camera_id: CameraId, observed: Observed) -> CameraHealth:
    report = observed.cameras[camera_id]
    state = observed.tasks.get(f"capture-{camera_id}")
    return CameraHealth(
        camera_id=camera_id,
        has_frames=report is not None and report.first_frame_at is not None,
        n_frames=report.n_frames if report else 0,
        n_frames_skipped=report.n_frames_skipped if report else 0,
        width_px=report.width_px if report else 0,
        height_px=report.height_px if report else 0,
        last_code="camera.moved" if camera_id in observed.moved else state.last_code if state else "",
    )
