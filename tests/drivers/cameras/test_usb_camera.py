"""USB cameras by Video4Linux; where there is no device the contract runs on PyAV with a file in its place."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from appliance.errors import CameraLostError, CameraSourceError, SourceRefusedError
from appliance.ports import Camera
from appliance.records.frames import PictureSize
from drivers.cameras.usb_camera import UsbCamera, resolve_device
from drivers.cameras.writer import VideoWriter
from tests.contracts.camera import CameraContract
from tests.fakes.clock import FakeClock

DEVICE = Path("/dev/video0")


class TestUsbCamera(CameraContract):
    END = CameraLostError

    def make_camera(self, folder: Path, pictures: list[npt.NDArray[np.uint8]]) -> Camera:
        with av.open(str(folder / "device.avi"), "w") as container:  # what webcams send
            stream = container.add_stream("mjpeg", rate=25, options={"qmin": "1", "qmax": "2"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode(None))
        return UsbCamera(DEVICE, FakeClock(), lambda _: av.open(str(folder / "device.avi")))

    def make_unusable(self, folder: Path) -> Camera:
        return UsbCamera(Path("/dev/video99"), FakeClock())  # the real thing: FFmpeg's v4l2


def test_codec_that_no_camera_needs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "device.mkv"
    with VideoWriter(path, PictureSize(width_px=64, height_px=48), 25, is_lossless=True) as writer:
        writer.add(np.zeros((48, 64, 3), np.uint8))
    camera = UsbCamera(DEVICE, FakeClock(), lambda _: av.open(str(path)))
    with pytest.raises(CameraSourceError, match="codec"):
        camera.open()
    camera.close()


def test_device_without_permission_needs_a_person(tmp_path: Path) -> None:
    def refuse(device: Path) -> av.container.InputContainer:
        raise av.error.PermissionError(13, "Permission denied", str(device))

    camera = UsbCamera(DEVICE, FakeClock(), refuse)
    with pytest.raises(CameraSourceError, match="Permission denied"):
        camera.open()
    camera.close()


def test_busy_device_may_become_free() -> None:
    def refuse(device: Path) -> av.container.InputContainer:
        raise av.error.OSError(16, "Device or resource busy", str(device))

    camera = UsbCamera(DEVICE, FakeClock(), refuse)
    with pytest.raises(CameraLostError, match="busy"):
        camera.open()
    camera.close()


def test_link_is_followed_to_its_device(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/video7")
    assert resolve_device(tmp_path / "link") == Path("/dev/video7")


def test_link_to_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(SourceRefusedError, match="no video device"):
        UsbCamera(tmp_path / "link", FakeClock()).open()


def test_camera_that_is_not_plugged_in_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(CameraLostError, match="plugged in"):
        UsbCamera(tmp_path / "link", FakeClock()).open()
