"""What may be called a camera, and what of it may be logged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import SourceRefusedError
from drivers.cameras.address import LONGEST_SOURCE, CameraAddress, parse_address, public_address
from drivers.cameras.factory import Decoder, open_camera
from drivers.cameras.file_camera import FileCamera
from drivers.cameras.jetson_camera import JetsonCamera
from drivers.cameras.rtsp_camera import RtspCamera
from drivers.cameras.usb_camera import UsbCamera
from tests.fakes.clock import FakeClock


@pytest.mark.parametrize(
    ("source", "kind", "target"),
    [
        ("/media/market square.mp4", "file", "/media/market square.mp4"),
        ("./Anna's video.mp4", "file", "Anna's video.mp4"),
        ("file:///media/market.mp4", "file", "/media/market.mp4"),
        ("rtsp://10.0.0.7:554/stream1", "rtsp", "rtsp://10.0.0.7:554/stream1"),
        ("rtsps://user:secret@camera.local/1?x=y", "rtsp", "rtsps://user:secret@camera.local/1?x=y"),
        ("v4l2:///dev/video0", "usb", "/dev/video0"),
        ("v4l2:///dev/v4l/by-id/usb-Cam_1-video-index0", "usb", "/dev/v4l/by-id/usb-Cam_1-video-index0"),
        ("csi://0", "csi", "0"),
    ],
)
def test_cameras_are_told_apart(source: str, kind: str, target: str) -> None:
    assert parse_address(source) == CameraAddress(kind=kind, target=target)  # type: ignore[arg-type]  # a str


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x" * (LONGEST_SOURCE + 1),
        "video.mp4\n",
        "video\x00.mp4",
        "rtsp://10.0.0.7/ ! filesink location=/tmp/x",
        "rtsp://10.0.0.7/!x",
        "rtsp://10.0.0.7/'x",
        'rtsp://10.0.0.7/"x',
        "rtsp://10.0.0.7/`x`",
        "rtsp://10.0.0.7/\\x",
        "rtsp:///stream",
        "rtsp://",
        "rtsp://host:port/1",
        "rtsp://host:0/1",
        "rtsp://[::1/1",
        "http://10.0.0.7/video.mp4",
        "udp://0.0.0.0:5000",
        "concat:a.mp4|b.mp4",
        "data:text/plain,x",
        "file:relative.mp4",
        "file://host/share.mp4",
        "v4l2://video0",
        "v4l2:///etc/shadow",
        "v4l2:///dev/../etc/shadow",
        "/dev/video0",
        "file:///dev/zero",
        "csi://10",
        "csi://x",
    ],
)
def test_what_is_no_camera_is_refused(source: str) -> None:
    with pytest.raises(SourceRefusedError) as caught:
        parse_address(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://user:secret@10.0.0.7:554/stream1", "rtsp://10.0.0.7:554/stream1"),
        ("rtsp://user:se@cret@10.0.0.7/1", "rtsp://10.0.0.7/1"),
        ("rtsp://user:se/cret@10.0.0.7/1", "rtsp://10.0.0.7/1"),
        ("rtsp:user:secret@10.0.0.7/1", "rtsp://10.0.0.7/1"),
        ("rtsp://10.0.0.7/1?token=secret#secret", "rtsp://10.0.0.7/1"),
        ("v4l2:///dev/video0", "v4l2:///dev/video0"),
        ("/media/video.mp4", "/media/video.mp4"),
        ("a\nb", "a?b"),
    ],
)
def test_no_credentials_are_shown(source: str, shown: str) -> None:
    assert public_address(source) == shown


@given(st.text(alphabet="ab:@/?#!' \\", max_size=12), st.text(alphabet="ab/?#!' ", max_size=12))
def test_refusal_never_quotes_the_password(before: str, after: str) -> None:
    source = f"rtsp://user:{before}SECRET@host{after}"
    said = public_address(source)
    try:
        parse_address(source)
    except SourceRefusedError as err:
        said += str(err)
    assert "SECRET" not in said


@pytest.mark.parametrize(
    ("source", "decoder", "kind"),
    [
        ("video.mp4", "software", FileCamera),
        ("video.mp4", "hardware", FileCamera),
        ("rtsp://10.0.0.7/1", "software", RtspCamera),
        ("rtsp://10.0.0.7/1", "hardware", JetsonCamera),
        ("v4l2:///dev/video0", "software", UsbCamera),
        ("v4l2:///dev/video0", "hardware", JetsonCamera),
        ("csi://0", "software", JetsonCamera),
        ("csi://0", "hardware", JetsonCamera),
    ],
)
def test_factory_gives_the_adapter_of_the_kind(source: str, decoder: Decoder, kind: type[object]) -> None:
    assert type(open_camera(source, "real", FakeClock(), decoder)) is kind


def test_address_does_not_show_its_password_when_printed() -> None:
    assert "SECRET" not in repr(parse_address("rtsp://user:SECRET@10.0.0.7/1"))
