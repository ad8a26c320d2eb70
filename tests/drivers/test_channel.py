"""Records, blobs and descriptors over a real socket pair and a real listener."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.compat import timeout
from appliance.errors import ChannelClosedError, RecordError, UsageError
from appliance.records.alerts import SealedKey
from appliance.records.channel import WorkerHello, WorkerStop
from appliance.records.ids import CameraId
from drivers.channel import (
    CHANNEL_LIMIT_BYTES,
    DESCRIPTOR_LIMIT,
    AsyncChannel,
    Channel,
    connect_channel,
    listen_channels,
)

HELLO = WorkerHello(role="capture", camera_id=CameraId("entrance"), version="1")
STOP = WorkerStop(reason="test")
Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = (Channel(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, Channel]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(right)
    yield left, channel
    left.close()
    channel.close()


def packet(document: bytes, blob: bytes = b"") -> bytes:
    return struct.pack("<I", len(document)) + document + blob


def n_open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_record_and_blob_arrive_as_sent(pair: Pair) -> None:
    blob = bytes(range(256)) * 600
    pair[0].send(HELLO, blob=blob)
    received = pair[1].receive(1.0)
    assert received is not None
    assert received.record == HELLO
    assert received.blob == blob
    assert received.descriptors == ()


def test_messages_keep_their_order_and_their_borders(pair: Pair) -> None:
    for number in range(50):
        pair[0].send(WorkerStop(reason=str(number)), blob=b"x" * number)
    for number in range(50):
        received = pair[1].receive(1.0)
        assert received is not None
        assert received.record == WorkerStop(reason=str(number))
        assert len(received.blob) == number


def test_descriptor_arrives_open_and_is_not_inherited(pair: Pair) -> None:
    reading, writing = os.pipe()
    pair[0].send(HELLO, descriptors=[writing])
    os.close(writing)
    received = pair[1].receive(1.0)
    assert received is not None
    (passed,) = received.descriptors
    assert not os.get_inheritable(passed)
    os.write(passed, b"through")
    assert os.read(reading, 16) == b"through"
    os.close(passed)
    os.close(reading)


def test_200_messages_with_descriptors_leak_none(pair: Pair) -> None:
    reading, writing = os.pipe()
    before = n_open_descriptors()
    for _ in range(200):
        pair[0].send(HELLO, descriptors=[reading, writing])
        received = pair[1].receive(1.0)
        assert received is not None
        for descriptor in received.descriptors:
            os.close(descriptor)
    assert n_open_descriptors() == before
    os.close(reading)
    os.close(writing)


def test_refused_messages_leak_no_descriptor(raw: tuple[socket.socket, Channel]) -> None:
    sock, channel = raw
    before = n_open_descriptors()
    for _ in range(20):
        socket.send_fds(sock, [packet(b"garbage")], [0, 1])
        with pytest.raises(RecordError):
            channel.receive(1.0)
    assert n_open_descriptors() == before


def test_more_descriptors_than_allowed_are_refused_and_closed(raw: tuple[socket.socket, Channel]) -> None:
    sock, channel = raw
    before = n_open_descriptors()
    document = b'{"kind":"WorkerStop","record":{"reason":"x"}}'
    socket.send_fds(sock, [packet(document)], [0] * (DESCRIPTOR_LIMIT + 4))
    with pytest.raises(RecordError, match="too many descriptors"):
        channel.receive(1.0)
    assert n_open_descriptors() == before


@pytest.mark.parametrize(
    "message",
    [
        b"\x00",
        b"\xff\xff\xff\xff{}",
        packet(b""),
        packet(b"garbage"),
        packet(b"\xff\xfe\x00"),
        packet(b'{"kind":"WorkerStop"}'),
        packet(b'{"kind":"Unheard","record":{"reason":"x"}}'),
        packet(b'{"kind":"WorkerStop","record":{"reason":"x"}'),
        packet(b'{"kind":"WorkerStop","record":{"reason":1}}'),
        packet(b'{"kind":"WorkerStop","record":{"reason":"x","more":1}}'),
        packet(b'{"kind":"WorkerStop","record":{"reason":"x"},"record":{}}'),
        packet(b'{"kind":"WorkerStop","record":' + b"[" * 100_000 + b"}"),
        packet(b'{"kind":"WorkerStop","record":{"reason":"x"}}').replace(b"\x2d", b"\x2c", 1),
        packet(b'{"kind":"WorkerStop","record":{"reason":"x"}}').replace(b"\x2d", b"\x2e", 1),
        packet(b'{"kind":"WorkerStop","record":{"reason":"x"}]'),
    ],
)
def test_garbage_is_refused_and_the_next_message_is_read(
    raw: tuple[socket.socket, Channel], message: bytes
) -> None:
    sock, channel = raw
    sock.send(message)
    with pytest.raises(RecordError):
        channel.receive(1.0)
    sock.send(packet(b'{"kind":"WorkerStop","record":{"reason":"x"}}'))
    received = channel.receive(1.0)
    assert received is not None
    assert received.record == WorkerStop(reason="x")


def test_message_above_the_limit_is_refused_on_both_sides(raw: tuple[socket.socket, Channel]) -> None:
    sock, channel = raw
    with pytest.raises(RecordError, match="allowed"):
        channel.send(STOP, blob=bytes(CHANNEL_LIMIT_BYTES))
    document = b'{"kind":"WorkerStop","record":{"reason":"x"}}'
    n_fits = CHANNEL_LIMIT_BYTES - len(packet(document))
    sock.send(packet(document, bytes(n_fits)))
    received = channel.receive(1.0)
    assert received is not None
    assert len(received.blob) == n_fits
    sock.send(packet(document, bytes(n_fits + 1)))
    with pytest.raises(RecordError, match="too long"):
        channel.receive(1.0)


def test_record_of_another_channel_is_not_sent(pair: Pair) -> None:
    with pytest.raises(RecordError, match="SealedKey"):
        pair[0].send(SealedKey(handset_id="h", sealed_key_base64=""))  # type: ignore[arg-type]  # an id


def test_silence_is_none_and_the_end_is_an_error(pair: Pair) -> None:
    assert pair[1].receive(0.0) is None
    pair[0].send(STOP)
    pair[0].close()
    assert pair[1].receive(0.0) is not None
    with pytest.raises(ChannelClosedError):
        pair[1].receive(0.0)
    with pytest.raises(ChannelClosedError):
        pair[1].send(STOP)


def test_peer_that_does_not_read_ends_the_send(pair: Pair) -> None:
    with pytest.raises(ChannelClosedError, match="has not read"):
        for _ in range(100):
            pair[0].send(STOP, blob=bytes(100_000), timeout_s=0.05)


def test_nothing_of_a_message_stays_in_the_buffer(pair: Pair) -> None:
    pair[0].send(STOP, blob=b"secret" * 100)
    assert pair[1].receive(1.0) is not None
    assert not any(pair[1]._packets._buffer)


async def test_worker_and_supervisor_talk_both_ways(tmp_path: Path) -> None:
    arrived: asyncio.Queue[tuple[AsyncChannel, int]] = asyncio.Queue(maxsize=4)
    path = tmp_path / "run" / "workers.sock"
    listener = await listen_channels(path, lambda channel, pid: arrived.put_nowait((channel, pid)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    worker = await asyncio.to_thread(connect_channel, path)
    async with timeout(2.0):
        supervisor, pid = await arrived.get()
        assert pid == os.getpid()
        worker.send(HELLO, blob=b"blob")
        received = await supervisor.receive()
        assert (received.record, received.blob) == (HELLO, b"blob")
        await supervisor.send(STOP, descriptors=[0])
    answer = worker.receive(1.0)
    assert answer is not None
    assert answer.record == STOP
    os.close(answer.descriptors[0])
    worker.close()
    async with timeout(2.0):
        with pytest.raises(ChannelClosedError):
            await supervisor.receive()
    supervisor.close()
    listener.close()


async def test_async_send_waits_for_a_slow_reader_and_then_gives_up() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor, worker = AsyncChannel(left), Channel(right)
    sending = asyncio.gather(*(supervisor.send(STOP, blob=bytes(150_000)) for _ in range(8)))
    n_received = 0
    async with timeout(5.0):
        while n_received < 8:
            await asyncio.sleep(0)
            n_received += worker.receive(0.0) is not None
        await sending
    with pytest.raises(ChannelClosedError, match="has not read"):
        for _ in range(10):
            await supervisor.send(STOP, blob=bytes(150_000), timeout_s=0.05)
    supervisor.close()
    worker.close()


async def test_close_wakes_who_waits() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor = AsyncChannel(left)
    waiting = asyncio.ensure_future(supervisor.receive())
    await asyncio.sleep(0)
    supervisor.close()
    async with timeout(1.0):
        with pytest.raises(ChannelClosedError):
            await waiting
    with pytest.raises(ChannelClosedError):
        await supervisor.receive()
    supervisor.close()
    right.close()


async def test_peer_of_another_user_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: list[int] = []
    path = tmp_path / "workers.sock"
    listener = await listen_channels(path, lambda _, pid: arrived.append(pid))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)  # now the peer is somebody else
    with pytest.raises(ChannelClosedError, match="another user"):
        await asyncio.to_thread(connect_channel, path)
    async with timeout(2.0):
        while listener.n_refused < 1:
            await asyncio.sleep(0)
    assert arrived == []
    listener.close()


async def test_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "workers.sock"
    first = await listen_channels(path, lambda channel, _: channel.close())
    with pytest.raises(UsageError, match="another appliance"):
        await listen_channels(path, lambda channel, _: channel.close())
    first.close()
    second = await listen_channels(path, lambda channel, _: channel.close())
    second.close()


async def test_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    with pytest.raises(UsageError, match="chmod 700"):
        await listen_channels(folder / "workers.sock", lambda channel, _: channel.close())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


async def test_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "workers.sock"
    path.write_text("precious")
    with pytest.raises(UsageError, match="not a socket"):
        await listen_channels(path, lambda channel, _: channel.close())
    assert path.read_text() == "precious"


def test_nobody_listening_is_a_closed_channel(tmp_path: Path) -> None:
    with pytest.raises(ChannelClosedError, match="no supervisor"):
        connect_channel(tmp_path / "none.sock")
