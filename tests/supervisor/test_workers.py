"""The door and the vision task with real channels; the worker's side is scripted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from appliance.errors import ChannelClosedError, WorkerError
from appliance.records.channel import (
    CHANNEL_RECORDS,
    VisionAlert,
    VisionArm,
    VisionArmed,
    VisionReady,
    VisionStart,
    WorkerFault,
    WorkerHello,
)
from appliance.records.deployment import OperatingPoint
from appliance.records.ids import ApplianceId, AuthorisationId, CameraId, ModelId
from appliance.records.wire import prepare_records
from appliance.supervisor.vision_task import VisionTask
from appliance.supervisor.workers import UnitWorker, Worker, WorkerDoor, WorkerProcess
from drivers.channel import AsyncChannel
from tests.fakes.clock import START

VERSION = "1"
HELLO = WorkerHello(role="vision", camera_id=None, version=VERSION)
KEY = b"k" * 32
POINT = OperatingPoint(
    model_id=ModelId("m"), threshold=0.5, fpir=1e-3, fnir=0.1, gallery_size=9, test_set="t", measured_on="d"
)
START_RECORD = VisionStart(
    models_folder="m", pair="p", detector_width_px=640, detector_height_px=384, threads=1,
    largest_frame_bytes=1, frames_k=1, frames_n=1, cameras=(), is_production=False,
)  # fmt: skip
ARM = VisionArm(
    appliance_id=ApplianceId("box"), deployment_id=AuthorisationId("d"), content_sha256="0" * 64,
    valid_until=START, operating_point=POINT, recipients=(),
)  # fmt: skip


@dataclass
class House:
    """A door, and both ends of what comes through it."""

    door: WorkerDoor
    alerts: list[VisionAlert] = field(default_factory=list)
    armed: list[VisionArmed] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    ends: list[AsyncChannel] = field(default_factory=list)

    def connect(self) -> AsyncChannel:
        """Return a new worker's end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.knock(AsyncChannel(ours), 1234)
        self.ends.append(AsyncChannel(theirs))
        return self.ends[-1]

    def task(self, silent_s: float = 5.0) -> VisionTask:
        async def launch() -> Worker:
            return UnitWorker()

        async def open_vault() -> tuple[bytes, int]:
            return KEY, os.open("/dev/null", os.O_RDONLY)

        async def on_alert(alert: VisionAlert, ciphertext: bytes) -> None:
            self.alerts.append(alert)

        async def on_armed(armed: VisionArmed) -> None:
            self.armed.append(armed)

        def close(descriptor: int) -> None:
            self.closed.append(descriptor)
            os.close(descriptor)

        return VisionTask(
            door=self.door, launch=launch, start=START_RECORD, arm=ARM, open_vault=open_vault,
            close_descriptor=close, on_alert=on_alert, on_armed=on_armed, silent_s=silent_s,
        )  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def parsers() -> None:
    prepare_records(CHANNEL_RECORDS)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House(WorkerDoor(VERSION, [("vision", None), ("capture", CameraId("gate"))]))
    door = asyncio.create_task(house.door.run())
    yield house
    for end in house.ends:
        end.close()
    door.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await door


async def arm(worker: AsyncChannel) -> None:
    """Do the worker's part of the handshake, and look at what it is handed."""
    await worker.send(HELLO)
    assert (await worker.receive()).record == START_RECORD
    await worker.send(VisionReady(warnings=("not locked",)))
    handed = await worker.receive()
    assert (handed.record, handed.blob) == (ARM, KEY)
    (descriptor,) = handed.descriptors
    os.close(descriptor)
    await worker.send(VisionArmed(n_entries=1, n_references=1, warm_up_s=0.1, warnings=()))


async def failing(task: VisionTask) -> BaseException:
    try:
        await asyncio.wait_for(task.run(), 5.0)
    except (WorkerError, ChannelClosedError) as err:
        return err
    raise AssertionError("the task did not end")


async def test_a_worker_is_armed_with_the_key_and_its_descriptor(house: House) -> None:
    task = house.task()
    running = asyncio.create_task(failing(task))
    worker = house.connect()
    await arm(worker)
    assert await asyncio.wait_for(task.wait_armed(), 2.0) == 0
    assert task.warnings == ("not locked",)
    assert len(house.closed) == 1
    worker.close()
    assert isinstance(await running, ChannelClosedError)
    assert not task.is_armed
    assert task.generation == 1


async def test_a_worker_s_fault_keeps_its_code(house: House) -> None:
    running = asyncio.create_task(failing(house.task()))
    worker = house.connect()
    await worker.send(HELLO)
    await worker.receive()
    await worker.send(WorkerFault(code="model.integrity", message="changed", is_retryable=False))
    error = await running
    assert isinstance(error, WorkerError)
    assert (error.code, error.retryable) == ("model.integrity", False)
    worker.close()


async def test_a_hung_worker_is_given_up(house: House) -> None:
    running = asyncio.create_task(failing(house.task(silent_s=0.1)))
    worker = house.connect()
    await arm(worker)
    assert "silent" in str(await running)
    with pytest.raises(ChannelClosedError):  # and it learns that it is
        await worker.receive()


async def test_a_worker_that_talks_out_of_turn_is_given_up(house: House) -> None:
    running = asyncio.create_task(failing(house.task()))
    worker = house.connect()
    await arm(worker)
    await worker.send(START_RECORD)
    assert "VisionStart" in str(await running)


@pytest.mark.parametrize(
    "hello",
    [
        WorkerHello(role="vision", camera_id=None, version="2"),
        WorkerHello(role="capture", camera_id=CameraId("stranger"), version=VERSION),
        START_RECORD,
    ],
)
async def test_a_stranger_is_turned_away(house: House, hello: object) -> None:
    worker = house.connect()
    await worker.send(hello)
    with pytest.raises(ChannelClosedError):
        await asyncio.wait_for(worker.receive(), 2.0)


async def test_a_unit_that_comes_early_is_kept_at_the_door(house: House) -> None:
    worker = house.connect()
    await worker.send(HELLO)
    await asyncio.sleep(0.05)
    running = asyncio.create_task(failing(house.task()))
    assert (await asyncio.wait_for(worker.receive(), 2.0)).record == START_RECORD
    worker.close()
    await running


async def test_a_second_early_worker_replaces_the_first(house: House) -> None:
    first, second = house.connect(), house.connect()
    await first.send(HELLO)
    await second.send(HELLO)
    with pytest.raises(ChannelClosedError):
        await asyncio.wait_for(first.receive(), 2.0)
    second.close()


async def test_who_never_comes_is_named() -> None:
    door = WorkerDoor(VERSION, [("vision", None)], handshake_s=0.05)
    with pytest.raises(WorkerError, match="vision worker did not connect"):
        await door.wait("vision", None)


async def launch_program(code: str) -> WorkerProcess:
    """Start a program that says when it has come so far."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return WorkerProcess(process, terminate_s=0.3)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import time; print('ready', flush=True); time.sleep(60)", -15),
        ("import signal, time; signal.signal(15, 1); print('ready', flush=True); time.sleep(60)", -9),
    ],
)
async def test_a_worker_is_ended_for_certain(code: str, status: int) -> None:
    worker = await launch_program(code)
    assert await worker.end() == status


async def test_a_worker_that_has_ended_keeps_its_status() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
    await process.wait()
    assert await WorkerProcess(process).end() == 7
