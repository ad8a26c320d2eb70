"""What ends a capture process whose decoder hangs or whose camera gives no more pictures."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from contextlib import suppress
from typing import NoReturn

from appliance.errors import ApplianceError, CameraError, CameraLostError, CameraStalledError
from appliance.ports import Clock
from appliance.records.channel import CaptureEnded, WorkerStop
from drivers.channel import Channel
from drivers.ring import RingWriter

EXIT_CLOSED = 4
"""The exit code when channel or ring closed; 0 is the end of the stream or a stop, 3 an expected failure."""
FIRST_FRAME_S = 5.0
"""How long a camera may take to its first frame: the handshake, and the wait for a whole picture."""
SHORTEST_STALL_S = 0.5
LONGEST_STALL_S = 1.0
STALL_INTERVALS = 3
FILE_STALL_S = 5.0
"""A file keeps its own pace, however slow: only a decoder that hangs is a stall."""
ENDING_S = 5.0
"""How long closing the camera may take, and the reader with the last frames."""
LONGEST_LOOK_AWAY_S = 0.1
"""The watching thread is not woken by a frame: it looks again, because the first one shortens the limit."""
STOP_GRACE_S = 1.0
LAST_WORDS_S = 0.1


class Progress:
    """What the decoder got done, and whether it is overdue. Threads: main notes, the watching one asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self.is_live, self._is_over = clock, False, False
        self._last_s = clock.monotonic_s()
        self._interval_s = 0.0
        self.n_frames = 0

    def begin(self, *, is_live: bool) -> None:
        """Expect the first frame from now on."""
        self.is_live, self._last_s = is_live, self._clock.monotonic_s()

    def note_frame(self, captured_s: float) -> None:
        """Note a frame, committed or not."""
        if self.n_frames:
            self._interval_s += (captured_s - self._last_s - self._interval_s) / 8
        self._last_s = captured_s
        self.n_frames += 1

    def note_turn(self) -> None:
        """Note that reading returned: of a file it is enough that its decoder does not hang."""
        if not self.is_live:
            self._last_s = self._clock.monotonic_s()

    def end(self) -> None:
        """Expect no more frames, but that the process ends soon."""
        self._is_over, self._last_s = True, self._clock.monotonic_s()

    def left_s(self) -> float:
        """Return how long the next sign of life may take; negative when it is overdue."""
        return self._last_s + self._limit_s() - self._clock.monotonic_s()

    def complaint(self) -> CameraError:
        """Return what it is called when the next sign of life is overdue."""
        if self._is_over:
            return CameraStalledError(f"the camera was not closed within {ENDING_S:g} s")
        if self.n_frames == 0 and self.is_live:
            return CameraLostError(f"no picture within {FIRST_FRAME_S:g} s")
        return CameraStalledError(f"no picture for {self._limit_s():.2f} s after {self.n_frames}")

    def _limit_s(self) -> float:
        if self._is_over:
            return ENDING_S
        if not self.is_live:
            return FILE_STALL_S
        if self.n_frames == 0:
            return FIRST_FRAME_S
        return min(LONGEST_STALL_S, max(SHORTEST_STALL_S, STALL_INTERVALS * self._interval_s))


class Watch:
    """Notice, beside a decoder that may hang, that the process has to end. A daemon thread of its own.

    `stop` is set by WorkerStop and SIGTERM; if the process is still there a second later it is ended.
    When a frame is overdue it is ended at once, after saying so. When channel or ring close it is ended at
    once: nobody is left to hear why.
    """

    def __init__(self, channel: Channel, ring_fd: int, writer: RingWriter, clock: Clock) -> None:
        self.stop = threading.Event()
        self.progress = Progress(clock)
        self.exit_code = EXIT_CLOSED  # what to end with when the supervisor closes the channel
        self._channel, self._writer, self._clock = channel, writer, clock
        self._stop_by_s: float | None = None
        self._ring_fd = os.dup(ring_fd)  # the writer closes its own while this thread still polls
        # Python runs a signal's handler between two bytecodes of the main thread: not while a decoder hangs.
        self._signal_end, self._wakeup_end = socket.socketpair()
        self._wakeup_end.setblocking(False)

    def start(self) -> None:
        """Take SIGTERM and SIGINT, and watch. Thread: main."""
        signal.set_wakeup_fd(self._wakeup_end.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _take_note)
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def _watch(self) -> None:
        poller = select.poll()
        poller.register(self._channel.fileno(), select.POLLIN)
        poller.register(self._ring_fd, 0)  # hang-up is always told
        poller.register(self._signal_end.fileno(), select.POLLIN)
        while True:
            events = dict(poller.poll(min(max(0.0, self._left_s()), LONGEST_LOOK_AWAY_S) * 1000))
            if self._ring_fd in events or (self._channel.fileno() in events and self._is_closed()):
                os._exit(self.exit_code)
            if self._signal_end.fileno() in events:
                self.stop.set()
                poller.unregister(self._signal_end.fileno())
            if self._left_s() <= 0:
                self._end_overdue()

    def _left_s(self) -> float:
        if not self.stop.is_set():
            return self.progress.left_s()
        now_s = self._clock.monotonic_s()
        if self._stop_by_s is None:
            self._stop_by_s = now_s + STOP_GRACE_S
        return self._stop_by_s - now_s

    def _end_overdue(self) -> NoReturn:
        self._writer.abandon()
        if self.stop.is_set():
            os._exit(0)
        why = self.progress.complaint()
        ended = CaptureEnded(
            is_end_of_stream=False, code=why.code, message=str(why), n_frames=self.progress.n_frames
        )
        with suppress(ApplianceError):
            self._channel.send(ended, timeout_s=LAST_WORDS_S)
        os._exit(ApplianceError.exit_code)

    def _is_closed(self) -> bool:
        try:
            received = self._channel.receive(0.0)
        except ApplianceError:  # closed, or no supervisor of ours
            return True
        if received is not None and isinstance(received.record, WorkerStop):
            self.stop.set()
        return False


def _take_note(_number: int, _frame: object) -> None:
    """Let the wake-up descriptor tell the watching thread; without a handler the signal would kill."""
