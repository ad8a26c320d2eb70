"""RTSP cameras against a real server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from appliance.errors import CameraError, CameraLostError, CameraSourceError, CameraStalledError
from appliance.ports import Camera
from appliance.records.frames import PictureSize
from drivers.cameras.rtsp_camera import RtspCamera
from drivers.clock import SystemClock
from tests.contracts.camera import CameraContract
from tests.fakes.rtsp import Codec, RtspServer, ServerProgram, require_rtsp_server, write_frames

Picture = npt.NDArray[np.uint8]
ROOM = 640 * 480 * 3
pytestmark = pytest.mark.timeout(240)  # the first run on a machine fetches the server


@pytest.fixture(scope="module")
def program() -> ServerProgram:
    return require_rtsp_server()


def grey(n_pictures: int, width_px: int = 64, height_px: int = 48) -> list[Picture]:
    return [np.full((height_px, width_px, 3), 20 + 5 * number, np.uint8) for number in range(n_pictures)]


def read(camera: Camera, slot: Picture | None = None) -> PictureSize:
    for _ in range(100):
        size = camera.read_into(slot, 0.2)
        if size is not None:
            return size
    pytest.fail("the camera gave no picture")


def opened(url: str) -> RtspCamera:
    camera = RtspCamera(url, SystemClock())
    camera.open()
    return camera


class TestRtspCamera(CameraContract):
    END = CameraLostError

    @pytest.fixture(autouse=True)
    def _servers(self, program: ServerProgram) -> Iterator[None]:
        self._program = program
        self._running: list[RtspServer] = []
        yield
        for server in self._running:
            server.stop()

    def make_camera(self, folder: Path, pictures: list[Picture]) -> Camera:
        frames = write_frames(folder / "frames", pictures, is_loop=False)
        self._running.append(RtspServer(self._program, frames))
        return RtspCamera(self._running[-1].url, SystemClock())

    def make_unusable(self, folder: Path) -> Camera:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return RtspCamera(f"rtsp://127.0.0.1:{probe.getsockname()[1]}/stream", SystemClock())


@pytest.mark.parametrize("codec", ["h264", "h265", "mjpeg"])
def test_codecs_of_network_cameras_are_decoded(program: ServerProgram, tmp_path: Path, codec: Codec) -> None:
    with RtspServer(program, write_frames(tmp_path / "frames", grey(10), codec=codec)) as server:
        camera = opened(server.url)
        slot = np.zeros(ROOM, np.uint8)
        assert read(camera, slot) == PictureSize(width_px=64, height_px=48)
        assert abs(int(slot[0]) - 20) <= 10
        camera.close()


def test_server_that_stops_is_a_loss_at_once(program: ServerProgram, tmp_path: Path) -> None:
    with RtspServer(program, write_frames(tmp_path / "frames", grey(10))) as server:
        camera = opened(server.url)
        read(camera)
        server.stop()
        with pytest.raises(CameraLostError):
            for _ in range(200):
                camera.read_into(None, 0.2)
        camera.close()


def test_server_that_goes_silent_is_a_stall(program: ServerProgram, tmp_path: Path) -> None:
    clock = SystemClock()
    with RtspServer(program, write_frames(tmp_path / "frames", grey(10))) as server:
        camera = opened(server.url)
        read(camera)
        server.stall()
        began_s = clock.monotonic_s()
        with pytest.raises(CameraStalledError):
            for _ in range(200):
                camera.read_into(None, 0.2)
        assert 0.9 < clock.monotonic_s() - began_s < 3.0
        with pytest.raises(CameraStalledError):  # once broken it stays broken
            camera.read_into(None, 0.2)
        camera.close()


def test_size_changes_in_mid_stream_and_the_picture_with_it(program: ServerProgram, tmp_path: Path) -> None:
    with RtspServer(program, write_frames(tmp_path / "small", grey(10))) as server:
        camera = opened(server.url)
        assert read(camera) == PictureSize(width_px=64, height_px=48)
        server.play(write_frames(tmp_path / "large", grey(10, 128, 96)))
        slot = np.zeros(ROOM, np.uint8)
        sizes = {(size.width_px, size.height_px) for size in (read(camera, slot) for _ in range(30))}
        assert sizes <= {(64, 48), (128, 96)}
        slot.fill(255)
        assert read(camera, slot) == PictureSize(width_px=128, height_px=96)
        picture = slot[: 128 * 96 * 3]
        assert picture.max() < 80
        assert (slot[picture.size :] == 255).all()
        camera.close()


@pytest.mark.parametrize("codec", ["h265", "mjpeg"])
def test_codec_that_changes_in_mid_stream_gives_no_picture_and_no_hang(
    program: ServerProgram, tmp_path: Path, codec: Codec
) -> None:
    clock = SystemClock()
    with RtspServer(program, write_frames(tmp_path / "before", grey(10))) as server:
        camera = opened(server.url)
        read(camera)
        server.play(write_frames(tmp_path / "after", grey(10, 128, 96), codec=codec))
        sizes: set[tuple[int, int]] = set()
        began_s = clock.monotonic_s()
        while clock.monotonic_s() - began_s < 2.0:
            try:
                size = camera.read_into(None, 0.2)
            except CameraError:
                break
            sizes |= {(size.width_px, size.height_px)} if size else set()
        assert sizes <= {(64, 48)}
        camera.close()


def test_two_sessions_of_one_camera_overlap(program: ServerProgram, tmp_path: Path) -> None:
    with RtspServer(program, write_frames(tmp_path / "frames", grey(10))) as server:
        old, new = opened(server.url), opened(server.url)
        for _ in range(5):
            read(old)
            read(new)
        old.close()
        for _ in range(5):
            read(new)
        new.close()


def test_wrong_password_needs_a_person_and_is_not_shown(program: ServerProgram, tmp_path: Path) -> None:
    frames = write_frames(tmp_path / "frames", grey(10))
    with RtspServer(program, frames, user="viewer", password="right") as server:
        camera = RtspCamera(server.url.replace("//", "//viewer:SECRET@"), SystemClock())
        with pytest.raises(CameraSourceError, match="refuses the user name or the password") as caught:
            camera.open()
        camera.close()
        assert "SECRET" not in str(caught.value) + repr(caught.value) + repr(camera)
        assert caught.value.__cause__ is None
        camera = opened(server.url.replace("//", "//viewer:right@"))
        read(camera)
        camera.close()


def test_password_stands_in_no_error_and_no_trace(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"rtsp://viewer:SECRET@127.0.0.1:{probe.getsockname()[1]}/stream?token=SECRET"
        with pytest.raises(CameraLostError, match=r"rtsp://127.0.0.1:\d+/stream: .*refused") as caught:
            opened(url)
    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in str(caught.getrepr(style="native", chain=True))


def test_unknown_path_may_come_when_the_camera_has_started(program: ServerProgram, tmp_path: Path) -> None:
    with RtspServer(program, write_frames(tmp_path / "frames", grey(10))) as server:
        camera = RtspCamera(server.url + "/other", SystemClock())
        with pytest.raises(CameraLostError):
            camera.open()
        camera.close()


def test_host_that_never_answers_is_given_up() -> None:
    clock = SystemClock()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        camera = RtspCamera(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/stream", clock)
        began_s = clock.monotonic_s()
        with pytest.raises(CameraLostError, match=r"no stream within|cannot be opened"):
            camera.open()
        assert clock.monotonic_s() - began_s < 4.5
        camera.close()
