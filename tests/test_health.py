from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from appliance.health import Observed, judge_health
from appliance.records.channel import CaptureReport, PictureState, VisionCameraReport, VisionReport
from appliance.records.delivery import OutboxCounts
from appliance.records.health import HealthReason
from appliance.records.ids import ApplianceId, CameraId
from appliance.supervisor.tasks import TaskState
from appliance.vision.counts import Counts
from tests.fakes.clock import START

GATE = CameraId("gate")
NO_ALERTS = OutboxCounts(
    n_alerts=0,
    n_pending_alerts=0,
    n_pending_deliveries=0,
    n_receipts=0,
    n_adjudications=0,
    n_expired_alerts=0,
)
REPORT = CaptureReport(
    n_frames=25,
    n_frames_skipped=0,
    width_px=1280,
    height_px=720,
    first_frame_at=START,
    oldest_decoder_age_s=1.0,
)


def running(**changes: Any) -> TaskState:
    state = TaskState(is_running=True, is_healthy=True)
    return replace(state, **changes)


def vision(state: PictureState) -> VisionReport:
    """Return a worker's report whose camera's picture is in a state."""
    camera = VisionCameraReport(
        camera_id=GATE,
        state=state,
        state_since_monotonic_s=1.0,
        is_scene_known=True,
        current_minute=None,
        last_minute=None,
    )
    return Counts().report(n_frames_dropped=0, n_tracks=0, cameras=(camera,))


def observed(**changes: Any) -> Observed:
    """Return an appliance that has nothing wrong with it."""
    well = Observed(
        appliance_id=ApplianceId("box"),
        version="1",
        at=START,
        uptime_s=10.0,
        is_clock_trusted=True,
        is_ready=True,
        is_armed=True,
        authorisation=None,
        tasks={"broker": running(), "vision": running(), "capture-gate": running()},
        cameras={GATE: REPORT},
        moved=frozenset(),
        vision=None,
        warnings=(),
        outbox=NO_ALERTS,
        disk_delay_s=0.0,
    )
    return replace(well, **changes)


def test_nothing_is_wrong_with_a_well_appliance() -> None:
    record = judge_health(observed(vision=vision(PictureState.OK)))
    assert record.reasons == ()
    assert record.cameras[0].has_frames


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_ready": False}, HealthReason.NOT_READY),
        ({"is_armed": False}, HealthReason.NOT_ARMED),
        ({"cameras": {GATE: None}}, HealthReason.CAMERA_LOST),
        ({"tasks": {"vision": TaskState(last_code="worker")}}, HealthReason.TASK_FAILING),
        ({"tasks": {"broker": TaskState(is_running=True)}}, HealthReason.BROKER_UNREACHABLE),
        ({"outbox": replace(NO_ALERTS, n_pending_alerts=1)}, HealthReason.ALERTS_WAITING),
        ({"is_clock_trusted": False}, HealthReason.CLOCK_NOT_TRUSTED),
        ({"disk_delay_s": 2.5}, HealthReason.DISK_SLOW),
        ({"warnings": ("memory is not locked",)}, HealthReason.SETTINGS_WEAK),
        ({"vision": vision(PictureState.MOVED)}, HealthReason.CAMERA_DISTURBED),
        ({"moved": frozenset({GATE})}, HealthReason.CAMERA_DISTURBED),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], reason: HealthReason) -> None:
    assert judge_health(observed(**changes)).reasons == (reason,)


def test_a_file_that_has_been_played_is_not_a_lost_camera() -> None:
    done = TaskState(is_done=True)
    record = judge_health(observed(cameras={GATE: None}, tasks={"capture-gate": done}))
    assert record.reasons == ()
