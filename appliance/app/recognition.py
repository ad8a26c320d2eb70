"""The armed part of an appliance: door, vision worker, capture processes, and when a deployment is over."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from appliance import __version__
from appliance.app.arming import Deployment
from appliance.audit import AuditKind
from appliance.compat import StrEnum
from appliance.config import CameraConfig, Config, resolve_path
from appliance.deployment.authority import is_over
from appliance.ports import Clock
from appliance.records.channel import (
    CHANNEL_RECORDS,
    CaptureStart,
    PictureState,
    VisionAlert,
    VisionArmed,
    VisionReport,
)
from appliance.records.health import HealthRecord
from appliance.records.wire import prepare_records
from appliance.supervisor.capture_task import CaptureTask
from appliance.supervisor.tasks import Supervisor, TaskSpec
from appliance.supervisor.vision_task import VisionTask
from appliance.supervisor.workers import UnitWorker, Worker, WorkerDoor, WorkerKey, start_worker
from drivers.channel import listen_channels
from drivers.process_settings import worker_environment
from drivers.ring import create_ring

N_SLOTS = 5
"""One is written, one waits, one is analysed, one is decided on, one is spare."""
CHECK_S = 0.2
SETTLE_S = 1.0
"""How long after the last file's end the last frames are given to be decided on."""


class EndReason(StrEnum):
    """Why recognition ended."""

    AUTHORISATION_OVER = "authorisation_over"
    CLOCK_NOT_TRUSTED = "clock_not_trusted"
    VIDEO_OVER = "video_over"
    STOPPED = "stopped"


class Recognition:
    """Run the workers of one deployment until it is over.

    Args:
        socket_path: Where workers connect; at most 100 characters.
        open_vault: Returns the list's key and descriptor; it refuses outside the authorisation.
        on_alert: Takes a sealed alert; returns when it is on disk.
    """

    def __init__(
        self,
        *,
        config: Config,
        config_path: Path,
        deployment: Deployment,
        socket_path: Path,
        clock: Clock,
        open_vault: Callable[[], Awaitable[tuple[bytes, int]]],
        on_alert: Callable[[VisionAlert, bytes], Awaitable[None]],
        on_armed: Callable[[VisionArmed], Awaitable[None]],
        on_camera: Callable[[AuditKind, dict[str, str]], None],
        ends_with_video: bool,
    ) -> None:
        self._deployment, self._clock = deployment, clock
        self._socket_path = socket_path
        self._on_camera = on_camera
        self._ends_with_video = ends_with_video
        expected: list[WorkerKey] = [("vision", None)]
        expected += [("capture", camera.id) for camera in config.cameras]
        self._door = WorkerDoor(__version__, expected)
        self._are_units = config.workers.started_by == "units"
        self.vision = VisionTask(
            door=self._door,
            launch=lambda: self._launch("vision_process"),
            start=deployment.start,
            arm=deployment.arm,
            open_vault=open_vault,
            close_descriptor=os.close,
            on_alert=on_alert,
            on_armed=on_armed,
            on_report=self._stop_moved,
        )
        self.captures = {camera.id: self._capture(camera, config, config_path) for camera in config.cameras}
        self.reason = EndReason.STOPPED
        self._was_ready = False
        self.supervisor = Supervisor(
            [
                TaskSpec(name="door", run=self._door.run),
                TaskSpec(name="vision", run=self.vision.run, stop_limit_s=6.0),
                *(
                    TaskSpec(name=f"capture-{camera_id}", run=task.run, stop_limit_s=6.0)
                    for camera_id, task in self.captures.items()
                ),
                TaskSpec(name="end", run=self._wait_for_end, is_final=True),
            ],
            clock=clock,
            jitter=random.Random(),  # noqa: S311  for jitter, not for secrets
        )

    @property
    def is_ready(self) -> bool:
        """Say whether the vision worker was armed and each camera was tried; it stays ready after that."""
        states = self.supervisor.states()
        tried = all(
            task.state.report is not None or task.state.is_over or states[f"capture-{camera_id}"].last_code
            for camera_id, task in self.captures.items()
        )
        self._was_ready = self._was_ready or (self.vision.is_armed and tried)
        return self._was_ready

    async def run(self) -> None:
        """Recognise until the deployment is over; `reason` says why it ended.

        Every worker has ended when this returns or raises.
        """
        await asyncio.to_thread(prepare_records, (*CHANNEL_RECORDS, HealthRecord))
        listener = await listen_channels(self._socket_path, self._door.knock)
        try:
            await self.supervisor.run()
        finally:
            listener.close()

    def _capture(self, camera: CameraConfig, config: Config, config_path: Path) -> CaptureTask:
        slot_bytes = camera.largest_width_px * camera.largest_height_px * 3
        source = camera.source
        if "://" not in source:
            source = str(resolve_path(config_path, source))
        return CaptureTask(
            start=CaptureStart(
                camera_id=camera.id,
                source=source,
                rate=camera.rate,
                decoder=camera.decoder,
                n_slots=N_SLOTS,
                slot_bytes=slot_bytes,
            ),
            door=self._door,
            vision=self.vision,
            launch=lambda: self._launch("capture_process", "--camera", camera.id),
            make_ring=lambda: create_ring(N_SLOTS, slot_bytes),
            on_started=lambda report: self._on_camera(
                AuditKind.CAMERA_STARTED,
                {
                    "camera_id": camera.id,
                    "first_frame_at": report.first_frame_at.isoformat() if report.first_frame_at else "",
                },
            ),
            on_lost=lambda err: self._on_camera(
                AuditKind.CAMERA_LOST, {"camera_id": camera.id, "why": err.code}
            ),
        )

    def _stop_moved(self, report: VisionReport) -> None:
        for camera in report.cameras:
            if camera.state is PictureState.MOVED:
                self.captures[camera.camera_id].stop_moved()

    async def _launch(self, module: str, *arguments: str) -> Worker:
        if self._are_units:
            return UnitWorker()
        # -s and not -I: isolated mode ignores PYTHONMALLOC. The present folder comes first on the path of
        # -c and -m alike, and nothing that lies there may pass for our code.
        code = f"import sys; sys.path.pop(0); from appliance.app.{module} import main; sys.exit(main())"
        command = [sys.executable, "-s", "-c", code, "--channel", str(self._socket_path), *arguments]
        return await start_worker(command, worker_environment(os.environ))

    async def _wait_for_end(self) -> None:
        while True:
            await self._clock.sleep(CHECK_S)
            reason = self._end_reason()
            if reason is not None:
                if reason is EndReason.VIDEO_OVER:
                    await self._clock.sleep(SETTLE_S)
                self.reason = reason
                return

    def _end_reason(self) -> EndReason | None:
        if not self._clock.is_trusted():
            return EndReason.CLOCK_NOT_TRUSTED
        if is_over(self._deployment.authorisation, self._clock.now()):
            return EndReason.AUTHORISATION_OVER
        if self._ends_with_video and all(task.state.is_over for task in self.captures.values()):
            return EndReason.VIDEO_OVER
        return None
