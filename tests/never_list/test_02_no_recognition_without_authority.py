"""Never list, line 2: no recognition without a signed authorisation that names purpose, use case, place,
cameras, start, end, the watchlist's hash and the operating point; outside any of them the vault does not open
and the embedder is not loaded. In production, files and loopback streams are refused.

Built and tested here: what arming refuses, on a real key store and vault; the vault's own second look at the
time; that recognition ends with its authorisation or its clock; what production refuses; that the networks
are opened nowhere but in an armed worker, after the list. Who may sign is line 9.

Not built yet: two people on site raising the threshold, stop and revocation over the network. A host name
that resolves to this machine is not looked up: loopback is refused by its name and by its number.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.app.recognition import EndReason, Recognition
from appliance.app.run import run_appliance
from appliance.app.vision_process import ArmedParts
from appliance.deployment.production import refuse_unfit
from appliance.errors import (
    ApplianceError,
    AuthorityError,
    ConfigError,
    ExpiredError,
    IntegrityError,
    ModelMismatchError,
    RecordError,
)
from appliance.records.deployment import Authorisation, Profile
from appliance.records.ids import ApplianceId, AuthorisationId, CameraId, ModelId
from appliance.vision.intake import Intake
from tests.fakes.clock import START, FakeClock
from tests.fakes.lists import make_authorisation
from tests.never_list.box import MODEL, PAIR, Box
from tests.never_list.imports import callers_of
from tests.never_list.mutation import Mutation

MUTATIONS = [
    Mutation(
        file="appliance/deployment/authority.py",
        old="    _check_time(authorisation, now)",
        new="    del now",
        test="test_an_authorisation_out_of_its_time_arms_nothing",
    ),
    Mutation(
        file="appliance/deployment/authority.py",
        old="    if unnamed:",
        new="    if False:",
        test="test_an_authorisation_for_something_else_arms_nothing",
    ),
    Mutation(
        file="appliance/deployment/authority.py",
        old="authorisation.watchlist_sha256 != list_header.content_sha256",
        new="False",
        test="test_an_authorisation_for_something_else_arms_nothing",
    ),
    Mutation(
        file="appliance/deployment/authority.py",
        old='(("purpose", authorisation.purpose), ("place", authorisation.place))',
        new='(("purpose", authorisation.purpose),)',
        test="test_an_authorisation_that_lacks_something_arms_nothing",
    ),
    Mutation(
        file="appliance/deployment/vault.py",
        old="        if not authorisation.starts_at <= now < authorisation.ends_at:",
        new="        if False:",
        test="test_the_vault_does_not_open_out_of_time",
    ),
    Mutation(
        file="appliance/app/recognition.py",
        old="if is_over(self._deployment.authorisation, self._clock.now()):",
        new="if False:",
        test="test_recognition_ends_with_its_authorisation",
    ),
    Mutation(
        file="appliance/deployment/production.py",
        old="        if kind not in LIVE_KINDS:",
        new="        if False:",
        test="test_production_refuses_recorded_pictures",
    ),
    Mutation(
        file="appliance/app/run.py",
        old="    if ends_with_video and config.appliance.profile is Profile.PRODUCTION:",
        new="    if False:",
        test="test_production_never_ends_with_a_video",
    ),
    Mutation(
        file="appliance/app/vision_process.py",
        old="        opened = open_sealed_list(descriptor, key, arm)\n",
        new="        open_pair(start.pair, Path(start.models_folder), detector_region=None,"
        " embedder_region=None, detector_width_px=32, detector_height_px=32, largest_frame_bytes=1,"
        " threads=1)\n        opened = open_sealed_list(descriptor, key, arm)\n",
        test="test_the_networks_stay_shut_when_the_list_does_not_open",
    ),
]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_with_its_authorisation_it_arms(box: Box) -> None:
    published = box.publish()
    deployment = box.prepare()
    key, descriptor = box.state.vault.open_for(
        deployment.authorisation, box.clock.now(), is_clock_trusted=True
    )
    os.close(descriptor)
    assert key == published.content_key
    assert deployment.arm.operating_point.threshold == published.authorisation.operating_point.threshold


def test_without_a_publication_nothing_is_armed(box: Box) -> None:
    with pytest.raises(AuthorityError, match="no authorisation"):
        box.prepare()


@pytest.mark.parametrize("late_s", [-3600.001, 8 * 3600.0])
def test_an_authorisation_out_of_its_time_arms_nothing(box: Box, late_s: float) -> None:
    box.publish()
    box.clock.advance(late_s)
    with pytest.raises(ExpiredError):
        box.prepare()
    assert box.state.vault.installed is None


def test_a_clock_that_is_not_trusted_arms_nothing(box: Box) -> None:
    box.publish()
    box.clock.distrust()
    with pytest.raises(ExpiredError):
        box.prepare()


def test_an_authorisation_is_good_for_half_a_day_at_most(box: Box) -> None:
    box.publish(authorisation={"ends_at": START + timedelta(hours=11, seconds=1)})
    with pytest.raises(ExpiredError, match="12 hours"):
        box.prepare()


@pytest.mark.parametrize(
    "change",
    [
        {"appliance_id": ApplianceId("box-2")},
        {"camera_ids": (CameraId("door"),)},
        {"watchlist_sha256": "ab" * 32},
        {"recipients": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_authorisation_for_something_else_arms_nothing(box: Box, change: dict[str, Any]) -> None:
    box.publish(authorisation=change)
    # The vault would refuse some of them too; the authorisation is judged before it comes to that.
    with pytest.raises(AuthorityError, match=r"^authorisation: "):
        box.prepare()
    assert box.state.vault.installed is None


@pytest.mark.parametrize("change", [{"purpose": " "}, {"place": ""}, {"camera_ids": ()}], ids=str)
def test_an_authorisation_that_lacks_something_arms_nothing(box: Box, change: dict[str, Any]) -> None:
    box.publish(authorisation=change)
    with pytest.raises(RecordError):
        box.prepare()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model_id": ModelId("model-1")}, ModelMismatchError),
        ({"gallery_size": 1}, AuthorityError),
        ({"threshold": 0.0}, RecordError),
        ({"threshold": float("nan")}, RecordError),
    ],
    ids=str,
)
def test_another_operating_point_arms_nothing(
    box: Box, change: dict[str, Any], error: type[ApplianceError]
) -> None:
    point = replace(make_authorisation("").operating_point, model_id=MODEL)
    box.publish(authorisation={"operating_point": replace(point, **change)})
    with pytest.raises(error):
        box.prepare()


@pytest.mark.parametrize("late_s", [-3600.001, 8 * 3600.0])
def test_the_vault_does_not_open_out_of_time(box: Box, late_s: float) -> None:
    published = box.publish()
    box.install(published)
    now = START + timedelta(seconds=late_s)
    with pytest.raises(ExpiredError):
        box.state.vault.open_for(published.authorisation, now, is_clock_trusted=True)
    with pytest.raises(ExpiredError):
        box.state.vault.open_for(published.authorisation, START, is_clock_trusted=False)


def test_the_vault_does_not_open_for_another_deployment(box: Box) -> None:
    published = box.publish()
    box.install(published)
    for change in ({"authorisation_id": AuthorisationId("auth-2")}, {"watchlist_sha256": "ab" * 32}):
        other: Authorisation = replace(published.authorisation, **change)
        with pytest.raises(AuthorityError):
            box.state.vault.open_for(other, START, is_clock_trusted=True)


async def never(*_: object) -> Any:
    raise AssertionError("nothing is started here")


def test_recognition_ends_with_its_authorisation(box: Box) -> None:
    published = box.publish()
    recognition = Recognition(
        config=box.config,
        config_path=box.config_path,
        deployment=box.prepare(),
        socket_path=box.folder / "workers",
        clock=box.clock,
        open_vault=never,
        on_alert=never,
        on_armed=never,
        on_camera=lambda kind, data: None,
        ends_with_video=False,
    )
    box.clock.step((published.authorisation.ends_at - START).total_seconds() - 0.001)
    assert recognition._end_reason() is None
    box.clock.step(0.001)
    assert recognition._end_reason() is EndReason.AUTHORISATION_OVER
    box.clock.distrust()
    assert recognition._end_reason() is EndReason.CLOCK_NOT_TRUSTED


GATE = CameraId("gate")


@pytest.mark.parametrize(
    ("kind", "host"),
    [
        ("file", None),
        ("rtsp", "localhost"),
        ("rtsp", "LOCALHOST."),
        ("rtsp", "127.0.0.1"),
        ("rtsp", "127.9.9.9"),
        ("rtsp", "0.0.0.0"),
        ("rtsp", "::1"),
        ("rtsp", "::ffff:127.0.0.1"),
    ],
)
def test_production_refuses_recorded_pictures(kind: str, host: str | None) -> None:
    for profile in Profile:
        is_refused = False
        try:
            refuse_unfit(
                profile,
                camera_kinds={GATE: kind},
                camera_hosts={GATE: host},
                pair=PAIR,
                is_pair_production=True,
            )
        except AuthorityError:
            is_refused = True
        assert is_refused is (profile is Profile.PRODUCTION)


def test_production_refuses_the_demonstration_s_networks(tmp_path: Path) -> None:
    box = Box(tmp_path, profile="production", source="rtsp://10.0.0.8/stream")
    box.publish()
    with pytest.raises(AuthorityError, match="demonstration"):
        box.prepare()


def test_a_production_appliance_refuses_a_file_before_it_looks_at_anything(tmp_path: Path) -> None:
    box = Box(tmp_path, profile="production")
    with pytest.raises(AuthorityError, match="live cameras only"):
        box.prepare()


def test_production_never_ends_with_a_video(tmp_path: Path) -> None:
    box = Box(tmp_path, profile="production")
    with pytest.raises(ConfigError, match="--end-with-video"):
        run_appliance(box.config_path, ends_with_video=True, as_json=False)


def test_the_networks_are_opened_in_an_armed_worker_alone() -> None:
    on_the_appliance = {where for where in callers_of("open_pair") if where.startswith("appliance.")}
    assert on_the_appliance == {"appliance.app.vision_process:ArmedParts"}
    assert callers_of("ArmedParts") == {"appliance.app.vision_process:main"}


def test_the_networks_stay_shut_when_the_list_does_not_open(box: Box) -> None:
    published = box.publish()
    deployment = box.prepare()
    # There is no folder of models: with the networks first, it would be they that are missed.
    descriptor = os.open(published.packet.sealed_content, os.O_RDONLY)
    with pytest.raises(IntegrityError):
        ArmedParts(
            deployment.start,
            deployment.arm,
            bytes(32),
            descriptor,
            Intake(),
            lambda alert, ciphertext: None,
            lambda bug: None,
            clock=FakeClock(),
        )
