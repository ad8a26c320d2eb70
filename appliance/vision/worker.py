"""The vision worker's conversation with the supervisor: start, arm, attach rings, report, end.

The process ends when its channel closes. Disarming is ending: the end of a process is the surest wipe.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from appliance.errors import ApplianceError, ChannelClosedError, ProcessSettingsError, RecordError
from appliance.ports import Clock
from appliance.records.channel import (
    VisionAlert,
    VisionArm,
    VisionArmed,
    VisionAttach,
    VisionReady,
    VisionReport,
    VisionStart,
    WorkerFault,
    WorkerHello,
    WorkerStop,
)
from appliance.records.ids import CameraId
from appliance.vision.intake import FrameSource, Intake
from appliance.vision.pipeline import Pipeline

logger = logging.getLogger(__name__)
REPORT_INTERVAL_S = 0.5
MOST_WAITING_ALERTS = 64


class Received(Protocol):
    """A message from the supervisor, with what came beside it."""

    @property
    def record(self) -> object:
        """Return the message."""

    @property
    def blob(self) -> bytes:
        """Return its bytes; a key at arming."""

    @property
    def descriptors(self) -> Sequence[int]:
        """Return its descriptors; the receiver closes them."""


class WorkerChannel(Protocol):
    """The worker's end of the channel. Thread: main."""

    def send(self, record: object, *, blob: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Send a message; ChannelClosedError when the supervisor is gone."""

    def receive(self, timeout_s: float) -> Received | None:
        """Return the next message, None when none came in time."""


class ArmedVision(Protocol):
    """What arming builds: networks, gallery and the two threads."""

    @property
    def pipeline(self) -> Pipeline:
        """Return the pipeline, not yet started."""

    @property
    def armed(self) -> VisionArmed:
        """Return what to tell the supervisor."""

    def report(self) -> VisionReport:
        """Return the counts so far."""

    def clear(self) -> None:
        """Zero the arena."""


Emit = Callable[[VisionAlert, bytes], None]
ArmVision = Callable[
    [VisionStart, VisionArm, bytes, int, Intake, Emit, Callable[[BaseException], None]], ArmedVision
]
OpenSource = Callable[[VisionAttach, int, int], FrameSource]


class VisionWorker:
    """Serve the supervisor until the channel closes. Thread: main.

    Args:
        settings_warnings: A line for each memory setting that did not take effect.
        arm: Loads the networks, warms them, opens the list.
        open_source: Maps a ring, given its descriptor and the reader's socket.
    """

    def __init__(
        self,
        *,
        channel: WorkerChannel,
        clock: Clock,
        version: str,
        settings_warnings: tuple[str, ...],
        arm: ArmVision,
        open_source: OpenSource,
    ) -> None:
        self._channel, self._clock, self._version = channel, clock, version
        self._warnings = settings_warnings
        self._arm, self._open_source = arm, open_source
        self._intake = Intake()
        self._start: VisionStart | None = None
        self._armed: ArmedVision | None = None
        self._alerts: queue.Queue[tuple[VisionAlert, bytes]] = queue.Queue(maxsize=MOST_WAITING_ALERTS)
        self._bug: BaseException | None = None
        self._has_bug = threading.Event()
        self._reported_s = 0.0

    def run(self) -> None:
        """Talk until told to stop; ends with everything zeroed."""
        try:
            self._channel.send(WorkerHello(role="vision", camera_id=None, version=self._version))
            while not self._has_bug.is_set() and self._serve():
                pass
            if self._bug is not None:
                raise self._bug
        except ChannelClosedError:
            logger.info("the supervisor is gone; ending")
        except ApplianceError as err:
            self._channel.send(WorkerFault(code=err.code, message=str(err), is_retryable=err.retryable))
        finally:
            self._end()

    def _serve(self) -> bool:
        self._send_alerts()
        self._report()
        # Short while armed: an alert must not wait for the next message of the supervisor.
        received = self._channel.receive(0.01 if self._armed is not None else 0.2)
        return received is None or self._handle(received)

    def _handle(self, received: Received) -> bool:
        match received.record:
            case VisionStart() as start:
                self._begin(start)
            case VisionArm() as arm if self._start is not None and self._armed is None:
                (descriptor,) = received.descriptors
                self._open(self._start, arm, received.blob, descriptor)
            case VisionAttach() as attach if self._armed is not None:
                ring, socket = received.descriptors
                self._intake.attach(
                    CameraId(attach.camera_id), lambda: self._open_source(attach, ring, socket)
                )
            case WorkerStop():
                return False
            case other:
                raise RecordError(f"{type(other).__name__} does not belong here")
        return True

    def _begin(self, start: VisionStart) -> None:
        if start.is_production and self._warnings:
            raise ProcessSettingsError("; ".join(self._warnings))
        self._start = start
        self._channel.send(VisionReady(warnings=self._warnings))

    def _open(self, start: VisionStart, arm: VisionArm, key: bytes, descriptor: int) -> None:
        self._armed = self._arm(start, arm, key, descriptor, self._intake, self._emit, self._note_bug)
        self._armed.pipeline.start()
        self._channel.send(self._armed.armed)

    def _emit(self, alert: VisionAlert, ciphertext: bytes) -> None:
        self._alerts.put((alert, ciphertext), timeout=5.0)

    def _send_alerts(self) -> None:
        while not self._alerts.empty():
            alert, ciphertext = self._alerts.get_nowait()
            self._channel.send(alert, blob=ciphertext)

    def _report(self) -> None:
        now_s = self._clock.monotonic_s()
        # No progress, no report: the supervisor then takes the worker for hung, and is right.
        if (
            self._armed is not None
            and now_s - self._reported_s >= REPORT_INTERVAL_S
            and self._armed.pipeline.is_turning()
        ):
            self._reported_s = now_s
            self._channel.send(self._armed.report())

    def _note_bug(self, err: BaseException) -> None:
        self._bug = err
        self._has_bug.set()

    def _end(self) -> None:
        self._intake.stop()
        if self._armed is not None:
            self._armed.pipeline.stop()
            # Decided before the end: an alert is not lost because its worker was told to stop meanwhile.
            with suppress(ChannelClosedError):
                self._send_alerts()
            self._armed.clear()
