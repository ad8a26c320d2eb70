"""Never list, line 6: alert pictures go after the profile's retention, 31 days at most, unless a named case
holds them; the appliance cannot read its own CCTV.

Built and tested here: the ceiling on retention in the configuration; that the appliance deletes an alert's
message, which is the only place where its pictures are, once nobody needs it for delivery any more (each
handset has shown it, or it has expired), and that a forgotten deployment leaves no byte of it on the disk.
An appliance of this version therefore keeps alert pictures for minutes, not days.

Not built yet: retention on handsets and in a case (28 days, renewed by two people), and CCTV. There is no
CCTV of any kind in this version: no key turns it on, and nothing writes a frame to a disk; that is tested.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.config import load_config
from appliance.errors import ConfigError
from appliance.records.alerts import Adjudication, Judgement, Outcome, Receipt, SealedAlert
from appliance.records.ids import AlertId, HandsetId
from drivers.outbox import SqliteOutbox
from tests.fakes.alerts import DEPLOYMENT, AlertWorld, make_world
from tests.fakes.clock import START
from tests.never_list.box import Box
from tests.never_list.imports import importers_of, imports_of, modules, reached_from
from tests.never_list.mutation import Mutation
from tests.surface.look import configuration

RECORDING = re.compile(r"cctv|record|footage|archive|store_|save|snapshot|keep")
HANDSETS = ("handset-1", "handset-2")
EXPIRES_AT = START + timedelta(minutes=10)

MUTATIONS = [
    Mutation(
        file="appliance/config.py",
        old="LONGEST_RETENTION_DAYS = 31",
        new="LONGEST_RETENTION_DAYS = 365",
        test="test_no_configuration_keeps_pictures_for_more_than_31_days",
    ),
    Mutation(
        file="drivers/outbox.py",
        old='"UPDATE alert SET message = NULL WHERE message IS NOT NULL AND NOT EXISTS"',
        new='"UPDATE alert SET is_expired = is_expired WHERE message IS NOT NULL AND NOT EXISTS"',
        test="test_an_alert_s_pictures_go_when_each_handset_has_shown_it",
    ),
    Mutation(
        file="drivers/outbox.py",
        old="UPDATE alert SET is_expired = 1, message = NULL WHERE",
        new="UPDATE alert SET is_expired = 1 WHERE",
        test="test_an_alert_s_pictures_go_when_it_has_expired",
    ),
    Mutation(
        file="drivers/outbox.py",
        old="PRAGMA wal_checkpoint(TRUNCATE)",
        new="SELECT 0, 0, 0",
        test="test_a_forgotten_deployment_leaves_no_byte_of_its_alerts",
    ),
    Mutation(
        file="appliance/config.py",
        old="    actionable_s: Annotated",
        new="    cctv_folder: Text | None = None\n    actionable_s: Annotated",
        test="test_no_key_turns_a_recording_on",
    ),
    Mutation(
        file="appliance/app/capture_process.py",
        old="from drivers.clock import SystemClock",
        new="from drivers.cameras.writer import VideoWriter\nfrom drivers.clock import SystemClock",
        test="test_nothing_that_writes_video_can_come_into_the_appliance",
    ),
]


@pytest.fixture
def world(tmp_path: Path) -> AlertWorld:
    return make_world(tmp_path / "handsets", HANDSETS)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[SqliteOutbox]:
    (tmp_path / "disk").mkdir()
    with SqliteOutbox(tmp_path / "disk" / "outbox.sqlite") as opened:
        yield opened


def admit(outbox: SqliteOutbox, world: AlertWorld) -> SealedAlert:
    alert = world.seal()
    outbox.admit(
        alert,
        lambda sequence: world.pack(alert),
        deployment_id=DEPLOYMENT,
        expires_at=EXPIRES_AT,
        cooldown_s=60.0,
        now=START,
    )
    assert outbox.message_of(alert.alert_id) == world.pack(alert)
    return alert


def receipt(alert_id: AlertId, handset: str) -> Receipt:
    return Receipt(alert_id=alert_id, deployment_id=DEPLOYMENT, handset_id=HandsetId(handset), shown_at=START)


@pytest.mark.parametrize("days", [0, 32, 365])
def test_no_configuration_keeps_pictures_for_more_than_31_days(tmp_path: Path, days: int) -> None:
    path = Box(tmp_path).config_path
    assert load_config(path).alerts.retention_days == 31
    text = path.read_text(encoding="utf-8").replace("retention_days = 31", f"retention_days = {days}")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="retention_days"):
        load_config(path)


def test_retention_has_no_default(tmp_path: Path) -> None:
    path = Box(tmp_path).config_path
    path.write_text(path.read_text(encoding="utf-8").replace("retention_days = 31", ""), encoding="utf-8")
    with pytest.raises(ConfigError, match="retention_days: missing key"):
        load_config(path)


def test_an_alert_s_pictures_go_when_each_handset_has_shown_it(
    outbox: SqliteOutbox, world: AlertWorld
) -> None:
    alert = admit(outbox, world)
    outbox.record_receipt(receipt(alert.alert_id, "handset-1"))
    assert outbox.message_of(alert.alert_id) is not None  # the other handset has not shown it
    outbox.record_adjudication(
        Adjudication(
            alert_id=alert.alert_id,
            deployment_id=DEPLOYMENT,
            handset_id=HandsetId("handset-2"),
            judgement=Judgement.SAME,
            outcome=Outcome.NO_ACTION,
            decided_at=START,
        )
    )
    assert outbox.message_of(alert.alert_id) is None


def test_an_alert_s_pictures_go_when_it_has_expired(outbox: SqliteOutbox, world: AlertWorld) -> None:
    alert = admit(outbox, world)
    assert outbox.expire(EXPIRES_AT - timedelta(seconds=1)) == []
    assert outbox.expire(EXPIRES_AT) == [alert.alert_id]
    assert outbox.message_of(alert.alert_id) is None


def test_a_forgotten_deployment_leaves_no_byte_of_its_alerts(
    outbox: SqliteOutbox, world: AlertWorld, tmp_path: Path
) -> None:
    alert = admit(outbox, world)
    piece = alert.ciphertext[1000:1016]
    assert piece in on_disk(tmp_path / "disk")
    outbox.forget_deployment(DEPLOYMENT)
    assert piece not in on_disk(tmp_path / "disk")


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_no_key_turns_a_recording_on() -> None:
    assert not [key for key in configuration() if RECORDING.search(key)]


def test_nothing_that_writes_video_can_come_into_the_appliance() -> None:
    # The demonstration makes its own video with it, of drawn and public faces.
    importers = importers_of("drivers.cameras.writer")
    assert {each.rpartition(".")[0] for each in importers} <= {"appliance.app.demo"}
    for process in ("appliance.app.run", "appliance.app.vision_process", "appliance.app.capture_process"):
        assert "drivers.cameras.writer" not in reached_from(process)


def test_what_comes_out_of_a_ring_goes_to_the_matcher_alone() -> None:
    readers = {module for module in modules() if "drivers.ring" in imports_of(module)}
    assert readers == {
        "appliance.app.capture_process",  # writes
        "appliance.app.capture_watch",  # zeroes what was not committed
        "appliance.app.recognition",  # makes it, sees no picture
        "appliance.app.vision_process",  # reads
    }
