"""One camera's capture processes as the supervisor keeps them; the process's side is scripted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from appliance.errors import ApplianceError, ChannelClosedError, WorkerError
from appliance.records.channel import (
    CHANNEL_RECORDS,
    CaptureEnded,
    CaptureReport,
    CaptureStart,
    VisionAttach,
    WorkerHello,
)
from appliance.records.ids import CameraId
from appliance.records.wire import prepare_records
from appliance.supervisor.capture_task import CaptureTask
from appliance.supervisor.workers import UnitWorker, Worker, WorkerDoor
from drivers.channel import AsyncChannel
from drivers.ring import RingHandle, create_ring
from tests.fakes.clock import START

GATE = CameraId("gate")
START_RECORD = CaptureStart(camera_id=GATE, source="street.mp4", rate="real", n_slots=2, slot_bytes=4096)
REPORT = CaptureReport(
    n_frames=1, n_frames_skipped=0, width_px=4, height_px=4, first_frame_at=START, oldest_decoder_age_s=0.1
)


@dataclass
class FakeVision:
    """A vision task that is armed, and keeps what it is handed."""

    generation: int = 0
    attached: list[VisionAttach] = field(default_factory=list)

    async def wait_armed(self) -> int:
        return self.generation

    async def attach(self, attach: VisionAttach, descriptors: Sequence[int]) -> None:
        assert len(descriptors) == 2
        self.attached.append(attach)


@dataclass
class House:
    door: WorkerDoor
    vision: FakeVision = field(default_factory=FakeVision)
    rings: list[RingHandle] = field(default_factory=list)
    started: list[CaptureReport] = field(default_factory=list)
    lost: list[ApplianceError] = field(default_factory=list)
    ends: list[AsyncChannel] = field(default_factory=list)

    def __post_init__(self) -> None:
        async def launch() -> Worker:
            return UnitWorker()

        def make_ring() -> RingHandle:
            self.rings.append(create_ring(2, 4096))
            return self.rings[-1]

        self.task = CaptureTask(
            start=START_RECORD,
            door=self.door,
            vision=self.vision,
            launch=launch,
            make_ring=make_ring,
            on_started=self.started.append,
            on_lost=self.lost.append,
        )

    async def connect(self) -> AsyncChannel:
        """Return the capture process's end after its handshake."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.knock(AsyncChannel(ours), 0)
        end = AsyncChannel(theirs)
        self.ends.append(end)
        await end.send(WorkerHello(role="capture", camera_id=GATE, version="1"))
        received = await end.receive()
        assert received.record == START_RECORD
        for descriptor in received.descriptors:
            os.close(descriptor)
        return end


@pytest.fixture(autouse=True, scope="module")
def parsers() -> None:
    prepare_records(CHANNEL_RECORDS)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House(WorkerDoor("1", [("capture", GATE)]))
    door = asyncio.create_task(house.door.run())
    yield house
    for end in house.ends:
        end.close()
    door.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await door


async def ended_with(house: House) -> ApplianceError:
    with pytest.raises(ApplianceError) as caught:
        await asyncio.wait_for(house.task.run(), 5.0)
    assert house.lost[-1] is caught.value
    assert house.rings[-1].fd == -1  # zeroed and let go
    return caught.value


async def test_the_end_of_a_file_is_the_end_of_its_task(house: House) -> None:
    running = asyncio.create_task(house.task.run())
    worker = await house.connect()
    await worker.send(REPORT)
    await worker.send(REPORT)
    await worker.send(CaptureEnded(is_end_of_stream=True, code="camera.end", message="", n_frames=1))
    await asyncio.wait_for(running, 5.0)
    assert house.task.state.is_over
    assert house.started == [REPORT]  # told once
    assert [attach.camera_id for attach in house.vision.attached] == [GATE]


@pytest.mark.parametrize(
    ("code", "is_retryable"), [("camera.lost", True), ("camera.stalled", True), ("camera.source", False)]
)
async def test_a_camera_s_failure_keeps_its_code(house: House, code: str, is_retryable: bool) -> None:
    running = asyncio.create_task(ended_with(house))
    worker = await house.connect()
    await worker.send(CaptureEnded(is_end_of_stream=False, code=code, message="why", n_frames=0))
    error = await running
    assert (error.code, error.retryable) == (code, is_retryable)


async def test_a_killed_process_is_retried_with_a_new_ring(house: House) -> None:
    running = asyncio.create_task(ended_with(house))
    (await house.connect()).close()
    assert isinstance(await running, ChannelClosedError)
    running = asyncio.create_task(ended_with(house))
    (await house.connect()).close()
    await running
    assert len(house.rings) == 2


async def test_a_new_vision_worker_needs_a_new_ring(house: House) -> None:
    running = asyncio.create_task(ended_with(house))
    worker = await house.connect()
    await worker.send(REPORT)
    house.vision.generation += 1
    error = await running
    assert isinstance(error, WorkerError)
    assert error.retryable


async def test_a_moved_camera_stays_off(house: House) -> None:
    running = asyncio.create_task(house.task.run())
    worker = await house.connect()
    await worker.send(REPORT)
    house.task.stop_moved()
    await asyncio.wait_for(running, 5.0)  # it ends without an error: nobody starts it again
    assert [error.code for error in house.lost] == ["camera.moved"]
    assert house.task.state.is_moved
