"""Records, secrets and descriptors between the supervisor and its workers, over AF_UNIX SOCK_SEQPACKET.

One message is one packet: the length of the JSON (u32, little-endian), `{"kind":"NAME","record":{...}}`, and
then the blob as it is. Descriptors travel beside it (SCM_RIGHTS) and belong to whoever receives them. The
kernel keeps packets whole, so nothing is ever reassembled and many threads may send.
"""

from __future__ import annotations

import array
import asyncio
import os
import re
import select
import socket
import stat
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from appliance.compat import TimeoutErrors, timeout
from appliance.errors import ChannelClosedError, RecordError, UsageError
from appliance.records.channel import CHANNEL_RECORDS
from appliance.records.wire import dump_record, parse_record

CHANNEL_LIMIT_BYTES = 180 * 1024
"""The longest message: below Linux's default socket buffer of 208 KiB, above the largest sealed alert."""
DESCRIPTOR_LIMIT = 8
SEND_TIMEOUT_S = 5.0
_SEND_BUFFER_BYTES = 512 * 1024  # Linux grants what net.core.wmem_max allows of it
_LENGTH = struct.Struct("<I")
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_ENVELOPE = re.compile(rb'\{"kind":"([A-Za-z]{1,40})","record":')
_BACKLOG = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Received:
    """A message: its record, its blob, and descriptors that the receiver owns and has to close."""

    record: object
    blob: bytes = field(repr=False)  # may be a key
    descriptors: tuple[int, ...]


class Channel:
    """The worker's end: blocking, each call bounded. Threads: any may send, one receives."""

    def __init__(self, sock: socket.socket, records: tuple[type[object], ...] = CHANNEL_RECORDS) -> None:
        self._packets = _Packets(sock, records)

    def fileno(self) -> int:
        """Return the descriptor, to be polled for hang-up."""
        return self._packets.sock.fileno()

    def send(
        self,
        record: object,
        *,
        blob: bytes = b"",
        descriptors: Sequence[int] = (),
        timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        """Send a message; the descriptors stay open here.

        Raises:
            ChannelClosedError: The other side is gone, or has not read for `timeout_s`.
            RecordError: Too long, too many descriptors, or not one of the channel's records.
        """
        packet = self._packets.pack(record, blob, descriptors)
        while not self._packets.try_send(packet, descriptors):
            if not _wait(self.fileno(), select.POLLOUT, timeout_s):
                raise ChannelClosedError(f"the other side has not read for {timeout_s:g} s")

    def receive(self, timeout_s: float) -> Received | None:
        """Return the next message, or None when none came in `timeout_s`.

        Raises:
            ChannelClosedError: The other side is gone.
            RecordError: The message is none of ours; its descriptors have been closed.
        """
        received = self._packets.try_receive()
        if received is None and _wait(self.fileno(), select.POLLIN, timeout_s):
            received = self._packets.try_receive()
        return received

    def close(self) -> None:
        """Close; the other side sees the end."""
        self._packets.sock.close()


class AsyncChannel:
    """The supervisor's end: waits on the event loop. Any task may send, one receives. Thread: the loop's."""

    def __init__(self, sock: socket.socket, records: tuple[type[object], ...] = CHANNEL_RECORDS) -> None:
        self._packets = _Packets(sock, records)
        self._waiters: set[asyncio.Future[None]] = set()
        self._sending = asyncio.Lock()

    async def send(
        self,
        record: object,
        *,
        blob: bytes = b"",
        descriptors: Sequence[int] = (),
        timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        """Send a message, in the order of the calls; errors as `Channel.send`."""
        packet = self._packets.pack(record, blob, descriptors)
        try:
            async with timeout(timeout_s), self._sending:
                while not self._packets.try_send(packet, descriptors):
                    await self._until_ready(is_write=True)
        except TimeoutErrors:
            raise ChannelClosedError(f"the other side has not read for {timeout_s:g} s") from None

    async def receive(self) -> Received:
        """Return the next message; waits for ever, until `close`. Errors as `Channel.receive`."""
        while True:
            received = self._packets.try_receive()
            if received is not None:
                return received
            await self._until_ready(is_write=False)

    def close(self) -> None:
        """Close; whoever waits here gets ChannelClosedError, and the other side sees the end."""
        if self._packets.sock.fileno() < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._packets.sock)
        loop.remove_writer(self._packets.sock)
        self._packets.sock.close()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(ChannelClosedError("the channel is closed"))

    async def _until_ready(self, *, is_write: bool) -> None:
        loop, sock = asyncio.get_running_loop(), self._packets.sock
        ready: asyncio.Future[None] = loop.create_future()
        self._waiters.add(ready)
        add, remove = (
            (loop.add_writer, loop.remove_writer) if is_write else (loop.add_reader, loop.remove_reader)
        )
        add(sock, _resolve, ready)
        try:
            await ready
        finally:
            self._waiters.discard(ready)
            if sock.fileno() >= 0:
                remove(sock)


class ChannelListener:
    """Accept workers of our own user on the event loop; made by `listen_channels`."""

    def __init__(
        self,
        sock: socket.socket,
        on_channel: Callable[[AsyncChannel, int], None],
        records: tuple[type[object], ...],
    ) -> None:
        self._sock, self._on_channel, self._records = sock, on_channel, records
        self.n_refused = 0
        asyncio.get_running_loop().add_reader(sock, self._accept)

    def close(self) -> None:
        """Accept nobody any more; open channels stay. The file stays too: the next listener replaces it."""
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()

    def _accept(self) -> None:
        try:
            peer, _ = self._sock.accept()
        except OSError:  # gone again before it was accepted
            return
        pid, uid = peer_credentials(peer)
        if uid != os.geteuid():
            self.n_refused += 1
            peer.close()
            return
        self._on_channel(AsyncChannel(peer, self._records), pid)


async def listen_channels(
    path: Path,
    on_channel: Callable[[AsyncChannel, int], None],
    *,
    records: tuple[type[object], ...] = CHANNEL_RECORDS,
) -> ChannelListener:
    """Listen on a socket file (mode 0600) in a folder of our own (mode 0700).

    Args:
        path: The socket file; a stale one is replaced.
        on_channel: Called on the loop with each worker's channel and its pid, as the kernel vouches for it.
        records: The kinds that may come in.

    Raises:
        UsageError: Somebody listens there already, the path is too long, or others can enter the folder.
    """
    sock = await asyncio.to_thread(_bind, path)
    return ChannelListener(sock, on_channel, records)


def connect_channel(path: Path, *, records: tuple[type[object], ...] = CHANNEL_RECORDS) -> Channel:
    """Connect a worker to its supervisor; ChannelClosedError when nobody of our user listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(str(path))
    except OSError as err:
        sock.close()
        raise ChannelClosedError(f"no supervisor at {path}: {err.strerror or err}") from err
    if peer_credentials(sock)[1] != os.geteuid():
        sock.close()
        raise ChannelClosedError(f"{path} is another user's")
    return Channel(sock, records)


def peer_credentials(sock: socket.socket) -> tuple[int, int]:
    """Return the pid and the uid that the kernel noted when the peer connected or made the pair."""
    pid, uid, _ = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return pid, uid


class _Packets:
    """Pack, send, receive and parse single packets without waiting; what both kinds of channel share."""

    def __init__(self, sock: socket.socket, records: tuple[type[object], ...]) -> None:
        self.sock = sock
        self._kinds = {kind.__name__: kind for kind in records}
        self._buffer = bytearray(CHANNEL_LIMIT_BYTES + 1)  # one more, to see what is too long
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def pack(self, record: object, blob: bytes, descriptors: Sequence[int]) -> list[bytes]:
        kind = type(record).__name__
        if self._kinds.get(kind) is not type(record):
            raise RecordError(f"{kind} is not a record of this channel")
        if len(descriptors) > DESCRIPTOR_LIMIT:
            raise RecordError(f"{kind}: {len(descriptors)} descriptors, {DESCRIPTOR_LIMIT} allowed")
        document = b'{"kind":"%s","record":%s}' % (kind.encode(), dump_record(record))
        length_bytes = _LENGTH.size + len(document) + len(blob)
        if length_bytes > CHANNEL_LIMIT_BYTES:
            raise RecordError(f"{kind}: {length_bytes} bytes, {CHANNEL_LIMIT_BYTES} allowed")
        return [_LENGTH.pack(len(document)), document, blob]

    def try_send(self, packet: Sequence[bytes], descriptors: Sequence[int]) -> bool:
        try:
            socket.send_fds(self.sock, packet, list(descriptors), socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError as err:
            raise ChannelClosedError(f"the other side is gone: {err.strerror}") from err
        return True

    def try_receive(self) -> Received | None:
        """Return a message, None when none is there; `_buffer` holds nothing of it afterwards."""
        space = socket.CMSG_SPACE(DESCRIPTOR_LIMIT * _LENGTH.size)
        try:
            length_bytes, ancillary, flags, _ = self.sock.recvmsg_into(
                [self._buffer], space, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        except OSError as err:
            raise ChannelClosedError(f"the other side is gone: {err.strerror}") from err
        descriptors = _descriptors_in(ancillary)
        try:
            if length_bytes == 0:
                raise ChannelClosedError("the other side closed the channel")
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or length_bytes > CHANNEL_LIMIT_BYTES:
                raise RecordError("channel: the message is too long or has too many descriptors")
            record, blob = self._parse(memoryview(self._buffer)[:length_bytes])
        except (ChannelClosedError, RecordError):
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        finally:
            self._buffer[:length_bytes] = bytes(length_bytes)  # a key may have come by
        return Received(record=record, blob=blob, descriptors=descriptors)

    def _parse(self, packet: memoryview) -> tuple[object, bytes]:
        if len(packet) < _LENGTH.size:
            raise RecordError("channel: shorter than its length field")
        (n_document,) = _LENGTH.unpack_from(packet)
        if n_document > len(packet) - _LENGTH.size:
            raise RecordError("channel: its record is longer than the message")
        document = bytes(packet[_LENGTH.size : _LENGTH.size + n_document])
        envelope = _ENVELOPE.match(document)
        kind = self._kinds.get(envelope.group(1).decode()) if envelope else None
        if envelope is None or kind is None or not document.endswith(b"}"):
            raise RecordError("channel: not a record of this channel")
        record = parse_record(kind, document[envelope.end() : -1], limit_bytes=CHANNEL_LIMIT_BYTES)
        return record, bytes(packet[_LENGTH.size + n_document :])


def _descriptors_in(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[int, ...]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return tuple(found)


def _bind(path: Path) -> socket.socket:
    _make_own_folder(path.parent)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _remove_stale(path)
        sock.bind(str(path))  # nobody else can reach into the folder before the mode is set
        path.chmod(0o600)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as err:
        sock.close()
        raise UsageError(f"cannot listen at {path}: {err.strerror or err}") from err
    except UsageError:
        sock.close()
        raise
    return sock


def _make_own_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            # Not mended here: the folder may be one, like /tmp, that others need open.
            raise UsageError(f"{folder} has to be ours alone: chmod 700, or name another folder")
    except OSError as err:
        raise UsageError(f"cannot make {folder}: {err.strerror}") from err


def _remove_stale(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"{path} is there already and is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise UsageError(f"another appliance is running at {path}")
        path.unlink()


def _wait(descriptor: int, event: int, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, event)
    return bool(poller.poll(max(0.0, timeout_s) * 1000))


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
