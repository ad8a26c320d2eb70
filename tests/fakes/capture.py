"""A real capture process for tests, with the test as its supervisor and its reader; not a fake."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from appliance.errors import ChannelClosedError
from appliance.records.channel import CaptureEnded, CaptureReport, CaptureStart, WorkerHello
from appliance.records.frames import PictureSize
from appliance.records.ids import CameraId
from drivers.cameras.writer import VideoWriter
from drivers.channel import Channel
from drivers.process_settings import worker_environment
from drivers.ring import RingReader, create_ring

CAMERA = CameraId("entrance")
N_SLOTS, SLOT_BYTES = 4, 320 * 240 * 3
SIZE = PictureSize(width_px=64, height_px=48)
COMMAND = [sys.executable, "-s", "-m", "appliance.app.capture_process"]


@dataclass
class Supervisor:
    """Start a capture process, give it a ring, and read what it sends."""

    folder: Path
    slot_bytes: int = SLOT_BYTES
    reports: list[CaptureReport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ring = create_ring(N_SLOTS, self.slot_bytes)
        self.reader = RingReader(self.ring.fd, self.ring.reader_end, N_SLOTS, self.slot_bytes, CAMERA)

    def launch(self, command: list[str] = COMMAND) -> None:
        path = self.folder / "workers.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(5.0)
            self.process = subprocess.Popen(
                [*command, "--channel", str(path), "--camera", CAMERA],
                env=worker_environment(os.environ),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self.sock, _ = listener.accept()
        self.channel = Channel(self.sock)
        hello = self.channel.receive(5.0)
        assert hello is not None
        assert isinstance(hello.record, WorkerHello)
        assert (hello.record.role, hello.record.camera_id) == ("capture", CAMERA)

    def start(self, source: str, rate: str = "fast", decoder: str = "software") -> None:
        start = CaptureStart(
            camera_id=CAMERA,
            source=source,
            rate=rate,  # type: ignore[arg-type]  # a str
            n_slots=N_SLOTS,
            slot_bytes=self.slot_bytes,
            decoder=decoder,  # type: ignore[arg-type]  # a str
        )
        self.channel.send(start, descriptors=[self.ring.fd, self.ring.writer_end.fileno()])
        self.ring.writer_end.close()

    def next_frame(self, timeout_s: float = 5.0) -> PictureSize | None:
        """Return the next frame's size and give its slot back; None when the ring was closed."""
        try:
            frame = self.reader.receive(timeout_s)
        except ChannelClosedError:
            return None
        assert frame is not None, "no frame came"
        height_px, width_px, _ = frame.frame.pixels.shape
        self.reader.release(frame)
        return PictureSize(width_px=width_px, height_px=height_px)

    def read_until_closed(self) -> list[tuple[int, int]]:
        """Return number and first byte of each frame."""
        seen: list[tuple[int, int]] = []
        while True:
            try:
                frame = self.reader.receive(5.0)
            except ChannelClosedError:
                return seen
            assert frame is not None
            seen.append((frame.frame.stamp.frame_number, int(frame.frame.pixels[0, 0, 0])))
            self.reader.release(frame)

    def ended(self, timeout_s: float = 5.0) -> CaptureEnded:
        """Return its last words, noting the reports before them."""
        while True:
            received = self.channel.receive(timeout_s)
            assert received is not None
            if isinstance(received.record, CaptureEnded):
                return received.record
            assert isinstance(received.record, CaptureReport)
            self.reports.append(received.record)

    def exit_code(self, timeout_s: float = 2.0) -> int:
        return self.process.wait(timeout_s)

    def process_wait(self, timeout_s: float) -> None:
        """Let time go by, or return earlier when the process ends."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def output(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def close(self) -> None:
        self.reader.close()
        self.ring.close()
        if hasattr(self, "process"):
            self.process.kill()
            self.process.communicate()
            self.channel.close()


def write_video(path: Path, n_pictures: int) -> str:
    with VideoWriter(path, SIZE, 25, is_lossless=True) as writer:
        for number in range(n_pictures):
            writer.add(np.full((48, 64, 3), number, np.uint8))
    return str(path)
