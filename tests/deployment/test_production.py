"""What a production profile refuses, whatever is signed."""

from __future__ import annotations

import pytest

from appliance.deployment.production import refuse_unfit
from appliance.errors import AuthorityError
from appliance.records.deployment import Profile
from appliance.records.ids import CameraId

GATE, YARD = CameraId("gate"), CameraId("yard")


def judge(
    kind: str = "rtsp",
    host: str | None = "10.0.0.8",
    *,
    profile: Profile = Profile.PRODUCTION,
    is_pair_production: bool = True,
) -> None:
    refuse_unfit(
        profile,
        camera_kinds={YARD: "usb", GATE: kind},
        camera_hosts={YARD: None, GATE: host},
        pair="centerface-dlib",
        is_pair_production=is_pair_production,
    )


@pytest.mark.parametrize(
    ("kind", "host"),
    [
        ("rtsp", "10.0.0.8"),
        ("rtsp", "camera.example"),
        ("rtsp", "fd00::8"),
        ("rtsp", "localhost.example"),
        ("usb", None),
        ("csi", None),
    ],
)
def test_a_live_camera_is_taken(kind: str, host: str | None) -> None:
    judge(kind, host)


@pytest.mark.parametrize("kind", ["file", "http", ""])
def test_what_is_not_live_is_refused_by_its_camera_s_name(kind: str) -> None:
    with pytest.raises(AuthorityError, match="camera gate: "):
        judge(kind, None)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost.",
        "localhost.localdomain",
        "ip6-localhost",
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
    ],
)
def test_a_stream_from_this_machine_is_refused(host: str) -> None:
    with pytest.raises(AuthorityError, match="this machine"):
        judge("rtsp", host)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.0.0.1", "gate.localhost"])
def test_another_way_to_write_this_machine_is_refused(host: str) -> None:
    with pytest.raises(AuthorityError, match="this machine"):
        judge("rtsp", host)


def test_the_demonstration_s_networks_are_refused() -> None:
    with pytest.raises(AuthorityError, match=r"models\.pair: centerface-dlib"):
        judge(is_pair_production=False)


def test_development_takes_all_of_it() -> None:
    judge("file", None, profile=Profile.DEVELOPMENT, is_pair_production=False)
