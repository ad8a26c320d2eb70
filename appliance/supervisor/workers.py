"""Start workers, meet them at the door, end them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """A worker that came in: its channel, and its process as the kernel vouches for it."""

    channel: SupervisorChannel
    pid: int


class WorkerDoor:
    """Let a connecting worker in and hand its channel to whoever waits for it.

    Who started a worker does not matter (we, or systemd); its user must be ours, which the listener checked,
    and its version too. One that comes before it is waited for is kept at the door.

    Args:
        expected: The workers that there may be; others are turned away.
    """

    def __init__(
        self, version: str, expected: Collection[WorkerKey], *, handshake_s: float = HANDSHAKE_S
    ) -> None:
        self._version, self._expected, self._handshake_s = version, frozenset(expected), handshake_s
        self._outside: asyncio.Queue[tuple[SupervisorChannel, int]] = asyncio.Queue(maxsize=16)
        self._waiting: dict[WorkerKey, asyncio.Future[Arrival]] = {}
        self._early: dict[WorkerKey, Arrival] = {}

    def knock(self, channel: SupervisorChannel, pid: int) -> None:
        """Take a new connection from the listener; too many at once are turned away."""
        try:
            self._outside.put_nowait((channel, pid))
        except asyncio.QueueFull:
            channel.close()

    async def run(self) -> None:
        """Let in one after another, for ever."""
        try:
            while True:
                channel, pid = await self._outside.get()
                await self._welcome(channel, pid)
        finally:
            for arrival in self._early.values():
                arrival.channel.close()
            self._early.clear()

    async def wait(self, role: WorkerRole, camera_id: CameraId | None) -> Arrival:
        """Return the next worker of that role; WorkerError when none comes."""
        key = (role, camera_id)
        early = self._early.pop(key, None)
        if early is not None:
            return early
        future: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        try:
            async with timeout(self._handshake_s):
                return await future
        except TimeoutErrors:
            raise WorkerError(f"the {role} worker did not connect within {self._handshake_s:g} s") from None
        finally:
            if self._waiting.get(key) is future:
                del self._waiting[key]

    async def _welcome(self, channel: SupervisorChannel, pid: int) -> None:
        try:
            async with timeout(HELLO_S):
                hello = (await channel.receive()).record
        except (ChannelClosedError, RecordError, TimeoutError, asyncio.TimeoutError) as err:
            logger.warning("process %d connected and said nothing of use: %s", pid, err)
            channel.close()
            return
        key = _key_of(hello, self._version)
        if key is None or key not in self._expected:
            logger.warning("process %d is not expected here", pid)
            channel.close()
            return
        future = self._waiting.pop(key, None)
        if future is not None and not future.done():
            future.set_result(Arrival(channel=channel, pid=pid))
            return
        old = self._early.pop(key, None)
        if old is not None:
            old.channel.close()
        self._early[key] = Arrival(channel=channel, pid=pid)


class Worker(Protocol):
    """A worker as the supervisor holds it."""

    @property
    def pid(self) -> int:
        """Return the process id; 0 while somebody else's worker has not come."""

    def meet(self, pid: int) -> None:
        """Note which process came in as this worker."""

    async def end(self) -> int:
        """End it for certain and return its exit status; 0 where that is somebody else's to know."""


class UnitWorker:
    """A worker that systemd starts and restarts: it ends because its channel closed, or it is killed."""

    def __init__(self, terminate_s: float = TERMINATE_S) -> None:
        self._terminate_s = terminate_s
        self._pid_descriptor = -1
        self.pid = 0

    def meet(self, pid: int) -> None:
        """Hold on to the process that came in; a descriptor never comes to mean another process."""
        try:
            self._pid_descriptor = os.pidfd_open(pid)
            self.pid = pid
        except OSError as err:
            logger.info("process %d is gone already: %s", pid, err.strerror)

    async def end(self) -> int:
        """Wait until the process has ended, and kill it when it hangs: its channel is closed by now."""
        if self._pid_descriptor < 0:
            return 0
        loop, descriptor = asyncio.get_running_loop(), self._pid_descriptor
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(descriptor, _resolve, ended)
        try:
            async with timeout(self._terminate_s):
                await ended
        except TimeoutErrors:
            logger.warning("process %d hangs and is killed", self.pid)
            with suppress(OSError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._pid_descriptor = -1
        return 0


class WorkerProcess:
    """A worker as our child: started by exec with a complete environment, ended for certain."""

    def __init__(self, process: asyncio.subprocess.Process, terminate_s: float = TERMINATE_S) -> None:
        self._process, self._terminate_s = process, terminate_s

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def meet(self, pid: int) -> None:
        """Nothing to do: it is our child."""

    async def end(self) -> int:
        """Ask the worker to end, kill it when it does not, and return its exit status."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.returncode is None:
                try:
                    self._process.send_signal(number)
                    async with timeout(self._terminate_s):
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


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _key_of(hello: object, version: str) -> WorkerKey | None:
    if not isinstance(hello, WorkerHello) or hello.version != version:
        return None
    return (hello.role, hello.camera_id)
