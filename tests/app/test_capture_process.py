"""The capture process as a real process, with the test as its supervisor and its reader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from appliance.app.capture_watch import EXIT_CLOSED
from appliance.records.channel import CaptureStart, WorkerStop
from appliance.records.frames import PictureSize
from drivers.cameras.writer import VideoWriter
from drivers.clock import SystemClock
from drivers.process_settings import worker_environment
from tests.fakes.capture import (
    CAMERA,
    COMMAND,
    N_SLOTS,
    SIZE,
    SLOT_BYTES,
    Supervisor,
    write_video,
)

HANGING = """
import sys, threading
from appliance.app import capture_process
class HangingCamera:
    def open(self): pass
    def close(self): pass
    def read_into(self, slot, timeout_s):
        lock = threading.Lock()
        lock.acquire()
        print("hanging", flush=True)
        lock.acquire()
capture_process.open_camera = lambda *_: HangingCamera()
capture_process.main(sys.argv[1:])
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    yield supervisor
    supervisor.close()


def test_all_frames_in_order_then_the_end_of_the_stream(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.launch()
    began_at = SystemClock().now()
    supervisor.start(write_video(tmp_path / "video.mkv", 100))
    assert supervisor.read_until_closed() == [(number, number) for number in range(100)]
    ended = supervisor.ended()
    assert (ended.is_end_of_stream, ended.code, ended.n_frames) == (True, "camera.end", 100)
    assert supervisor.exit_code() == 0
    report = supervisor.reports[-1]
    assert (report.n_frames, report.width_px, report.height_px) == (100, 64, 48)
    assert report.first_frame_at is not None
    assert began_at <= report.first_frame_at <= SystemClock().now()
    assert supervisor.errors() == ""


def test_frame_is_stamped_at_capture_with_both_clocks(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.launch()
    supervisor.start(write_video(tmp_path / "video.mkv", 3))
    frame = supervisor.reader.receive(5.0)
    assert frame is not None
    clock = SystemClock()
    assert 0 <= clock.monotonic_s() - frame.frame.stamp.captured_monotonic_s < 2.0
    assert 0 <= (clock.now() - frame.frame.stamp.captured_at).total_seconds() < 2.0


def test_frames_without_a_slot_are_skipped_counted_and_their_numbers_missing(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.launch()
    supervisor.start(write_video(tmp_path / "video.mkv", 12), rate="real")
    ended = supervisor.ended()  # nobody has read
    assert ended.n_frames == 12
    assert supervisor.reports[-1].n_frames_skipped == 12 - N_SLOTS
    assert [number for number, _ in supervisor.read_until_closed()] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", "the file is empty"),
        ("text.mp4", b"this is no video\n" * 100, "not a video"),
        ("line\nbreak.mp4", None, "control characters"),
        ("missing.mp4", None, "No such file"),
        ("http://10.0.0.7/video.mp4", None, "is no camera"),
    ],
)
def test_unusable_source_is_told_in_one_line(
    supervisor: Supervisor, tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    supervisor.launch()
    supervisor.start(name if "://" in name else str(tmp_path / name))
    ended = supervisor.ended()
    assert not ended.is_end_of_stream
    assert ended.code in {"camera.source", "source.refused"}
    assert reason in ended.message
    assert "\n" not in ended.message
    assert supervisor.exit_code() == 3
    assert "Traceback" not in supervisor.errors()


def test_truncated_video_is_told_with_its_code(supervisor: Supervisor, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "video.mp4", SIZE, 25) as writer:
        for number in range(20):
            writer.add(np.full((48, 64, 3), number * 10, np.uint8))
    content = (tmp_path / "video.mp4").read_bytes()
    (tmp_path / "video.mp4").write_bytes(content[: len(content) // 2])
    supervisor.launch()
    supervisor.start(str(tmp_path / "video.mp4"))
    assert supervisor.ended().code == "camera.source"
    assert supervisor.exit_code() == 3


def test_picture_larger_than_the_slot_is_told(supervisor: Supervisor, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "large.mkv", PictureSize(width_px=322, height_px=240), 25) as writer:
        writer.add(np.zeros((240, 322, 3), np.uint8))
    supervisor.launch()
    supervisor.start(str(tmp_path / "large.mkv"))
    ended = supervisor.ended()
    assert ended.code == "camera.source"
    assert "322 x 240" in ended.message


def test_stop_ends_it_cleanly(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.launch()
    supervisor.start(write_video(tmp_path / "video.mkv", 200), rate="real")
    assert supervisor.reader.receive(5.0) is not None
    supervisor.channel.send(WorkerStop(reason="test"))
    assert supervisor.ended().code == "stopped"
    assert supervisor.exit_code() == 0


def test_sigterm_ends_it_cleanly(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.launch()
    supervisor.start(write_video(tmp_path / "video.mkv", 200), rate="real")
    assert supervisor.reader.receive(5.0) is not None
    supervisor.process.send_signal(signal.SIGTERM)
    assert supervisor.ended().code == "stopped"
    assert supervisor.exit_code() == 0


def test_closed_channel_ends_it_at_once(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.launch()
    supervisor.start(write_video(tmp_path / "video.mkv", 200), rate="real")
    assert supervisor.reader.receive(5.0) is not None
    supervisor.channel.close()
    assert supervisor.exit_code(1.0) == EXIT_CLOSED


def test_closed_ring_ends_it_at_once(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.launch()
    supervisor.start(write_video(tmp_path / "video.mkv", 200), rate="real")
    assert supervisor.reader.receive(5.0) is not None
    supervisor.reader.close()
    assert supervisor.exit_code(1.0) == EXIT_CLOSED


def test_channel_closed_before_the_start_ends_it(supervisor: Supervisor) -> None:
    supervisor.launch()
    supervisor.channel.close()
    assert supervisor.exit_code() == EXIT_CLOSED


def test_end_is_told_after_the_last_frames_were_looked_at(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.launch()
    supervisor.start(write_video(tmp_path / "video.mkv", 3))
    frames = [supervisor.reader.receive(5.0) for _ in range(3)]
    assert supervisor.channel.receive(0.3) is None
    for frame in frames:
        assert frame is not None
        supervisor.reader.release(frame)
    assert supervisor.ended().is_end_of_stream


@pytest.mark.parametrize("ending", ["signal", "stop", "channel", "ring"])
def test_decoder_that_hangs_does_not_keep_the_process(supervisor: Supervisor, ending: str) -> None:
    supervisor.launch([sys.executable, "-s", "-c", HANGING])
    supervisor.start("hanging.mp4")
    assert supervisor.process.stdout is not None
    assert supervisor.process.stdout.readline() == "hanging\n"
    if ending == "signal":
        supervisor.process.send_signal(signal.SIGTERM)
    elif ending == "stop":
        supervisor.channel.send(WorkerStop(reason="test"))
    elif ending == "ring":
        supervisor.reader.close()
    else:
        supervisor.channel.close()
    assert supervisor.exit_code(3.0) == (EXIT_CLOSED if ending in {"channel", "ring"} else 0)


def test_garbage_instead_of_a_start_is_refused_in_one_line(supervisor: Supervisor) -> None:
    supervisor.launch()
    supervisor.sock.send(b"garbage")
    assert supervisor.exit_code() == 3
    errors = supervisor.errors()
    assert errors.startswith("error[record.invalid]: ")
    assert errors.count("\n") == 1


def test_start_without_its_descriptors_is_refused(supervisor: Supervisor) -> None:
    supervisor.launch()
    supervisor.channel.send(
        CaptureStart(camera_id=CAMERA, source="x", rate="fast", n_slots=N_SLOTS, slot_bytes=SLOT_BYTES),
        descriptors=[supervisor.ring.fd],
    )
    assert supervisor.exit_code() == 3
    assert supervisor.errors().startswith("error[record.invalid]: ")


def test_garbage_later_ends_it_at_once(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.launch()
    supervisor.start(write_video(tmp_path / "video.mkv", 200), rate="real")
    assert supervisor.reader.receive(5.0) is not None
    supervisor.sock.send(b"garbage")
    assert supervisor.exit_code(1.0) == EXIT_CLOSED


def test_it_leaves_no_core_dump(supervisor: Supervisor) -> None:
    supervisor.launch()
    limits = Path(f"/proc/{supervisor.process.pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if "core" in line).split()[4:6] == ["0", "0"]


def test_no_supervisor_is_an_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--channel", str(tmp_path / "none.sock"), "--camera", CAMERA],
        env=worker_environment(os.environ),
        check=False,
        capture_output=True,
        timeout=10,
    )
    assert done.returncode == EXIT_CLOSED
