"""The ring between two sides, the writer being real, lying, or killed."""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from appliance.errors import ChannelClosedError, RecordError
from appliance.flow import LatestSlots
from appliance.records.frames import FrameStamp, PictureSize
from appliance.records.ids import CameraId
from drivers.clock import SystemClock
from drivers.ring import RingFrame, RingHandle, RingReader, RingWriter, create_ring

CAMERA = CameraId("entrance")
SIZE = PictureSize(width_px=40, height_px=30)
SLOT_BYTES = 5000  # more than the picture's 3,600, and not a whole page
WHEN = datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=timezone.utc)
FILLED = struct.Struct("<IIIQqd")

WRITER_PROGRAM = """
import os, socket, sys
from datetime import datetime, timezone
from appliance.records.frames import FrameStamp, PictureSize
from drivers.ring import RingWriter
writer = RingWriter(int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), 4, 5000)
slot = writer.next_slot()
slot.buffer[:3600] = 7
stamp = FrameStamp(camera_id="entrance", frame_number=0, captured_monotonic_s=1.0,
                   captured_at=datetime(2026, 11, 20, tzinfo=timezone.utc))
writer.commit(slot, stamp, PictureSize(width_px=40, height_px=30))
writer.next_slot().buffer.fill(9)  # dies in the middle of the next
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass
class Sides:
    """Both sides of a ring in one process."""

    handle: RingHandle
    writer: RingWriter
    reader: RingReader
    n_written: int = 0

    def write(self, value: int) -> bool:
        """Commit a picture of one value; False when no slot was free."""
        slot = self.writer.next_slot()
        if slot is None:
            return False
        slot.buffer[: 40 * 30 * 3] = value
        stamp = FrameStamp(
            camera_id=CAMERA,
            frame_number=self.n_written,
            captured_at=WHEN,
            captured_monotonic_s=self.n_written / 25,
        )
        self.writer.commit(slot, stamp, SIZE)
        self.n_written += 1
        return True

    def read(self) -> RingFrame:
        frame = self.reader.receive(1.0)
        assert frame is not None
        return frame


@pytest.fixture
def handle() -> Iterator[RingHandle]:
    handle = create_ring(4, SLOT_BYTES)
    yield handle
    handle.close()


@pytest.fixture
def sides(handle: RingHandle) -> Iterator[Sides]:
    ends = (socket.socket(fileno=os.dup(end.fileno())) for end in (handle.writer_end, handle.reader_end))
    writer_end, reader_end = ends
    handle.close_ends()
    writer = RingWriter(handle.fd, writer_end, 4, SLOT_BYTES)
    reader = RingReader(handle.fd, reader_end, 4, SLOT_BYTES, CAMERA)
    yield Sides(handle=handle, writer=writer, reader=reader)
    writer.close()
    reader.close()


@pytest.fixture
def liar(handle: RingHandle) -> Iterator[tuple[socket.socket, RingReader]]:
    reader = RingReader(handle.fd, handle.reader_end, 4, SLOT_BYTES, CAMERA)
    yield handle.writer_end, reader
    reader.close()


def ring_bytes(handle: RingHandle) -> bytes:
    with mmap.mmap(handle.fd, 0, access=mmap.ACCESS_READ) as ring:
        return ring[:]


def test_frame_arrives_with_its_stamp_and_size(sides: Sides) -> None:
    sides.write(7)
    frame = sides.read().frame
    assert frame.pixels.shape == (30, 40, 3)
    assert (frame.pixels == 7).all()
    assert frame.stamp == FrameStamp(
        camera_id=CAMERA, frame_number=0, captured_at=WHEN, captured_monotonic_s=0.0
    )


def test_pixels_are_a_writable_view_of_the_ring(sides: Sides) -> None:
    sides.write(7)
    frame = sides.read().frame
    frame.pixels[:] = 99
    assert ring_bytes(sides.handle)[:3600] == bytes([99]) * 3600


def test_slots_begin_on_a_page(sides: Sides) -> None:
    for value in (1, 2):
        sides.write(value)
    addresses = [sides.read().frame.pixels.ctypes.data for _ in range(2)]
    assert [address % mmap.PAGESIZE for address in addresses] == [0, 0]


def test_released_slot_is_all_zero_before_the_writer_gets_it(sides: Sides) -> None:
    for value in range(1, 5):
        assert sides.write(value)
    assert sides.writer.next_slot() is None
    frame = sides.read()
    sides.reader.release(frame)
    slot = sides.writer.next_slot()
    assert slot is not None
    assert not slot.buffer.any()
    assert ring_bytes(sides.handle).count(2) == 3600


def test_no_free_slot_is_counted_and_the_frame_skipped(sides: Sides) -> None:
    assert [sides.write(1) for _ in range(6)] == [True] * 4 + [False] * 2
    assert sides.writer.n_no_slot == 2


def test_uncommitted_slot_comes_again(sides: Sides) -> None:
    first, second = sides.writer.next_slot(), sides.writer.next_slot()
    assert first is second


def test_newest_wins_with_a_slow_taker(sides: Sides) -> None:
    latest: LatestSlots[str, RingFrame] = LatestSlots(sides.reader.release)
    holding, go_on, seen = threading.Event(), threading.Event(), []

    def take_slowly() -> None:
        while (frame := latest.take(1.0)) is not None:
            seen.append(frame.frame.stamp.frame_number)
            holding.set()
            go_on.wait(5.0)
            assert (frame.frame.pixels == frame.frame.stamp.frame_number).all()
            sides.reader.release(frame)

    taker = threading.Thread(target=take_slowly)
    sides.write(0)
    latest.put(CAMERA, sides.read())
    taker.start()
    holding.wait(5.0)
    for value in range(1, 100):  # while the taker looks at number 0
        assert sides.write(value)
        latest.put(CAMERA, sides.read())
    go_on.set()
    while len(seen) < 2:
        holding.wait(0.01)
    latest.close()
    taker.join(5.0)
    assert seen == [0, 99]
    assert latest.n_dropped == 98
    assert sides.writer.drain(1.0)
    assert not any(ring_bytes(sides.handle))


def test_double_release_is_refused(sides: Sides) -> None:
    sides.write(1)
    frame = sides.read()
    sides.reader.release(frame)
    with pytest.raises(ValueError, match="not the reader's"):
        sides.reader.release(frame)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (FILLED.pack(4, 40, 30, 0, 0, 0.0), "slot 4"),
        (FILLED.pack(2**32 - 1, 40, 30, 0, 0, 0.0), "slot 4294967295"),
        (FILLED.pack(0, 0, 30, 0, 0, 0.0), "0 x 30"),
        (FILLED.pack(0, 40, 0, 0, 0, 0.0), "40 x 0"),
        (FILLED.pack(0, 42, 40, 0, 0, 0.0), "5040 bytes"),
        (FILLED.pack(0, 2**31, 2**31, 0, 0, 0.0), "2147483648"),
        (FILLED.pack(0, 1, 2**32 - 1, 0, 0, 0.0), "4294967295"),
        (FILLED.pack(0, 40, 30, 0, 2**62, 0.0), "time"),
        (FILLED.pack(0, 40, 30, 0, 0, float("nan")), "time"),
        (b"garbage", "not a message"),
        (FILLED.pack(0, 40, 30, 0, 0, 0.0) + b"x", "not a message"),
        (bytes(5000), "not a message"),
    ],
)
def test_lying_writer_is_refused(liar: tuple[socket.socket, RingReader], message: bytes, reason: str) -> None:
    sock, reader = liar
    sock.send(message)
    with pytest.raises(RecordError, match=reason):
        reader.receive(1.0)


def test_slot_filled_twice_is_refused(liar: tuple[socket.socket, RingReader]) -> None:
    sock, reader = liar
    for _ in range(2):
        sock.send(FILLED.pack(1, 40, 30, 0, 0, 0.0))
    assert reader.receive(1.0) is not None
    with pytest.raises(RecordError, match="while the reader had it"):
        reader.receive(1.0)


@pytest.mark.parametrize("message", [struct.pack("<I", 0), struct.pack("<I", 77), b"x"])
def test_reader_that_frees_what_it_does_not_have_is_refused(handle: RingHandle, message: bytes) -> None:
    writer = RingWriter(handle.fd, handle.writer_end, 4, SLOT_BYTES)
    handle.reader_end.send(message)
    with pytest.raises(RecordError, match="did not have"):
        writer.next_slot()
    writer.close()


def test_nobody_can_change_the_size(handle: RingHandle) -> None:
    for size_bytes in (4096, 10**6):
        with pytest.raises(PermissionError):
            os.ftruncate(handle.fd, size_bytes)


def test_unsealed_or_small_file_is_no_ring(handle: RingHandle) -> None:
    unsealed = os.memfd_create("fake", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, 4 * 8192)
    with pytest.raises(RecordError, match="not a sealed"):
        RingReader(unsealed, handle.reader_end, 4, SLOT_BYTES, CAMERA)
    with pytest.raises(RecordError, match="not a sealed"):
        RingReader(handle.fd, handle.reader_end, 5, SLOT_BYTES, CAMERA)
    with pytest.raises(RecordError, match="not a sealed"):
        RingReader(handle.reader_end.fileno(), handle.reader_end, 4, SLOT_BYTES, CAMERA)
    os.close(unsealed)


def test_mapping_is_in_no_dump_and_in_no_child(sides: Sides) -> None:
    maps = Path("/proc/self/smaps").read_text(encoding="ascii")
    flags = maps.split("/memfd:ring")[1].split("VmFlags:")[1].splitlines()[0].split()
    assert {"dd", "dc"} <= set(flags)
    assert ("lo" in flags) == (not sides.writer.warnings)


def test_descriptors_are_not_inherited(handle: RingHandle) -> None:
    descriptors = (handle.fd, handle.writer_end.fileno(), handle.reader_end.fileno())
    assert not any(os.get_inheritable(descriptor) for descriptor in descriptors)


def test_committed_frames_are_read_after_a_clean_end(sides: Sides) -> None:
    for value in (1, 2, 3):
        sides.write(value)
    sides.reader.release(sides.read())  # a `free` that the writer leaves unread resets the connection
    sides.writer.close()
    assert [sides.read().frame.pixels[0, 0, 0] for _ in range(2)] == [2, 3]
    with pytest.raises(ChannelClosedError):
        sides.reader.receive(1.0)


def test_slot_that_was_not_committed_is_zeroed_at_the_end(sides: Sides) -> None:
    slot = sides.writer.next_slot()
    assert slot is not None
    slot.buffer.fill(5)
    sides.writer.close()
    assert not any(ring_bytes(sides.handle))


def test_dead_reader_is_seen_by_the_writer(sides: Sides) -> None:
    sides.reader.close()
    with pytest.raises(ChannelClosedError):
        sides.writer.next_slot()
    assert not any(ring_bytes(sides.handle))


def test_silent_writer_is_none(sides: Sides) -> None:
    assert sides.reader.receive(0.0) is None


def test_killed_writer_is_seen_within_a_second_and_the_ring_is_zeroed(handle: RingHandle) -> None:
    reader = RingReader(handle.fd, socket.socket(fileno=os.dup(handle.reader_end.fileno())), 4, 5000, CAMERA)
    descriptors = (handle.fd, handle.writer_end.fileno())
    with subprocess.Popen(
        [sys.executable, "-s", "-c", WRITER_PROGRAM, *map(str, descriptors)],
        pass_fds=descriptors,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        handle.close_ends()
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        held = reader.receive(1.0)
        assert held is not None
        assert (held.frame.pixels == 7).all()
        clock = SystemClock()
        killed_s = clock.monotonic_s()
        process.kill()
        with pytest.raises(ChannelClosedError):
            reader.receive(5.0)
        assert clock.monotonic_s() - killed_s < 1.0
    assert ring_bytes(handle).count(9) == 5000
    handle.zero()
    assert not held.frame.pixels.any()
    assert not any(ring_bytes(handle))
    reader.release(held)  # nobody to tell; harmless
    reader.close()


def test_closed_handle_has_zeroed_the_ring() -> None:
    handle = create_ring(2, SLOT_BYTES)
    copy = os.dup(handle.fd)
    with mmap.mmap(copy, 0) as ring:
        ring[:] = bytes([3]) * len(ring)
        handle.close()
        assert not any(ring[:])
    handle.close()
    os.close(copy)


@pytest.mark.parametrize(("n_slots", "slot_bytes"), [(1, 100), (65, 100), (4, 0), (4, -1)])
def test_ring_of_no_use_is_refused(n_slots: int, slot_bytes: int) -> None:
    with pytest.raises(ValueError, match="a ring of"):
        create_ring(n_slots, slot_bytes)


def test_closed_reader_leaves_a_view_readable_and_zero(sides: Sides) -> None:
    sides.write(5)
    frame = sides.read()
    sides.reader.close()
    assert not np.any(frame.frame.pixels)


def test_reader_can_be_polled_for_hang_up(sides: Sides) -> None:
    poller = select.poll()
    poller.register(sides.reader._sock.fileno(), 0)
    sides.writer.close()
    assert poller.poll(1000)[0][1] & select.POLLHUP


def test_a_retired_reader_lets_go_when_its_last_frame_came_back(sides: Sides) -> None:
    sides.write(7)
    frame = sides.read()
    sides.reader.retire()
    assert frame.frame.pixels.all()  # what is being decided on stays whole
    sides.reader.release(frame)
    with pytest.raises(ChannelClosedError):
        for _ in range(3):  # the slot that came back first, then the end
            sides.writer.next_slot()
