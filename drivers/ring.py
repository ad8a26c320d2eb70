"""The shared frame ring: a sealed memfd of slots, passed by descriptor, and a socket that says whose slot is.

No atomics: a slot belongs to the writer until its `filled` message and to the reader until its `free` one,
and the system calls are the barriers. The end of the socket says that the other side died. The writer
decodes hostile input, so the reader believes nothing that it says without checking.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt

from appliance.errors import ChannelClosedError, ProcessSettingsError, RecordError
from appliance.records.frames import Frame, FrameStamp, PictureSize
from appliance.records.ids import CameraId

LARGEST_RING_SLOTS = 64
LARGEST_SIDE_PX = 16_384
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FILLED = struct.Struct("<IIIQqd")  # slot, width, height, frame number, captured in us since 1970, monotonic
_FREE = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slot:
    """A slot that the writer owns; `buffer` is its whole room, flat uint8."""

    index: int
    buffer: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RingFrame:
    """A frame that the reader owns until `release`; `frame.pixels` is a writable view of its slot."""

    frame: Frame
    slot_index: int


class RingHandle:
    """The supervisor's hold on a ring: it passes the ends on, zeroes the ring, and sees no picture.

    `close_ends` once both ends have been passed on: while the supervisor keeps a copy of an end, the other
    side cannot notice that its peer died.
    """

    def __init__(self, n_slots: int, slot_bytes: int) -> None:
        self.n_slots, self.slot_bytes = n_slots, slot_bytes
        size_bytes = _ring_bytes(n_slots, slot_bytes)
        self.fd = os.memfd_create("ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size_bytes)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        self.writer_end, self.reader_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def zero(self) -> None:
        """Zero the whole ring, when either side died; about 6 ms for 11 MB: not on the event loop."""
        ring = _Mapping(self.fd, self.n_slots, self.slot_bytes, is_locked=False)
        ring.clear()
        ring.close()

    def close_ends(self) -> None:
        """Close our copies of both ends."""
        self.writer_end.close()
        self.reader_end.close()

    def close(self) -> None:
        """Zero the ring and let go of it."""
        if self.fd >= 0:
            self.zero()
            os.close(self.fd)
            self.fd = -1
        self.close_ends()


class RingWriter:
    """The capture process's side. Thread: one.

    Args:
        fd: The ring; stays the caller's.
        sock: The writer's end; becomes the writer's.
        n_slots: As the ring was made.
        slot_bytes: As the ring was made.

    Raises:
        RecordError: The descriptor is no sealed ring of that size.
    """

    def __init__(self, fd: int, sock: socket.socket, n_slots: int, slot_bytes: int) -> None:
        self._ring = _Mapping(fd, n_slots, slot_bytes)
        self._sock = sock
        self._free = list(range(n_slots))
        self._with_reader: set[int] = set()
        self._slot: Slot | None = None
        self.n_no_slot = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return a line when the ring is not locked in memory."""
        return self._ring.warnings

    def next_slot(self) -> Slot | None:
        """Return the slot to fill next; None, counted in `n_no_slot`, when the reader has them all.

        The same slot comes again until it is committed.

        Raises:
            ChannelClosedError: The reader is gone.
            RecordError: The reader freed what it did not have.
        """
        self._take_back()
        if self._slot is None and self._free:
            index = self._free.pop(0)
            self._slot = Slot(index=index, buffer=self._ring.slot(index))
        if self._slot is None:
            self.n_no_slot += 1
        return self._slot

    def commit(self, slot: Slot, stamp: FrameStamp, size: PictureSize) -> None:
        """Hand a filled slot to the reader; ChannelClosedError when it is gone."""
        if self._slot is None or slot.index != self._slot.index:
            raise ValueError(f"slot {slot.index} is not the writer's to commit")
        captured_us = (stamp.captured_at - _EPOCH) // timedelta(microseconds=1)
        message = _FILLED.pack(
            slot.index,
            size.width_px,
            size.height_px,
            stamp.frame_number,
            captured_us,
            stamp.captured_monotonic_s,
        )
        self._slot = None
        self._with_reader.add(slot.index)
        _send(self._sock, message)

    def wait_for_free(self, timeout_s: float) -> bool:
        """Wait until a slot is free and say whether one is: for files that play as fast as they decode."""
        self._take_back()
        if self._slot is None and not self._free:
            _wait(self._sock, timeout_s)
            self._take_back()
        return self._slot is not None or bool(self._free)

    def drain(self, timeout_s: float) -> bool:
        """Wait until the reader has given every slot back, and say so; each wait is at most `timeout_s`."""
        while self._with_reader and _wait(self._sock, timeout_s):
            self._take_back()
        return not self._with_reader

    def abandon(self) -> None:
        """Zero a slot that was not committed, whatever is being written into it; the process ends next.

        Thread: any, for when the writer's own hangs.
        """
        slot = self._slot
        if slot is not None:
            slot.buffer.fill(0)

    def close(self) -> None:
        """Zero a slot that was not committed, and say to the reader that no more comes."""
        if self._slot is not None:
            self._slot.buffer.fill(0)
            self._slot = None
        self._ring.close()
        self._sock.close()

    def _take_back(self) -> None:
        while (message := _receive(self._sock)) is not None:
            index = _FREE.unpack(message)[0] if len(message) == _FREE.size else -1
            if index not in self._with_reader:
                raise RecordError("ring: the reader freed a slot that it did not have")
            self._with_reader.discard(index)
            self._free.append(index)


class RingReader:
    """The vision worker's side. Threads: one receives; any may release.

    An intake thread receives promptly into appliance.flow.LatestSlot, whose `on_drop` is `release`: so the
    newest frame wins, and the writer always finds a slot.

    Args:
        fd: The ring; stays the caller's.
        sock: The reader's end; becomes the reader's.
        n_slots: As the ring was made.
        slot_bytes: As the ring was made.
        camera_id: Whose pictures they are; the writer is not asked.

    Raises:
        RecordError: The descriptor is no sealed ring of that size.
    """

    def __init__(
        self, fd: int, sock: socket.socket, n_slots: int, slot_bytes: int, camera_id: CameraId
    ) -> None:
        self._ring = _Mapping(fd, n_slots, slot_bytes)
        self._sock = sock
        self._n_slots, self._slot_bytes, self._camera_id = n_slots, slot_bytes, camera_id
        self._held: dict[int, int] = {}
        self._lock = threading.Lock()
        self._is_retired = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return a line when the ring is not locked in memory."""
        return self._ring.warnings

    def receive(self, timeout_s: float) -> RingFrame | None:
        """Return the next frame in order, or None when none came in `timeout_s`.

        Raises:
            ChannelClosedError: The writer is gone, and all that it committed has been received.
            RecordError: The writer lies about a slot, a size or a time: give up this ring.
        """
        message = _receive(self._sock)
        if message is None and _wait(self._sock, timeout_s):
            message = _receive(self._sock)
        if message is None:
            return None
        if len(message) != _FILLED.size:
            raise RecordError("ring: not a message of the writer's")
        index, width_px, height_px, frame_number, captured_us, monotonic_s = _FILLED.unpack(message)
        length_bytes = self._checked_length(index, width_px, height_px)
        stamp = self._stamp(frame_number, captured_us, monotonic_s)
        with self._lock:
            if index in self._held:
                raise RecordError(f"ring: slot {index} was filled while the reader had it")
            self._held[index] = length_bytes
        pixels = self._ring.slot(index)[:length_bytes].reshape(height_px, width_px, 3)
        return RingFrame(frame=Frame(stamp=stamp, pixels=pixels), slot_index=index)

    def release(self, frame: RingFrame) -> None:
        """Zero the slot's used bytes and hand it back; `frame.pixels` is not to be used any more.

        A writer that is gone does not matter here: `receive` says so. Releasing twice is a bug (ValueError).
        """
        with self._lock:
            length_bytes = self._held.get(frame.slot_index)
            if length_bytes is None:
                raise ValueError(f"slot {frame.slot_index} is not the reader's to release")
            self._ring.slot(frame.slot_index)[:length_bytes] = 0
            del self._held[frame.slot_index]
            is_last = self._is_retired and not self._held
        with suppress(ChannelClosedError):
            _send(self._sock, _FREE.pack(frame.slot_index))
        if is_last:
            self.close()

    def retire(self) -> None:
        """Receive no more, and close as soon as the last held frame has been released."""
        with self._lock:
            self._is_retired = True
            is_last = not self._held
        if is_last:
            self.close()

    def close(self) -> None:
        """Zero what is held and say to the writer that nobody reads any more."""
        with self._lock:
            for index, length_bytes in self._held.items():
                self._ring.slot(index)[:length_bytes] = 0
            self._held.clear()
        self._ring.close()
        self._sock.close()

    def _checked_length(self, index: int, width_px: int, height_px: int) -> int:
        if index >= self._n_slots:
            raise RecordError(f"ring: slot {index} of {self._n_slots}")
        if not (0 < width_px <= LARGEST_SIDE_PX and 0 < height_px <= LARGEST_SIDE_PX):
            raise RecordError(f"ring: a picture of {width_px} x {height_px} px")
        length_bytes: int = width_px * height_px * 3
        if length_bytes > self._slot_bytes:
            raise RecordError(f"ring: {length_bytes} bytes in a slot of {self._slot_bytes}")
        return length_bytes

    def _stamp(self, frame_number: int, captured_us: int, monotonic_s: float) -> FrameStamp:
        try:
            captured_at = _EPOCH + timedelta(microseconds=captured_us)
        except OverflowError:
            raise RecordError("ring: a time out of range") from None
        if not np.isfinite(monotonic_s):
            raise RecordError("ring: a time out of range")
        return FrameStamp(
            camera_id=self._camera_id,
            frame_number=frame_number,
            captured_at=captured_at,
            captured_monotonic_s=monotonic_s,
        )


def create_ring(n_slots: int, slot_bytes: int) -> RingHandle:
    """Make a ring whose size nobody can change.

    Args:
        n_slots: 2..64; four let one be written, one wait and one be looked at.
        slot_bytes: Room for the largest picture, H*W*3; each slot begins on a page.

    Raises:
        ProcessSettingsError: The kernel gives no memfd or no memory.
    """
    if not 2 <= n_slots <= LARGEST_RING_SLOTS or slot_bytes <= 0:
        raise ValueError(f"a ring of {n_slots} slots of {slot_bytes} bytes")
    try:
        return RingHandle(n_slots, slot_bytes)
    except OSError as err:
        raise ProcessSettingsError(f"no memory for a ring of {n_slots} frames: {err.strerror}") from err


class _Mapping:
    """A process's view of the ring: in no dump, in no child, and locked in memory if that is allowed."""

    def __init__(self, fd: int, n_slots: int, slot_bytes: int, *, is_locked: bool = True) -> None:
        self._stride_bytes = _stride_bytes(slot_bytes)
        self._slot_bytes = slot_bytes
        size_bytes = _ring_bytes(n_slots, slot_bytes)
        # Touching a page that another process cut off would be a SIGBUS: size and seals are checked first.
        try:
            found = (os.fstat(fd).st_size, fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS)
        except OSError as err:
            raise RecordError(f"ring: not a sealed memory file: {err.strerror}") from err
        if found != (size_bytes, _SEALS):
            raise RecordError(f"ring: not a sealed memory file of {size_bytes} bytes")
        self._map = mmap.mmap(fd, size_bytes)
        self._map.madvise(mmap.MADV_DONTDUMP)
        self._map.madvise(mmap.MADV_DONTFORK)
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)
        self.warnings = self._lock() if is_locked else ()

    def slot(self, index: int) -> npt.NDArray[np.uint8]:
        start = index * self._stride_bytes
        return self._bytes[start : start + self._slot_bytes]

    def clear(self) -> None:
        self._bytes.fill(0)

    def close(self) -> None:
        """Unmap, or leave that to the last view of a frame when there still is one."""
        self._bytes = np.empty(0, dtype=np.uint8)
        with suppress(BufferError):
            self._map.close()

    def _lock(self) -> tuple[str, ...]:
        libc = ctypes.CDLL(None, use_errno=True)
        address = ctypes.c_void_p(self._bytes.ctypes.data)
        if libc.mlock(address, ctypes.c_size_t(len(self._bytes))) == 0:
            return ()
        return (f"the ring is not locked in memory: {os.strerror(ctypes.get_errno())}",)


def _stride_bytes(slot_bytes: int) -> int:
    return -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


def _ring_bytes(n_slots: int, slot_bytes: int) -> int:
    return n_slots * _stride_bytes(slot_bytes)


def _send(sock: socket.socket, message: bytes) -> None:
    try:
        sock.send(message, socket.MSG_NOSIGNAL)  # a few dozen bytes per slot always fit
    except OSError as err:
        raise ChannelClosedError(f"the ring's other side is gone: {err.strerror}") from err


def _receive(sock: socket.socket) -> bytes | None:
    """Return one message, or None when none is there; what was sent before the end still comes."""
    for _ in range(2):
        try:
            message = sock.recv(256, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            continue  # told once, when the other side left messages unread; ours are still in the queue
        except OSError as err:
            raise ChannelClosedError(f"the ring's other side is gone: {err.strerror}") from err
        if message:
            return message
        break
    raise ChannelClosedError("the ring's other side is gone")


def _wait(sock: socket.socket, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    return bool(poller.poll(max(0.0, timeout_s) * 1000))
