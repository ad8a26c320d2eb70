"""Keep one camera's capture process running, with a ring of its own into the vision worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from appliance.compat import TimeoutErrors, timeout
from appliance.errors import ApplianceError, WorkerError
from appliance.records.channel import CaptureEnded, CaptureReport, CaptureStart, VisionAttach, WorkerFault
from appliance.supervisor.workers import SupervisorChannel, Worker, WorkerDoor, fault_of

logger = logging.getLogger(__name__)
OPENING_S = 7.0
"""Opening a camera may take 5 s, and nothing is reported meanwhile."""
SILENT_S = 2.0
"""A capture process reports four times a second; one that is silent hangs."""
CHECK_S = 0.5
MOVED_CODE = "camera.moved"
RETRYABLE_CODES = ("camera.lost", "camera.stalled")


class Socket(Protocol):
    """One end of the ring's slot socket."""

    def fileno(self) -> int:
        """Return its descriptor."""


class Ring(Protocol):
    """A frame ring that the supervisor made: it holds the memory and both ends until they are handed out."""

    @property
    def fd(self) -> int:
        """Return the memory's descriptor."""

    @property
    def writer_end(self) -> Socket:
        """Return the capture process's end."""

    @property
    def reader_end(self) -> Socket:
        """Return the vision worker's end."""

    def close_ends(self) -> None:
        """Close our copies of both sockets, so that each side sees the other end."""

    def close(self) -> None:
        """Zero the whole ring and let go of the memory. Blocks for milliseconds."""


class RingTaker(Protocol):
    """The vision task, as a camera sees it."""

    @property
    def generation(self) -> int:
        """Return which worker it is; it changes when a worker ends."""

    async def wait_armed(self) -> int:
        """Wait until a worker is armed; return its generation."""

    async def attach(self, attach: VisionAttach, descriptors: Sequence[int]) -> None:
        """Give the worker a ring; ChannelClosedError when there is none."""


@dataclass(slots=True, kw_only=True)
class CaptureState:
    """What is known of a camera."""

    report: CaptureReport | None = None
    is_over: bool = False
    is_moved: bool = False
    """The camera looks elsewhere than it was set up for: it stays off until a person starts the appliance."""


class CaptureTask:
    """Start and serve one capture process after another, each with a new ring.

    Args:
        on_started: Called with the first report that has a frame, for each capture process.
        on_lost: Called with why a capture process had to be ended.
    """

    def __init__(
        self,
        *,
        start: CaptureStart,
        door: WorkerDoor,
        vision: RingTaker,
        launch: Callable[[], Awaitable[Worker]],
        make_ring: Callable[[], Ring],
        on_started: Callable[[CaptureReport], None],
        on_lost: Callable[[ApplianceError], None],
    ) -> None:
        self._start, self._door, self._vision = start, door, vision
        self._launch, self._make_ring = launch, make_ring
        self._on_started, self._on_lost = on_started, on_lost
        self.state = CaptureState()
        self.over = asyncio.Event()

    def stop_moved(self) -> None:
        """End the camera for good: what it shows now is not what was authorised."""
        self.state.is_moved = True

    async def run(self) -> None:
        """Serve one capture process; return when its file is over, raise when it must start again."""
        self.state.report = None
        waiting = asyncio.ensure_future(self._door.wait("capture", self._start.camera_id))
        process = await self._launch()
        ring: Ring | None = None
        channel: SupervisorChannel | None = None
        try:
            # It starts beside the vision worker, and opens its camera when that is armed: no frame before.
            arrival = await waiting
            channel = arrival.channel
            process.meet(arrival.pid)
            generation = await self._vision.wait_armed()
            ring = await asyncio.to_thread(self._make_ring)
            await channel.send(self._start, descriptors=(ring.fd, ring.writer_end.fileno()))
            attach = VisionAttach(
                camera_id=self._start.camera_id,
                n_slots=self._start.n_slots,
                slot_bytes=self._start.slot_bytes,
            )
            await self._vision.attach(attach, (ring.fd, ring.reader_end.fileno()))
            ring.close_ends()
            await self._serve(channel, generation)
        except ApplianceError as err:
            self._on_lost(err)
            raise
        finally:
            waiting.cancel()
            if channel is not None:
                channel.close()
            await process.end()
            if ring is not None:
                await asyncio.to_thread(ring.close)
        self.state.is_over = True
        self.over.set()

    async def _serve(self, channel: SupervisorChannel, generation: int) -> None:
        silent_s = 0.0
        while True:
            if self.state.is_moved:
                self._on_lost(WorkerError("the camera was moved", code=MOVED_CODE, is_retryable=False))
                return
            if self._vision.generation != generation:
                raise WorkerError("the vision worker was replaced: the camera needs a new ring")
            try:
                async with timeout(CHECK_S):
                    record = (await channel.receive()).record
            except TimeoutErrors:
                silent_s += CHECK_S
                if silent_s >= (OPENING_S if self.state.report is None else SILENT_S):
                    raise WorkerError(f"the capture process was silent for {silent_s:g} s") from None
                continue
            silent_s = 0.0
            match record:
                case CaptureReport():
                    self._note(record)
                case CaptureEnded() if record.is_end_of_stream:
                    return
                case CaptureEnded():
                    raise WorkerError(
                        record.message, code=record.code, is_retryable=record.code in RETRYABLE_CODES
                    )
                case WorkerFault():
                    raise fault_of(record)
                case other:
                    raise WorkerError(f"the capture process sent {type(other).__name__}")

    def _note(self, report: CaptureReport) -> None:
        was_started = self.state.report is not None and self.state.report.first_frame_at is not None
        self.state.report = report
        if report.first_frame_at is not None and not was_started:
            self._on_started(report)
