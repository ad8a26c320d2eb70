"""Keep the vision worker running and armed, and take its sealed alerts and counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from appliance.compat import TimeoutErrors, timeout
from appliance.errors import ChannelClosedError, WorkerError
from appliance.records.channel import (
    VisionAlert,
    VisionArm,
    VisionArmed,
    VisionAttach,
    VisionReady,
    VisionReport,
    VisionStart,
    WorkerFault,
)
from appliance.supervisor.workers import SupervisorChannel, Worker, WorkerDoor, fault_of

logger = logging.getLogger(__name__)
ARMING_S = 60.0
SILENT_S = 5.0
"""A worker reports twice a second; one that is silent for so long hangs and is ended."""

RecordT = TypeVar("RecordT")


class VisionTask:
    """Start, arm and serve one vision worker after another.

    Args:
        launch: Starts the worker's process.
        open_vault: Returns the list's key and a descriptor of its sealed content; called for each worker,
            and only inside the authorisation. The descriptor is closed here.
        on_alert: Takes a sealed alert; returns when it is on disk.
    """

    def __init__(
        self,
        *,
        door: WorkerDoor,
        launch: Callable[[], Awaitable[Worker]],
        start: VisionStart,
        arm: VisionArm,
        open_vault: Callable[[], Awaitable[tuple[bytes, int]]],
        close_descriptor: Callable[[int], None],
        on_alert: Callable[[VisionAlert, bytes], Awaitable[None]],
        on_armed: Callable[[VisionArmed], Awaitable[None]],
        on_report: Callable[[VisionReport], None] = lambda report: None,
        silent_s: float = SILENT_S,
    ) -> None:
        self._door, self._launch = door, launch
        self._start, self._arm = start, arm
        self._open_vault, self._close_descriptor = open_vault, close_descriptor
        self._on_alert, self._on_armed = on_alert, on_armed
        self._on_report, self._silent_s = on_report, silent_s
        self._channel: SupervisorChannel | None = None
        self._is_armed = asyncio.Event()
        self.generation = 0
        self.report: VisionReport | None = None
        self.warnings: tuple[str, ...] = ()

    async def run(self) -> None:
        """Serve one worker until it ends; always raises, so that the supervisor starts the next."""
        waiting = asyncio.ensure_future(self._door.wait("vision", None))
        process = await self._launch()
        channel: SupervisorChannel | None = None
        try:
            arrival = await waiting
            channel = arrival.channel
            process.meet(arrival.pid)
            await self._hand_over(channel)
            await self._serve(channel)
        finally:
            waiting.cancel()
            self._is_armed.clear()
            self._channel = None
            self.generation += 1
            if channel is not None:
                channel.close()
            status = await process.end()
            logger.info("the vision worker %d ended with %d", process.pid, status)

    @property
    def is_armed(self) -> bool:
        """Say whether a worker is armed now."""
        return self._is_armed.is_set()

    async def wait_armed(self) -> int:
        """Wait until a worker is armed; return its generation, which changes when it ends."""
        await self._is_armed.wait()
        return self.generation

    async def attach(self, attach: VisionAttach, descriptors: Sequence[int]) -> None:
        """Give the worker a camera's ring; ChannelClosedError when there is no armed worker."""
        if self._channel is None or not self._is_armed.is_set():
            raise ChannelClosedError("the vision worker is not there")
        await self._channel.send(attach, descriptors=descriptors)

    async def _hand_over(self, channel: SupervisorChannel) -> None:
        await channel.send(self._start)
        ready = await _expect(channel, VisionReady, SILENT_S * 2)
        for warning in ready.warnings:
            logger.warning("vision worker: %s", warning)
        key, descriptor = await self._open_vault()
        try:
            await channel.send(self._arm, blob=key, descriptors=(descriptor,))
        finally:
            self._close_descriptor(descriptor)
        armed = await _expect(channel, VisionArmed, ARMING_S)
        self.warnings = ready.warnings + armed.warnings
        await self._on_armed(armed)
        self._channel = channel
        self._is_armed.set()

    async def _serve(self, channel: SupervisorChannel) -> None:
        while True:
            try:
                async with timeout(self._silent_s):
                    received = await channel.receive()
            except TimeoutErrors:
                raise WorkerError(f"the vision worker was silent for {self._silent_s:g} s") from None
            match received.record:
                case VisionReport() as report:
                    self.report = report
                    self._on_report(report)
                case VisionAlert() as alert:
                    await self._on_alert(alert, received.blob)
                case WorkerFault() as fault:
                    raise fault_of(fault)
                case other:
                    raise WorkerError(f"the vision worker sent {type(other).__name__}")


async def _expect(channel: SupervisorChannel, kind: type[RecordT], limit_s: float) -> RecordT:
    try:
        async with timeout(limit_s):
            record = (await channel.receive()).record
    except TimeoutErrors:
        raise WorkerError(f"{kind.__name__} did not come within {limit_s:.0f} s") from None
    if isinstance(record, WorkerFault):
        raise fault_of(record)
    if not isinstance(record, kind):
        raise WorkerError(f"{type(record).__name__} came instead of {kind.__name__}")
    return record
