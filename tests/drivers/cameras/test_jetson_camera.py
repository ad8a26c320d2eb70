"""The Jetson adapter on a fake that behaves as the library's source says; it never ran on the device."""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from appliance.errors import (
    CameraError,
    CameraLostError,
    CameraSourceError,
    CameraStalledError,
    DependencyError,
    SourceRefusedError,
)
from appliance.ports import Camera
from drivers.cameras.address import CameraAddress, parse_address
from drivers.cameras.jetson_camera import JetsonCamera
from tests.contracts.camera import CameraContract
from tests.fakes.jetson_utils import FakeJetsonUtils

Picture = npt.NDArray[np.uint8]
URL = "rtsp://user:SECRET@10.0.0.7/1"
TIMEOUT_S = 0.2


def grey(*values: int) -> list[Picture]:
    return [np.full((48, 64, 3), value, np.uint8) for value in values]


def install(monkeypatch: pytest.MonkeyPatch, jetson: object) -> None:
    monkeypatch.setitem(sys.modules, "jetson_utils", jetson)


def opened(monkeypatch: pytest.MonkeyPatch, jetson: FakeJetsonUtils, source: str = "csi://0") -> JetsonCamera:
    install(monkeypatch, jetson)
    camera = JetsonCamera(parse_address(source))
    camera.open()
    return camera


class TestJetsonCamera(CameraContract):
    END = CameraLostError

    @pytest.fixture(autouse=True)
    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def make_camera(self, folder: Path, pictures: list[Picture]) -> Camera:
        install(self._monkeypatch, FakeJetsonUtils(pictures))
        return JetsonCamera(parse_address("csi://0"))

    def make_unusable(self, folder: Path) -> Camera:
        install(self._monkeypatch, FakeJetsonUtils([], refused="csi://9"))
        return JetsonCamera(parse_address("csi://9"))


def test_silence_after_a_picture_is_a_stall_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    jetson = FakeJetsonUtils(grey(1), "loss")
    camera = opened(monkeypatch, jetson)
    assert camera.read_into(None, TIMEOUT_S) is not None
    with pytest.raises(CameraStalledError):
        for _ in range(6):
            assert camera.read_into(None, TIMEOUT_S) is None
    assert jetson.sources[0].n_empty == 5
    camera.close()


def test_single_timeouts_do_not_add_up_over_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    jetson = FakeJetsonUtils(grey(*range(1, 20)), "loss")
    camera = opened(monkeypatch, jetson)
    for _ in range(19):
        assert camera.read_into(None, TIMEOUT_S) is not None
        jetson.n_connecting = 1
        assert camera.read_into(None, TIMEOUT_S) is None
    camera.close()


def test_camera_may_take_time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = opened(monkeypatch, FakeJetsonUtils(grey(1), n_connecting=20))
    assert [camera.read_into(None, TIMEOUT_S) is not None for _ in range(21)] == [False] * 20 + [True]
    camera.close()


def test_camera_that_never_connects_is_lost_after_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = opened(monkeypatch, FakeJetsonUtils([], "loss"))
    n_reads = 0
    with pytest.raises(CameraLostError, match="no picture within 5 s"):
        while n_reads < 100:
            n_reads += 1
            camera.read_into(None, TIMEOUT_S)
    assert n_reads == 25
    camera.close()


@pytest.mark.parametrize(("then", "words"), [("error", "cannot be read"), ("end", "ended the stream")])
def test_error_and_end_are_told_apart(monkeypatch: pytest.MonkeyPatch, then: str, words: str) -> None:
    camera = opened(monkeypatch, FakeJetsonUtils([], then))  # type: ignore[arg-type]  # a str
    with pytest.raises(CameraLostError, match=words):
        camera.read_into(None, TIMEOUT_S)
    camera.close()


def test_picture_is_copied_before_the_ring_comes_round(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = opened(monkeypatch, FakeJetsonUtils(grey(*range(10, 19))))
    slots = [np.zeros(48 * 64 * 3, np.uint8) for _ in range(9)]
    for slot in slots:
        camera.read_into(slot, TIMEOUT_S)
    assert [(int(slot.min()), int(slot.max())) for slot in slots] == [(n, n) for n in range(10, 19)]
    camera.close()


@pytest.mark.parametrize("slot_bytes", [None, 100, 48 * 64 * 3])
def test_picture_in_the_librarys_ring_is_zeroed(
    monkeypatch: pytest.MonkeyPatch, slot_bytes: int | None
) -> None:
    jetson = FakeJetsonUtils(grey(10, 20))
    camera = opened(monkeypatch, jetson)
    try:
        camera.read_into(None if slot_bytes is None else np.zeros(slot_bytes, np.uint8), TIMEOUT_S)
    except CameraSourceError:
        assert slot_bytes == 100
    assert jetson.sources[0].ring[0].shape == (48, 64, 3)
    assert not jetson.sources[0].ring[0].any()
    camera.close()


def test_size_may_change_in_mid_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = opened(monkeypatch, FakeJetsonUtils([*grey(1), np.full((32, 32, 3), 2, np.uint8)]))
    slot = np.zeros(48 * 64 * 3, np.uint8)
    sizes = [camera.read_into(slot, TIMEOUT_S) for _ in range(2)]
    assert [(size.width_px, size.height_px) for size in sizes if size] == [(64, 48), (32, 32)]
    camera.close()


def test_one_pixel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = opened(monkeypatch, FakeJetsonUtils([np.zeros((1, 1, 3), np.uint8)]))
    with pytest.raises(CameraSourceError, match="1 x 1 px are too small"):
        camera.read_into(np.zeros(100, np.uint8), TIMEOUT_S)
    camera.close()


def test_rtsp_gets_its_latency_and_its_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    jetson = FakeJetsonUtils(grey(1))
    opened(monkeypatch, jetson, URL).close()
    assert jetson.sources[0].uri == URL
    assert 100 <= jetson.sources[0].options["latency"] <= 200
    assert jetson.sources[0].options["numBuffers"] == 4
    assert jetson.sources[0].is_closed


def test_credentials_reach_no_output_and_no_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    jetson = FakeJetsonUtils(grey(1))
    camera = opened(monkeypatch, jetson, URL)
    camera.read_into(None, TIMEOUT_S)
    with pytest.raises(CameraError) as caught:
        camera.read_into(None, TIMEOUT_S)
    camera.close()
    jetson.log("said after closing")
    said = capfd.readouterr()
    assert said.out == "said after closing\n"
    assert said.err == ""
    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in repr(camera)


def test_output_is_back_when_opening_failed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    jetson = FakeJetsonUtils([], refused="10.0.0.7")
    install(monkeypatch, jetson)
    camera = JetsonCamera(parse_address(URL))
    with pytest.raises(CameraLostError) as caught:
        camera.open()
    camera.close()
    jetson.log("said after closing")
    assert capfd.readouterr().out == "said after closing\n"
    assert "SECRET" not in str(caught.value) + str(caught.value.__cause__)


def test_link_to_a_device_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "by-id").mkdir()
    link = tmp_path / "by-id" / "usb-Cam-index0"
    link.symlink_to("/dev/video7")
    jetson = FakeJetsonUtils(grey(1))
    install(monkeypatch, jetson)
    camera = JetsonCamera(CameraAddress(kind="usb", target=str(link)))
    camera.open()
    camera.close()
    assert jetson.sources[0].uri == "v4l2:///dev/video7"


@pytest.mark.parametrize("character", [" ", "\t", "\n", '"', "'", "!", "\\", "`"])
def test_address_that_a_launch_string_would_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, character: str
) -> None:
    install(monkeypatch, FakeJetsonUtils(grey(1)))
    camera = JetsonCamera(CameraAddress(kind="rtsp", target=f"rtsp://10.0.0.7/{character}x"))
    with pytest.raises(SourceRefusedError):
        camera.open()


def test_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeJetsonUtils(grey(1)))
    with pytest.raises(SourceRefusedError, match="software"):
        JetsonCamera(CameraAddress(kind="file", target="/media/video.mp4")).open()


def test_machine_without_the_library_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)  # what the import system takes for: not there
    with pytest.raises(DependencyError, match="JetPack"):
        JetsonCamera(parse_address("csi://0")).open()


def test_foreign_package_of_the_same_name_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, types.ModuleType("jetson_utils"))
    with pytest.raises(DependencyError, match="another package of that name"):
        JetsonCamera(parse_address("csi://0")).open()


def test_fake_notices_a_second_thread() -> None:
    source = FakeJetsonUtils(grey(1)).videoSource("csi://0")
    caught: list[AssertionError] = []

    def close() -> None:
        try:
            source.Close()
        except AssertionError as err:
            caught.append(err)

    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert caught
