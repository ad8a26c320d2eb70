"""The capture process: one camera, decoded and stamped, into one ring. It reaches nothing else.

    python -s -m appliance.app.capture_process --channel /run/appliance/workers.sock --camera entrance

It ends with its channel, with its ring, on SIGTERM, and at the end of the stream. The main thread decodes;
a second one watches for those ends, because a decoder that hangs must not keep the process alive.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from appliance import __version__
from appliance.errors import (
    ApplianceError,
    ChannelClosedError,
    EndOfStreamError,
    RecordError,
    SourceRefusedError,
)
from appliance.ports import Camera, Clock
from appliance.records.channel import CaptureEnded, CaptureReport, CaptureStart, WorkerHello, WorkerStop
from appliance.records.frames import FrameStamp, PictureSize
from appliance.records.ids import CameraId
from drivers.cameras.factory import open_camera
from drivers.channel import Channel, connect_channel
from drivers.clock import SystemClock
from drivers.process_settings import harden_process
from drivers.ring import RingWriter, Slot

START_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 0.2
REPORT_INTERVAL_S = 1.0
SLOT_TIMEOUT_S = 1.0
"""How long a file at `fast` waits for a slot, and every stream for its last frames to be looked at."""
STOP_GRACE_S = 1.0
STOPPED = "stopped"
"""The code in CaptureEnded when the supervisor or SIGTERM asked for the end."""
EXIT_CLOSED = 4
"""The exit code when channel or ring closed; 0 is the end of the stream or a stop, 3 an expected failure."""

logger = logging.getLogger(__name__)


class CaptureLoop:
    """Read, stamp, commit and report, until the stream ends or `stop` is set. Thread: main.

    Args:
        channel: To the supervisor; only sent to.
        writer: The ring.
        camera: Not opened yet.
        start: What the supervisor asked for.
        clock: Stamps the frames.
        stop: Set by the watching thread.
    """

    def __init__(
        self,
        channel: Channel,
        writer: RingWriter,
        camera: Camera,
        start: CaptureStart,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._channel, self._writer, self._camera = channel, writer, camera
        self._start, self._clock, self._stop = start, clock, stop
        self._size = PictureSize(width_px=0, height_px=0)
        self._first_frame_at: datetime | None = None
        self._opened_s = self._reported_s = clock.monotonic_s()
        self.n_frames = 0
        self.n_frames_skipped = 0

    def run(self) -> CaptureEnded:
        """Return why it ended; ChannelClosedError when the supervisor or the reader is gone."""
        try:
            self._camera.open()
            while not self._stop.is_set():
                self._capture()
                self._report_when_due()
            ended = self._ended(STOPPED, "the supervisor asked for it")
        except ChannelClosedError:
            raise
        except EndOfStreamError as err:
            self._writer.drain(SLOT_TIMEOUT_S)
            ended = self._ended(err.code, str(err), is_end_of_stream=True)
        except ApplianceError as err:
            ended = self._ended(err.code, str(err))
        finally:
            self._camera.close()
        self._report()
        return ended

    def _capture(self) -> None:
        if self._start.rate == "fast":
            self._writer.wait_for_free(SLOT_TIMEOUT_S)
        slot = self._writer.next_slot()
        size = self._camera.read_into(None if slot is None else slot.buffer, READ_TIMEOUT_S)
        if size is None:
            return
        captured_at, captured_s = self._clock.now(), self._clock.monotonic_s()
        self._first_frame_at = self._first_frame_at or captured_at
        self._size = size
        stamp = FrameStamp(
            camera_id=self._start.camera_id,
            frame_number=self.n_frames,
            captured_at=captured_at,
            captured_monotonic_s=captured_s,
        )
        self.n_frames += 1
        self._hand_over(slot, stamp, size)

    def _hand_over(self, slot: Slot | None, stamp: FrameStamp, size: PictureSize) -> None:
        if slot is None:  # the reader is slow: the frame is gone, and its number tells
            self.n_frames_skipped += 1
        else:
            self._writer.commit(slot, stamp, size)

    def _report_when_due(self) -> None:
        if self._clock.monotonic_s() - self._reported_s >= REPORT_INTERVAL_S:
            self._report()

    def _report(self) -> None:
        self._reported_s = self._clock.monotonic_s()
        self._channel.send(
            CaptureReport(
                n_frames=self.n_frames,
                n_frames_skipped=self.n_frames_skipped,
                width_px=self._size.width_px,
                height_px=self._size.height_px,
                first_frame_at=self._first_frame_at,
                oldest_decoder_age_s=self._reported_s - self._opened_s,
            )
        )

    def _ended(self, code: str, message: str, *, is_end_of_stream: bool = False) -> CaptureEnded:
        return CaptureEnded(
            is_end_of_stream=is_end_of_stream, code=code, message=_one_line(message), n_frames=self.n_frames
        )


class Watch:
    """Notice, beside a decoder that may hang, that the process has to end. A daemon thread of its own.

    `stop` is set by WorkerStop and SIGTERM; if the process is still there a second later it is ended.
    When channel or ring close it is ended at once: nobody is left to hear why.
    """

    def __init__(self, channel: Channel, ring_fd: int) -> None:
        self.stop = threading.Event()
        self.exit_code = EXIT_CLOSED  # what to end with when the supervisor closes the channel
        self._channel = channel
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
        grace_ms: float | None = None
        while events := dict(poller.poll(grace_ms)):
            if self._ring_fd in events or (self._channel.fileno() in events and self._is_closed()):
                _end_now(self.exit_code)
            if self._signal_end.fileno() in events:
                self.stop.set()
                poller.unregister(self._signal_end.fileno())
            if self.stop.is_set():
                grace_ms = STOP_GRACE_S * 1000
        _end_now(0)

    def _is_closed(self) -> bool:
        try:
            received = self._channel.receive(0.0)
        except ApplianceError:  # closed, or no supervisor of ours
            return True
        if received is not None and isinstance(received.record, WorkerStop):
            self.stop.set()
        return False


def run_capture(channel: Channel, camera_id: CameraId, clock: Clock) -> int:
    """Be the capture process of one camera and return its exit code. Thread: main.

    Raises:
        ChannelClosedError: The supervisor is gone.
        RecordError: The supervisor did not send what a capture process needs.
    """
    channel.send(WorkerHello(role="capture", camera_id=camera_id, version=__version__))
    start, ring_fd, sock = _take_start(channel, camera_id)
    writer = RingWriter(ring_fd, sock, start.n_slots, start.slot_bytes)
    os.close(ring_fd)
    for warning in writer.warnings:
        logger.warning("%s", warning, extra={"camera_id": camera_id})
    watch = Watch(channel, sock.fileno())
    watch.start()
    try:
        camera = open_camera(start.source, start.rate, clock)
        ended = CaptureLoop(channel, writer, camera, start, clock, watch.stop).run()
    except SourceRefusedError as err:
        ended = CaptureEnded(is_end_of_stream=False, code=err.code, message=_one_line(str(err)), n_frames=0)
    writer.close()
    watch.exit_code = 0 if ended.is_end_of_stream or ended.code == STOPPED else ApplianceError.exit_code
    channel.send(ended)
    return watch.exit_code


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run as a process of its own; it ends without clean-up, and the supervisor zeroes the ring."""
    parser = argparse.ArgumentParser(
        prog="python -s -m appliance.app.capture_process",
        description="Capture one camera into a ring; started by the supervisor or its service unit.",
        epilog="example: python -s -m appliance.app.capture_process "
        "--channel /run/appliance/workers.sock --camera entrance",
    )
    parser.add_argument("--channel", type=Path, required=True, help="the supervisor's socket")
    parser.add_argument("--camera", required=True, help="the camera's id in the configuration")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    for warning in harden_process():
        logger.warning("%s", warning)
    try:
        code = run_capture(connect_channel(chosen.channel), CameraId(chosen.camera), SystemClock())
    except ChannelClosedError as err:
        logger.info("ends: %s", err)
        code = EXIT_CLOSED
    except ApplianceError as err:
        print(f"error[{err.code}]: {_one_line(str(err))}", file=sys.stderr)  # noqa: T201  a command's answer
        code = err.exit_code
    _end_now(code)


def _take_start(channel: Channel, camera_id: CameraId) -> tuple[CaptureStart, int, socket.socket]:
    """Return what to do, the ring's descriptor and the writer's end."""
    received = channel.receive(START_TIMEOUT_S)
    if received is None or isinstance(received.record, WorkerStop):
        raise ChannelClosedError("the supervisor does not want this process")
    start, descriptors = received.record, received.descriptors
    if not isinstance(start, CaptureStart) or start.camera_id != camera_id or len(descriptors) != 2:
        raise RecordError("channel: not the start of this camera, with its ring and its socket")
    try:
        return start, descriptors[0], socket.socket(fileno=descriptors[1])
    except OSError as err:
        raise RecordError(f"channel: the second descriptor is no socket: {err.strerror}") from err


def _one_line(message: str) -> str:
    return re.sub(r"\s+", " ", message)[:500]


def _take_note(_number: int, _frame: object) -> None:
    """Let the wake-up descriptor tell the watching thread; without a handler the signal would kill."""


def _end_now(code: int) -> NoReturn:
    """End without clean-up: what the decoder remembers goes with the process, and nothing can hang."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
