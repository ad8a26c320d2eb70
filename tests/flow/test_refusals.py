"""What the appliance refuses, as a person meets it: one clear line, exit code 3 (2 for usage), no trace."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.records.deployment import UseCase
from appliance.records.ids import CameraId
from drivers.clock import SystemClock
from models.pairs import operating_points_of
from provisioning.keys import read_appliance_public
from provisioning.ops.authorise import authorise, read_recipient
from provisioning.ops.folder import OpsFolder
from provisioning.ops.publish import publish
from provisioning.ops.signing import sign_authorisation
from tests.fakes.clock import FakeClock
from tests.flow.conftest import AUTHORISERS, MODELS, World, refused

pytestmark = pytest.mark.timeout(90)


def flip_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_an_unknown_key_is_refused(world: World) -> None:
    world.edit_config("frames_k = 3", "frames_k = 3\nthreshold = 0.1")
    assert "decision.threshold: unknown key" in refused(world.appliance_run(), "config.invalid")


def test_a_missing_key_is_refused(world: World) -> None:
    world.edit_config("cooldown_s = 60\n", "")
    assert "decision.cooldown_s: missing key" in refused(world.appliance_run(), "config.invalid")


def test_a_wrong_option_is_a_usage_error(world: World) -> None:
    result = world.run("appliance", "run", "--no-such-option")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_model_with_another_sha256_is_refused(world: World) -> None:
    shutil.copytree(MODELS, world.path / "models-changed")
    flip_byte(world.path / "models-changed" / "dlib-resnet29-1.onnx", 5000)
    world.edit_config(f'folder = "{MODELS}"', 'folder = "models-changed"')
    assert "dlib-resnet29-1" in refused(world.appliance_run(), "model.integrity")


def test_a_list_of_another_model_is_refused(world: World) -> None:
    world.edit_config('pair = "centerface-dlib"', 'pair = "yunet-mobilefacenet"')
    refused(world.appliance_run(), "model.mismatch")


@pytest.mark.parametrize("length_bytes", [0, 3000])
def test_an_empty_or_truncated_video_is_refused(world: World, length_bytes: int) -> None:
    video = world.path / "street.mp4"
    video.write_bytes(video.read_bytes()[:length_bytes])
    assert "street.mp4" in refused(world.appliance_run(), "camera.source")


def test_a_missing_video_is_refused(world: World) -> None:
    (world.path / "street.mp4").unlink()
    assert "street.mp4" in refused(world.appliance_run(), "camera.source")


def test_a_list_with_a_flipped_byte_is_refused(world: World) -> None:
    flip_byte(world.path / "published" / "watchlist.sealed", 2000)
    refused(world.appliance_run(), "integrity")


def test_a_signed_header_with_a_flipped_byte_is_refused(world: World) -> None:
    flip_byte(world.path / "published" / "watchlist.dsse.json", 60)
    refused(world.appliance_run(), "authority.signature")


def test_without_an_authorisation_nothing_runs(world: World) -> None:
    shutil.rmtree(world.path / "published")
    assert "no authorisation" in refused(world.appliance_run(), "authority")


def test_an_authorisation_with_one_signature_is_refused_at_ops(world: World) -> None:
    drafted = world.run(
        "ops", "authorise", "--ops", "ops", "--appliance", "appliance-public.json",
        "--pair", "centerface-dlib", "--cameras", "gate", "--place", "a yard", "--purpose", "a test",
        "--use-case", "test_with_volunteers", "--minutes", "60",
        "--recipient", "handset/handset-1.recipient.json",
    )  # fmt: skip
    assert drafted.returncode == 0, drafted.stderr
    assert world.run("ops", "sign", "ops", "--as", "Authoriser A").returncode == 0
    published = world.run(
        "ops", "publish", "--ops", "ops", "--appliance", "appliance-public.json", "--to", "again"
    )
    assert "1 of the 2" in refused(published, "authority.signature")


@pytest.mark.parametrize(("starts_in_h", "word"), [(-3, "over"), (+1, "not started")])
def test_an_authorisation_outside_its_time_is_refused(world: World, starts_in_h: float, word: str) -> None:
    now = SystemClock().now()
    starts_at = now + timedelta(hours=starts_in_h)
    clock = FakeClock(min(now, starts_at))
    ops = OpsFolder(world.path / "ops")
    public = read_appliance_public(world.path / "appliance-public.json")
    authorise(
        ops,
        clock=clock,
        appliance=public,
        camera_ids=[CameraId("gate")],
        place="a yard",
        purpose="a test",
        use_case=UseCase.TEST_WITH_VOLUNTEERS,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(hours=2),
        recipients=[read_recipient(world.path / "handset" / "handset-1.recipient.json")],
        operating_points=operating_points_of("centerface-dlib"),
        fpir=1e-3,
    )
    for person in AUTHORISERS:
        sign_authorisation(ops, person, clock=clock)
    shutil.rmtree(world.path / "published")
    publish(ops, clock=clock, appliance=public, to=world.path / "published")
    assert word in refused(world.appliance_run(), "authority.expired")


def test_another_camera_than_the_authorised_is_refused(world: World) -> None:
    world.edit_config('id = "gate"', 'id = "back-door"')
    assert "back-door" in refused(world.appliance_run(), "authority")


def test_a_file_is_refused_in_production(world: World) -> None:
    world.edit_config('profile = "development"', 'profile = "production"')
    world.edit_config(
        'password_file = "broker.password"',
        'tls = { authority = "ca.pem", certificate = "box.pem", key = "box.key" }',
    )
    result = world.run("appliance", "run", "--config", "appliance.toml")
    assert "live cameras only" in refused(result, "authority")
    refused(world.appliance_run(), "config.invalid")


def test_a_changed_trust_file_is_refused(world: World) -> None:
    flip_byte(world.path / "ops" / "trust.json", 100)
    refused(world.appliance_run(), "integrity")


def test_a_second_appliance_on_the_same_state_is_refused(world: World) -> None:
    import fcntl

    with (world.path / "state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another appliance" in refused(world.appliance_run(), "storage")
