"""The capture process: one camera, decoded and stamped, into one ring. It reaches nothing else.

    python -s -m appliance.app.capture_process --channel /run/appliance/workers.sock --camera entrance

It ends with its channel, with its ring, on SIGTERM, at the end of the stream, and when its camera gives no
more pictures. The main thread decodes; a second one watches for those ends, because a decoder that hangs must
not keep the process alive, with what it remembers of passers-by.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import socket
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from appliance import __version__
from appliance.app.capture_watch import EXIT_CLOSED, Watch
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
from drivers.cameras.address import parse_address
from drivers.cameras.factory import open_camera
from drivers.channel import Channel, connect_channel
from drivers.clock import SystemClock
from drivers.process_settings import harden_process
from drivers.ring import RingWriter, Slot

START_TIMEOUT_S = 120.0  # arming may take its time; the channel's end is seen at once
READ_TIMEOUT_S = 0.2
REPORT_INTERVAL_S = 0.25
SLOT_TIMEOUT_S = 1.0
"""How long a file at `fast` waits for a slot, and every stream for its last frames to be looked at."""
STOPPED = "stopped"
"""The code in CaptureEnded when the supervisor or SIGTERM asked for the end."""

logger = logging.getLogger(__name__)


class CaptureLoop:
    """Read, stamp, commit and report, until the stream ends or `stop` is set. Thread: main.

    Args:
        channel: To the supervisor; only sent to.
        writer: The ring.
        camera: Not opened yet.
        start: What the supervisor asked for.
        clock: Stamps the frames.
        watch: Sets its `stop`, and is told of progress.
    """

    def __init__(
        self,
        channel: Channel,
        writer: RingWriter,
        camera: Camera,
        start: CaptureStart,
        clock: Clock,
        watch: Watch,
    ) -> None:
        self._channel, self._writer, self._camera = channel, writer, camera
        self._start, self._clock, self._watch = start, clock, watch
        self._size = PictureSize(width_px=0, height_px=0)
        self._first_frame_at: datetime | None = None
        self._opened_s = self._reported_s = clock.monotonic_s()
        self.n_frames_skipped = 0

    @property
    def n_frames(self) -> int:
        """Return how many frames were decoded."""
        return self._watch.progress.n_frames

    def run(self) -> CaptureEnded:
        """Return why it ended; ChannelClosedError when the supervisor or the reader is gone."""
        try:
            self._camera.open()
            while not self._watch.stop.is_set():
                self._capture()
                self._watch.progress.note_turn()
                self._report_when_due()
            ended = self._ended(STOPPED, "the supervisor asked for it")
        except ChannelClosedError:
            raise
        except EndOfStreamError as err:
            self._watch.progress.end()
            self._writer.drain(SLOT_TIMEOUT_S)
            ended = self._ended(err.code, str(err), is_end_of_stream=True)
        except ApplianceError as err:
            ended = self._ended(err.code, str(err))
        finally:
            self._watch.progress.end()
            self._camera.close()
        self._report()
        return ended

    def _capture(self) -> None:
        if self._start.rate == "fast" and not self._watch.progress.is_live:
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
        self._watch.progress.note_frame(captured_s)
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
    watch = Watch(channel, sock.fileno(), writer, clock)
    watch.start()
    try:
        watch.progress.begin(is_live=parse_address(start.source).kind != "file")
        camera = open_camera(start.source, start.rate, clock, start.decoder)
        ended = CaptureLoop(channel, writer, camera, start, clock, watch).run()
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


def _end_now(code: int) -> NoReturn:
    """End without clean-up: what the decoder remembers goes with the process, and nothing can hang."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
