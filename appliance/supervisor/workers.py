"""Start workers, meet them at the door, end them."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping, Sequence
from typing import Protocol

from appliance.compat import TimeoutErrors, timeout
from appliance.errors import ChannelClosedError, RecordError, WorkerError
from appliance.records.channel import WorkerFault, WorkerHello, WorkerRole
from appliance.records.ids import CameraId

logger = logging.getLogger(__name__)
HANDSHAKE_S = 10.0
HELLO_S = 1.0
TERMINATE_S = 1.5


class ReceivedMessage(Protocol):
    """A message from a worker."""

    @property
    def record(self) -> object:
        """Return the message."""

    @property
    def blob(self) -> bytes:
        """Return the bytes beside it."""


class SupervisorChannel(Protocol):
    """The supervisor's end of a worker's channel, on the event loop."""

    async def receive(self) -> ReceivedMessage:
        """Return the next message; ChannelClosedError when the worker is gone."""

    async def send(self, record: object, *, blob: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Send a message; the descriptors stay ours to close."""

    def close(self) -> None:
        """Close our end; the worker then ends."""


WorkerKey = tuple[WorkerRole, "CameraId | None"]


class WorkerDoor:
    """Let a connecting worker in and hand its channel to whoever waits for it.

    Who started a worker does not matter (we, or systemd); its user must be ours, which the listener checked,
    and its version too.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._outside: asyncio.Queue[tuple[SupervisorChannel, int]] = asyncio.Queue(maxsize=16)
        self._waiting: dict[WorkerKey, asyncio.Future[SupervisorChannel]] = {}

    def knock(self, channel: SupervisorChannel, pid: int) -> None:
        """Take a new connection from the listener; too many at once are turned away."""
        try:
            self._outside.put_nowait((channel, pid))
        except asyncio.QueueFull:
            channel.close()

    async def run(self) -> None:
        """Let in one after another, for ever."""
        while True:
            channel, pid = await self._outside.get()
            await self._welcome(channel, pid)

    async def _welcome(self, channel: SupervisorChannel, pid: int) -> None:
        try:
            async with timeout(HELLO_S):
                hello = (await channel.receive()).record
        except (ChannelClosedError, RecordError, TimeoutError, asyncio.TimeoutError) as err:
            logger.warning("process %d connected and said nothing of use: %s", pid, err)
            channel.close()
            return
        key = _key_of(hello, self._version)
        future = self._waiting.pop(key, None) if key is not None else None
        if future is None or future.done():
            logger.warning("process %d is not expected here", pid)
            channel.close()
        else:
            future.set_result(channel)

    async def wait(self, role: WorkerRole, camera_id: CameraId | None) -> SupervisorChannel:
        """Return the channel of the next worker of that role; WorkerError when none comes."""
        key = (role, camera_id)
        future: asyncio.Future[SupervisorChannel] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        try:
            async with timeout(HANDSHAKE_S):
                return await future
        except TimeoutErrors:
            raise WorkerError(f"the {role} worker did not connect within {HANDSHAKE_S:.0f} s") from None
        finally:
            if self._waiting.get(key) is future:
                del self._waiting[key]


class WorkerProcess:
    """A worker as our child: started by exec with a complete environment, ended for certain."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    async def end(self) -> int:
        """Ask the worker to end, kill it when it does not, and return its exit status."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.returncode is None:
                try:
                    self._process.send_signal(number)
                    async with timeout(TERMINATE_S):
                        return await self._process.wait()
                except ProcessLookupError:
                    break
                except TimeoutErrors:
                    logger.warning("process %d ignored signal %d", self.pid, number)
        return await self._process.wait()


async def start_worker(command: Sequence[str], environment: Mapping[str, str]) -> WorkerProcess:
    """Start a worker; its standard error is ours."""
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environment), stdin=asyncio.subprocess.DEVNULL
    )
    return WorkerProcess(process)


def fault_of(record: WorkerFault) -> WorkerError:
    """Return a worker's report of its own failure as the error it stands for."""
    return WorkerError(record.message, code=record.code, is_retryable=record.is_retryable)


def _key_of(hello: object, version: str) -> WorkerKey | None:
    if not isinstance(hello, WorkerHello) or hello.version != version:
        return None
    return (hello.role, hello.camera_id)
