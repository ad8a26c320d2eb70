"""The capture process on live cameras that fail: real processes, and a real RTSP server."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from appliance.app.capture_watch import FIRST_FRAME_S, LONGEST_STALL_S, SHORTEST_STALL_S, Progress
from appliance.errors import CameraLostError, CameraStalledError
from appliance.records.channel import CaptureReport
from appliance.records.frames import PictureSize
from drivers.cameras.writer import VideoWriter
from drivers.clock import SystemClock
from tests.fakes.capture import Supervisor
from tests.fakes.clock import FakeClock
from tests.fakes.rtsp import Codec, RtspServer, ServerProgram, require_rtsp_server, write_frames

Picture = npt.NDArray[np.uint8]
SMALL, LARGE = PictureSize(width_px=64, height_px=48), PictureSize(width_px=128, height_px=96)
JETSON = """
import sys
import numpy as np
from tests.fakes.jetson_utils import FakeJetsonUtils
sys.modules["jetson_utils"] = FakeJetsonUtils([np.full((48, 64, 3), 9, np.uint8)] * 4, "loss")
from appliance.app import capture_process
capture_process.main(sys.argv[1:])
"""
HANGING = """
import sys, threading
from appliance.app import capture_process
class HangingCamera:
    def open(self): pass
    def close(self): pass
    def read_into(self, slot, timeout_s):
        slot[:] = 7
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
capture_process.open_camera = lambda *_: HangingCamera()
from appliance.app import capture_watch
capture_watch.FIRST_FRAME_S = 0.3
capture_process.main(sys.argv[1:])
"""
pytestmark = pytest.mark.timeout(240)  # the first run on a machine fetches the server


@pytest.fixture(scope="module")
def program() -> ServerProgram:
    return require_rtsp_server()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Give a function that starts a capture process, as many as wanted."""
    running: list[Supervisor] = []

    def start(source: str, command: list[str] | None = None, **settings: str | int) -> Supervisor:
        folder = tmp_path / f"process{len(running)}"
        folder.mkdir()
        slot_bytes = int(settings.pop("slot_bytes", 320 * 240 * 3))
        running.append(Supervisor(folder, slot_bytes))
        running[-1].launch(*([command] if command else []))
        running[-1].start(source, str(settings.pop("rate", "real")), str(settings.pop("decoder", "software")))
        return running[-1]

    yield start
    for each in running:
        each.close()


@pytest.fixture
def server(program: ServerProgram, tmp_path: Path) -> Iterator[RtspServer]:
    with RtspServer(program, frames(tmp_path, SMALL)) as server:
        yield server


def frames(folder: Path, size: PictureSize, codec: Codec = "h264") -> Path:
    pictures = [np.full((size.height_px, size.width_px, 3), 20 + 5 * n, np.uint8) for n in range(10)]
    return write_frames(folder / f"{size.width_px}.{codec}", pictures, codec=codec)


def test_server_that_stops_ends_the_process_and_the_next_one_finds_it_again(
    server: RtspServer, launch: Callable[..., Supervisor]
) -> None:
    clock = SystemClock()
    supervisor = launch(server.url)
    for _ in range(5):
        assert supervisor.next_frame() == SMALL
    server.stop()
    stopped_s = clock.monotonic_s()
    assert supervisor.ended().code == "camera.lost"
    assert supervisor.exit_code() == 3
    assert clock.monotonic_s() - stopped_s < 1.0
    refused = launch(server.url)
    assert refused.ended().code == "camera.lost"
    server.start()
    again = launch(server.url)
    assert again.next_frame() == SMALL


def test_stalled_stream_ends_the_process_within_a_second(
    server: RtspServer, launch: Callable[..., Supervisor]
) -> None:
    clock = SystemClock()
    supervisor = launch(server.url)
    for _ in range(10):
        assert supervisor.next_frame() == SMALL
    server.stall()
    stalled_s = clock.monotonic_s()
    ended = supervisor.ended()
    assert (ended.code, ended.is_end_of_stream) == ("camera.stalled", False)
    assert supervisor.exit_code() == 3
    assert SHORTEST_STALL_S - 0.1 < clock.monotonic_s() - stalled_s < LONGEST_STALL_S + 0.5


def test_slow_reader_is_no_stall_of_the_camera(server: RtspServer, launch: Callable[..., Supervisor]) -> None:
    supervisor = launch(server.url, rate="fast")  # which means files only
    while not (supervisor.reports and supervisor.reports[-1].n_frames_skipped > 30):
        received = supervisor.channel.receive(5.0)
        assert received is not None
        assert isinstance(received.record, CaptureReport)
        supervisor.reports.append(received.record)
    assert [supervisor.next_frame() for _ in range(4)] == [SMALL] * 4


def test_size_that_changes_in_mid_stream_goes_on_with_whole_pictures(
    server: RtspServer, launch: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = launch(server.url)
    assert supervisor.next_frame() == SMALL
    server.play(frames(tmp_path, LARGE))
    sizes = [supervisor.next_frame() for _ in range(40)]
    assert set(sizes) <= {SMALL, LARGE}
    assert sizes[-1] == LARGE


def test_size_that_changes_to_more_than_a_slot_is_named(
    server: RtspServer, launch: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = launch(server.url, slot_bytes=64 * 48 * 3)
    assert supervisor.next_frame() == SMALL
    server.play(frames(tmp_path, LARGE))
    while (size := supervisor.next_frame()) is not None:
        assert size == SMALL
    ended = supervisor.ended()
    assert ended.code == "camera.source"
    assert "128 x 96" in ended.message


@pytest.mark.parametrize("codec", ["h265", "mjpeg"])
def test_codec_that_changes_in_mid_stream_is_a_stall_and_no_wrong_picture(
    server: RtspServer, launch: Callable[..., Supervisor], tmp_path: Path, codec: Codec
) -> None:
    supervisor = launch(server.url)
    assert supervisor.next_frame() == SMALL
    server.play(frames(tmp_path, LARGE, codec))
    while (size := supervisor.next_frame()) is not None:
        assert size == SMALL
    assert supervisor.ended().code in {"camera.stalled", "camera.lost"}
    assert supervisor.exit_code() == 3


def test_two_processes_of_one_camera_overlap(server: RtspServer, launch: Callable[..., Supervisor]) -> None:
    old = launch(server.url)
    assert old.next_frame() == SMALL
    new = launch(server.url)
    assert new.next_frame() == SMALL
    assert old.next_frame() == SMALL
    old.channel.close()
    old.exit_code(1.0)
    assert [new.next_frame() for _ in range(5)] == [SMALL] * 5


def test_decoder_tells_its_age_four_times_a_second(
    server: RtspServer, launch: Callable[..., Supervisor]
) -> None:
    supervisor = launch(server.url)
    for _ in range(30):
        supervisor.next_frame()
    server.stop()
    supervisor.ended()
    ages_s = [report.oldest_decoder_age_s for report in supervisor.reports]
    assert ages_s == sorted(ages_s)
    assert len(ages_s) >= 4
    assert ages_s[-1] >= 1.0


def test_password_stands_in_nothing_that_is_said(
    program: ServerProgram, launch: Callable[..., Supervisor], tmp_path: Path
) -> None:
    with RtspServer(program, frames(tmp_path, SMALL), user="viewer", password="SECRET") as server:
        for password, code in (("SECRET", "camera.lost"), ("WRONG", "camera.source")):
            supervisor = launch(server.url.replace("//", f"//viewer:{password}@"))
            if password == "SECRET":
                supervisor.next_frame()
                server.stop()
            ended = supervisor.ended()
            server.stop()
            server.start()
            assert ended.code == code
            supervisor.exit_code()
            said = ended.message + supervisor.errors() + supervisor.output()
            assert "SECRET" not in said
            assert "WRONG" not in said


def test_host_that_never_answers_is_lost_within_five_seconds(launch: Callable[..., Supervisor]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        supervisor = launch(f"rtsp://viewer:SECRET@127.0.0.1:{silent.getsockname()[1]}/stream")
        ended = supervisor.ended(FIRST_FRAME_S + 1.0)
        assert ended.code == "camera.lost"
        assert "SECRET" not in ended.message
        assert supervisor.exit_code() == 3


def test_stream_without_a_first_picture_is_lost(launch: Callable[..., Supervisor]) -> None:
    supervisor = launch("rtsp://127.0.0.1/1", [sys.executable, "-s", "-c", HANGING])
    ended = supervisor.ended()
    assert (ended.code, ended.n_frames) == ("camera.lost", 0)
    assert supervisor.exit_code() == 3


def test_slot_is_zeroed_when_its_decoder_hangs(launch: Callable[..., Supervisor]) -> None:
    supervisor = launch("rtsp://127.0.0.1/1", [sys.executable, "-s", "-c", HANGING])
    supervisor.ended()
    supervisor.exit_code()
    assert not any(Path(f"/proc/self/fd/{supervisor.ring.fd}").read_bytes())


def test_hardware_stream_that_is_lost_without_a_word_is_a_stall(launch: Callable[..., Supervisor]) -> None:
    supervisor = launch(
        "rtsp://viewer:SECRET@10.0.0.7/1", [sys.executable, "-s", "-c", JETSON], decoder="hardware"
    )
    assert [supervisor.next_frame() for _ in range(4)] == [SMALL] * 4
    assert supervisor.ended().code == "camera.stalled"
    assert supervisor.exit_code() == 3
    assert "SECRET" not in supervisor.output() + supervisor.errors()


@pytest.mark.parametrize(("width_px", "height_px"), [(1, 1), (7680, 4320)])
def test_picture_of_an_absurd_size_is_named(
    launch: Callable[..., Supervisor], tmp_path: Path, width_px: int, height_px: int
) -> None:
    path, size = tmp_path / "video", PictureSize(width_px=width_px, height_px=height_px)
    with VideoWriter(path, size, 25, is_lossless=width_px == 1) as writer:
        writer.add(np.zeros((height_px, width_px, 3), np.uint8))
    supervisor = launch(str(path))
    ended = supervisor.ended()
    assert (ended.code, ended.n_frames) == ("camera.source", 0)
    assert f"{width_px} x {height_px} px" in ended.message


@pytest.mark.parametrize(("fps", "limit_s"), [(25, 0.5), (6, 0.5), (5, 0.6), (3, 1.0), (1, 1.0)])
def test_stall_is_three_intervals_and_no_less_than_half_a_second_and_no_more_than_one(
    fps: int, limit_s: float
) -> None:
    clock = FakeClock()
    progress = Progress(clock)
    progress.begin(is_live=True)
    for _ in range(100):
        clock.advance(1 / fps)
        progress.note_frame(clock.monotonic_s())
    assert progress.left_s() == pytest.approx(limit_s, abs=0.01)
    clock.advance(limit_s + 0.02)
    assert progress.left_s() < 0
    assert isinstance(progress.complaint(), CameraStalledError)


def test_first_picture_may_take_five_seconds_and_no_more() -> None:
    clock = FakeClock()
    progress = Progress(clock)
    progress.begin(is_live=True)
    clock.advance(FIRST_FRAME_S - 0.01)
    assert progress.left_s() > 0
    clock.advance(0.02)
    assert progress.left_s() < 0
    assert isinstance(progress.complaint(), CameraLostError)


def test_file_keeps_its_own_pace() -> None:
    clock = FakeClock()
    progress = Progress(clock)
    progress.begin(is_live=False)
    progress.note_frame(clock.monotonic_s())
    for _ in range(5):
        clock.advance(4.9)
        assert progress.left_s() > 0
        progress.note_turn()
    clock.advance(5.1)  # its decoder hangs
    assert progress.left_s() < 0
