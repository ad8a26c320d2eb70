"""Central ops, from keys to a publication that an appliance accepts, and to nothing."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from appliance.app.state import open_state
from appliance.deployment.authority import accept_authorisation, load_trust
from appliance.envelope import sign_payload
from appliance.errors import (
    AuthorityError,
    EnrolmentError,
    ExpiredError,
    KeyStoreError,
    RecordError,
    SignatureError,
    StorageError,
    UsageError,
)
from appliance.records.deployment import AppliancePublic, Authorisation, OperatingPoint, UseCase
from appliance.records.frames import Face, Pixels, Points, Template
from appliance.records.ids import ApplianceId, CameraId, PersonName
from appliance.records.watchlist import Category
from appliance.records.wire import dump_record
from appliance.watchlist.acceptance import accept_list
from appliance.watchlist.content import open_content, unpack_content
from appliance.watchlist.enrolment import Enroller
from appliance.watchlist.packet import read_packet
from drivers.pictures import PillowCodec, read_picture
from provisioning.keys import dump_appliance_public, make_appliance_keys, read_appliance_public
from provisioning.ops.authorise import authorise, choose_operating_point, read_recipient
from provisioning.ops.drafts import read_draft_header
from provisioning.ops.enrol import EnrolmentReport, enrol_folder
from provisioning.ops.folder import OpsFolder
from provisioning.ops.initialise import init_ops, trust_sha256
from provisioning.ops.people import EntryDefaults, parse_time
from provisioning.ops.publish import Publication, erase_lists, publish
from provisioning.ops.report import dump_report, print_report
from provisioning.ops.signing import sign_as, sign_authorisation, sign_list
from tests.fakes.clock import START, FakeClock
from tests.fakes.lists import MODEL, make_authorisation
from tests.fakes.networks import FakeDetector, FakeEmbedder, make_face
from tests.fakes.region import FakeRegion

LENGTH = 32


def faces_of(pixels: Pixels) -> list[Face]:
    """Find as many faces as the picture's colour says."""
    red, green, blue = (int(value) for value in pixels[0, 0])
    if green > red:
        return []
    return [make_face(), make_face(x_px=200)] if blue > red else [make_face()]


class WideEmbedder(FakeEmbedder):
    @property
    def template_length(self) -> int:
        return LENGTH


def template_of(pixels: Pixels, points: Points) -> Template:
    template = np.zeros(LENGTH, dtype=np.float32)
    template[int(pixels[0, 0, 0]) % LENGTH] = 1.0
    return template


def save(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (320, 320), colour)
    blotches = np.random.default_rng(7).integers(20, 235, (28, 28, 3), dtype=np.uint8)
    # Something to see where the face is: the quality gate refuses a plain patch.
    picture.paste(Image.fromarray(blotches.repeat(10, 0).repeat(10, 1)), (20, 20))
    picture.save(path)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ops(tmp_path: Path) -> OpsFolder:
    return init_ops(tmp_path / "ops", is_development=True)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    save(folder / "ann" / "1.png", (200, 0, 0))
    save(folder / "ann" / "2.png", (201, 0, 0))
    save(folder / "ben" / "1.png", (202, 0, 0))
    return folder


@pytest.fixture
def appliance(tmp_path: Path) -> AppliancePublic:
    return make_appliance_keys(tmp_path / "state", ApplianceId("box-1"), 2)


def enrol(ops: OpsFolder, pictures: Path, clock: FakeClock, **changes: Any) -> EnrolmentReport:
    defaults = {
        "enroller": PersonName("E. Enroller"),
        "reviewer": PersonName("R. Reviewer"),
        "expires_at": clock.now() + timedelta(days=2),
    }
    arguments: dict[str, Any] = {"entries_csv": None} | changes
    for key in ("enroller", "reviewer", "expires_at", "category"):
        if key in arguments:
            defaults[key] = arguments.pop(key)
    return enrol_folder(
        ops,
        pictures,
        clock=clock,
        enroller=Enroller(
            detector=FakeDetector(faces_of, FakeRegion()),
            embedder=WideEmbedder(template_of, FakeRegion()),
            codec=PillowCodec(),
        ),
        read_picture=read_picture,
        model_id=MODEL,
        template_length=LENGTH,
        defaults=EntryDefaults(**defaults),  # type: ignore[arg-type]  # gathered above
        **arguments,
    )


def permit(ops: OpsFolder, appliance: AppliancePublic, clock: FakeClock, **changes: Any) -> Authorisation:
    example = make_authorisation("0" * 64)
    arguments: dict[str, Any] = {
        "camera_ids": [CameraId("gate")],
        "place": "the yard",
        "purpose": "a test",
        "use_case": UseCase.TEST_WITH_VOLUNTEERS,
        "starts_at": clock.now() + timedelta(hours=1),
        "ends_at": clock.now() + timedelta(hours=3),
        "recipients": example.recipients,
        "operating_points": [example.operating_point],
        "fpir": 1e-3,
    }
    return authorise(ops, clock=clock, appliance=appliance, **(arguments | changes))


def publish_all(
    ops: OpsFolder, pictures: Path, appliance: AppliancePublic, clock: FakeClock, to: Path
) -> Publication:
    enrol(ops, pictures, clock)
    permit(ops, appliance, clock)
    for person in ("Lister A", "Lister B", "Authoriser A", "Authoriser C"):
        sign_as(ops, person, clock=clock)
    return publish(ops, clock=clock, appliance=appliance, to=to)


def test_appliance_accepts_what_ops_publishes(
    ops: OpsFolder, pictures: Path, appliance: AppliancePublic, clock: FakeClock, tmp_path: Path
) -> None:
    published = publish_all(ops, pictures, appliance, clock, tmp_path / "pub")
    assert (published.n_entries, published.n_keys_left) == (2, 1)
    clock.advance(3600)
    trust = load_trust(ops.trust_path.read_bytes(), trust_sha256(ops))
    packet = read_packet(tmp_path / "pub")
    header = accept_list(
        packet.header, trust, now=clock.now(), is_clock_trusted=True, last_version_seen=0, model_id=MODEL
    )
    authorisation = accept_authorisation(
        packet.authorisation,
        trust,
        now=clock.now(),
        is_clock_trusted=True,
        appliance_id=appliance.appliance_id,
        camera_ids=[CameraId("gate")],
        list_header=header,
        model_id=MODEL,
    )
    vault = open_state(tmp_path / "state").vault
    vault.install(packet, header, authorisation)
    key, descriptor = vault.open_for(authorisation, clock.now(), is_clock_trusted=True)
    with os.fdopen(descriptor, "rb") as file:
        content = unpack_content(open_content(file.read(), key, header.content_sha256), header)
    assert [entry.name for entry in content.index.entries] == ["ann", "ben"]
    assert [len(entry.references) for entry in content.index.entries] == [2, 1]
    assert content.templates.shape == (3, LENGTH)


def test_no_plain_content_lies_anywhere(
    ops: OpsFolder, pictures: Path, appliance: AppliancePublic, clock: FakeClock, tmp_path: Path
) -> None:
    publish_all(ops, pictures, appliance, clock, tmp_path / "pub")
    for folder in (tmp_path / "ops", tmp_path / "pub", tmp_path / "state"):
        for path in folder.rglob("*"):
            if path.is_file():
                assert path.stat().st_mode & 0o077 == 0, path
                data = path.read_bytes()
                assert b"WL1\n" not in data
                assert b"JFIF" not in data
                assert b"R. Reviewer" not in data


def test_after_erasing_ops_holds_nothing_that_opens(
    ops: OpsFolder, pictures: Path, appliance: AppliancePublic, clock: FakeClock, tmp_path: Path
) -> None:
    publish_all(ops, pictures, appliance, clock, tmp_path / "pub")
    copy = ops.content_path(1).read_bytes()
    assert erase_lists(ops) == [1]
    assert ops.list_versions() == []
    assert not [key_id for key_id in ops.keys.list_ids() if key_id.startswith("draft")]
    sha256 = read_packet(tmp_path / "pub").key
    assert sha256
    for key_id in ops.keys.list_ids():
        with pytest.raises(Exception, match="do not open"):
            open_content(copy, ops.keys.load(key_id), json.loads(sha256)["content_sha256"])
    with pytest.raises(AuthorityError, match="erased"):
        publish(ops, clock=clock, appliance=appliance, to=tmp_path / "pub2")
    enrol(ops, pictures, clock)
    assert ops.list_versions() == [2]  # versions only rise


def test_list_key_is_never_used_twice(
    ops: OpsFolder, pictures: Path, appliance: AppliancePublic, clock: FakeClock, tmp_path: Path
) -> None:
    first = publish_all(ops, pictures, appliance, clock, tmp_path / "1")
    second = publish(ops, clock=clock, appliance=appliance, to=tmp_path / "2")
    assert first.key_id != second.key_id
    with pytest.raises(AuthorityError, match="used up"):
        publish(ops, clock=clock, appliance=appliance, to=tmp_path / "3")
    assert not (tmp_path / "3").exists()


def test_failed_publication_wastes_its_key_and_does_not_reuse_it(
    ops: OpsFolder, pictures: Path, appliance: AppliancePublic, clock: FakeClock, tmp_path: Path
) -> None:
    first = publish_all(ops, pictures, appliance, clock, tmp_path / "1")
    with pytest.raises(StorageError):
        publish(ops, clock=clock, appliance=appliance, to=tmp_path / "1")
    assert first.key_id in ops.state.used_list_keys
    assert len(ops.state.used_list_keys) == 2


@pytest.mark.parametrize(
    "people", [("Lister A",), ("Lister A", "Lister B", "Authoriser A"), ("Authoriser A", "Authoriser B")]
)
def test_half_signed_publication_is_refused(
    ops: OpsFolder,
    pictures: Path,
    appliance: AppliancePublic,
    clock: FakeClock,
    tmp_path: Path,
    people: Sequence[str],
) -> None:
    enrol(ops, pictures, clock)
    permit(ops, appliance, clock)
    for person in (*people, people[0]):  # the same person twice counts once
        sign_as(ops, person, clock=clock)
    with pytest.raises(SignatureError):
        publish(ops, clock=clock, appliance=appliance, to=tmp_path / "pub")
    assert ops.state.used_list_keys == ()


def test_publication_for_another_appliance_is_refused(
    ops: OpsFolder, pictures: Path, appliance: AppliancePublic, clock: FakeClock, tmp_path: Path
) -> None:
    publish_all(ops, pictures, appliance, clock, tmp_path / "pub")
    other = make_appliance_keys(tmp_path / "state-2", ApplianceId("box-2"), 1)
    with pytest.raises(AuthorityError, match="another appliance"):
        publish(ops, clock=clock, appliance=other, to=tmp_path / "pub2")


def test_publication_after_the_end_is_refused(
    ops: OpsFolder, pictures: Path, appliance: AppliancePublic, clock: FakeClock, tmp_path: Path
) -> None:
    publish_all(ops, pictures, appliance, clock, tmp_path / "pub")
    clock.advance(3 * 3600)
    with pytest.raises(ExpiredError):
        publish(ops, clock=clock, appliance=appliance, to=tmp_path / "pub2")


def test_person_signs_their_own_role_only(ops: OpsFolder, pictures: Path, clock: FakeClock) -> None:
    enrol(ops, pictures, clock)
    with pytest.raises(AuthorityError, match="signs authorisation only"):
        sign_list(ops, "Authoriser A", clock=clock)
    with pytest.raises(AuthorityError, match="signs watchlist only"):
        sign_authorisation(ops, "Lister A", clock=clock)
    with pytest.raises(UsageError, match="Lister A"):
        sign_as(ops, "Nobody", clock=clock)


def test_nothing_to_sign_is_said(ops: OpsFolder, clock: FakeClock) -> None:
    for person in ("Lister A", "Authoriser A"):
        with pytest.raises(UsageError, match="ops "):
            sign_as(ops, person, clock=clock)


def test_changed_draft_is_not_signed(ops: OpsFolder, pictures: Path, clock: FakeClock) -> None:
    enrol(ops, pictures, clock)
    path = ops.content_path(1)
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    with pytest.raises(Exception, match="do not open"):
        sign_list(ops, "Lister A", clock=clock)


def test_header_that_does_not_fit_its_content_is_not_signed(
    ops: OpsFolder, pictures: Path, clock: FakeClock
) -> None:
    enrol(ops, pictures, clock)
    header = replace(read_draft_header(ops, 1), n_entries=3)
    ops.header_path(1).write_bytes(sign_payload("watchlist", dump_record(header), ()))
    with pytest.raises(RecordError, match="n_entries"):
        sign_list(ops, "Lister A", clock=clock)


def test_expired_draft_is_not_signed(
    ops: OpsFolder, pictures: Path, appliance: AppliancePublic, clock: FakeClock
) -> None:
    enrol(ops, pictures, clock)
    permit(ops, appliance, clock)
    clock.advance(2 * 86400)
    for person in ("Lister A", "Authoriser A"):
        with pytest.raises(ExpiredError):
            sign_as(ops, person, clock=clock)


def test_every_file_is_enrolled_or_refused_with_its_reason(
    ops: OpsFolder, pictures: Path, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    save(pictures / "cat" / "no-face.png", (0, 200, 0))
    save(pictures / "dan" / "two.png", (10, 0, 200))
    save(pictures / "dan" / "one.png", (203, 0, 0))
    (pictures / "eve").mkdir()
    (pictures / "ann" / "notes.txt").write_text("not a picture")
    (pictures / "loose.jpg").write_text("")
    seen: list[tuple[int, int]] = []
    report = enrol(ops, pictures, clock, progress=lambda n_done, n_all: seen.append((n_done, n_all)))
    assert [(person.label, person.n_references) for person in report.enrolled] == [
        ("ann", 2),
        ("ben", 1),
        ("dan", 1),
    ]
    assert {each.label: each.reason for each in report.refused_people} == {
        "cat": "no usable picture: no face",
        "eve": "no picture in the folder",
        "loose.jpg": "not in a person's folder",
    }
    assert {each.label: each.reason for each in report.refused_pictures} == {
        "cat/no-face.png": "no face",
        "dan/two.png": "2 faces",
        "ann/notes.txt": "notes.txt: not a picture",
    }
    assert seen == [(n, 5) for n in range(1, 6)]
    assert json.loads(dump_report(report))["n_enrolled"] == 3
    print_report(report)
    shown = capsys.readouterr().out
    assert "no-face.png" in shown
    assert "loose.jpg" in shown


def test_nobody_enrolled_is_an_error_with_the_first_reason(
    ops: OpsFolder, tmp_path: Path, clock: FakeClock
) -> None:
    save(tmp_path / "none" / "cat" / "1.png", (0, 200, 0))
    with pytest.raises(EnrolmentError, match="cat: no usable picture: no face"):
        enrol(ops, tmp_path / "none", clock)
    with pytest.raises(EnrolmentError, match="nobody"):
        (tmp_path / "empty").mkdir()
        enrol(ops, tmp_path / "empty", clock)
    with pytest.raises(UsageError, match="no such folder"):
        enrol(ops, tmp_path / "missing", clock)
    assert ops.list_versions() == []


def test_enroller_may_not_review(ops: OpsFolder, pictures: Path, clock: FakeClock) -> None:
    with pytest.raises(EnrolmentError, match="reviewer"):
        enrol(ops, pictures, clock, reviewer=PersonName("e. enroller"))


@pytest.mark.parametrize("days", [0, -1, 32])
def test_list_life_is_bounded(ops: OpsFolder, pictures: Path, clock: FakeClock, days: int) -> None:
    with pytest.raises(UsageError, match="31 days"):
        enrol(ops, pictures, clock, expires_at=clock.now() + timedelta(days=days))


def write_csv(path: Path, *lines: dict[str, str]) -> Path:
    columns = sorted({column for line in lines for column in line})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_lines_fill_the_entries(ops: OpsFolder, pictures: Path, clock: FakeClock, tmp_path: Path) -> None:
    soon = (clock.now() + timedelta(days=1)).isoformat()
    lines = write_csv(
        pictures / "entries.csv",
        {"folder": "ann", "name": "Ann", "category": "risk_to_others", "ground": "threats"}
        | {"ground_dated_on": "2026-11-01", "captured_on": "2026-10-01", "expires_at": soon},
        {"folder": "ben", "category": "risk_to_others", "ground": "threats"},
        {"folder": "zoe"},
    )
    report = enrol(ops, pictures, clock, entries_csv=lines)
    assert [person.label for person in report.enrolled] == ["ann"]
    assert report.expires_at == clock.now() + timedelta(days=1)  # the earliest entry's
    refused = {each.label: each.reason for each in report.refused_people}
    assert refused.keys() == {"ben", "zoe"}
    assert "ground_dated_on" in refused["ben"]
    assert refused["zoe"] == "no such folder"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"category": "annoying"}, "category"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2026-12-01T00:00:00"}, "zone"),
        ({"expires_at": "2026-11-01T00:00:00Z"}, "expires_at"),
        ({"is_under_18": "maybe"}, "is_under_18"),
        ({"is_under_18": "yes"}, "under_18_approved_by"),
        ({"captured_on": "last summer"}, "captured_on"),
        ({"enroller": "X", "reviewer": "x"}, "reviewer"),
    ],
)
def test_wrong_field_in_a_line_refuses_the_person(
    ops: OpsFolder, pictures: Path, clock: FakeClock, line: dict[str, str], reason: str
) -> None:
    lines = write_csv(pictures / "entries.csv", {"folder": "ann"} | line, {"folder": "ben"})
    report = enrol(ops, pictures, clock, entries_csv=lines)
    assert [person.label for person in report.enrolled] == ["ben"]
    assert reason in report.refused_people[0].reason


def test_file_of_lines_that_is_wrong_is_refused(
    ops: OpsFolder, pictures: Path, clock: FakeClock, tmp_path: Path
) -> None:
    unknown = write_csv(tmp_path / "1.csv", {"folder": "ann", "age": "30"})
    doubled = write_csv(tmp_path / "2.csv", {"folder": "ann"}, {"folder": "ann"})
    (tmp_path / "3.csv").write_text("folder,name\nann\n")
    (tmp_path / "4.csv").write_bytes(b"folder\n\xff\xfe\n")
    for path in (unknown, doubled, tmp_path / "3.csv", tmp_path / "4.csv"):
        with pytest.raises(RecordError):
            enrol(ops, pictures, clock, entries_csv=path)
    with pytest.raises(UsageError):
        enrol(ops, pictures, clock, entries_csv=tmp_path / "missing.csv")


def test_category_is_the_default_of_all(ops: OpsFolder, pictures: Path, clock: FakeClock) -> None:
    report = enrol(ops, pictures, clock, category=Category.WANTED_BY_COURTS)
    assert len(report.enrolled) == 2


def point(**changes: Any) -> OperatingPoint:
    values: dict[str, Any] = {"model_id": MODEL, "threshold": 0.5, "fpir": 1e-3, "fnir": 0.1}
    values |= {"gallery_size": 100, "test_set": "t", "measured_on": "2026-11-01"}
    return OperatingPoint(**(values | changes))


def test_operating_point_of_the_smallest_sufficient_list_is_taken() -> None:
    points = [point(gallery_size=size) for size in (1000, 100, 10)]
    assert choose_operating_point(points, model_id=MODEL, n_entries=11, fpir=1e-3).gallery_size == 100
    assert choose_operating_point(points, model_id=MODEL, n_entries=10, fpir=1e-3).gallery_size == 10


def test_operating_point_is_never_laxer_than_asked() -> None:
    points = [point(fpir=0.9e-3, threshold=0.6), point(fpir=0.6e-3), point(fpir=1.1e-3)]
    assert choose_operating_point(points, model_id=MODEL, n_entries=1, fpir=1e-3).threshold == 0.6


@pytest.mark.parametrize(
    "changes", [{"n_entries": 101}, {"fpir": 1e-4}, {"fpir": 1e-2}, {"model_id": "other"}]
)
def test_missing_operating_point_is_refused(changes: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"model_id": MODEL, "n_entries": 1, "fpir": 1e-3}
    with pytest.raises(AuthorityError, match="models calibrate"):
        choose_operating_point([point()], **(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"ends_at": START + timedelta(hours=14)}, ExpiredError),
        ({"starts_at": START - timedelta(hours=2), "ends_at": START}, ExpiredError),
        ({"recipients": ()}, AuthorityError),
        ({"place": " "}, RecordError),
        ({"camera_ids": [CameraId("a camera")]}, RecordError),
        ({"camera_ids": []}, RecordError),
    ],
)
def test_authorisation_that_no_appliance_would_accept_is_not_drafted(
    ops: OpsFolder,
    pictures: Path,
    appliance: AppliancePublic,
    clock: FakeClock,
    changes: dict[str, Any],
    error: type[Exception],
) -> None:
    enrol(ops, pictures, clock)
    with pytest.raises(error):
        permit(ops, appliance, clock, **changes)
    assert list((ops.path / "authorisations").iterdir()) == []


def test_keys_without_a_passphrase_must_be_agreed_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--development"):
        init_ops(tmp_path / "ops", is_development=False)


def test_folder_in_use_is_refused(ops: OpsFolder) -> None:
    with pytest.raises(UsageError, match="not empty"):
        init_ops(ops.path, is_development=True)


@pytest.mark.parametrize(
    ("listers", "authorisers"), [(("A", "B"), ("B", "C")), (("A",), ("B", "C")), (("A", "a"), ("B", "C"))]
)
def test_signers_in_both_roles_or_too_few_are_refused(
    tmp_path: Path, listers: Sequence[str], authorisers: Sequence[str]
) -> None:
    with pytest.raises(AuthorityError):
        init_ops(tmp_path / "ops", is_development=True, list_signers=listers, authorisers=authorisers)


def test_folder_that_ops_did_not_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ops init"):
        OpsFolder(tmp_path)


def test_two_commands_at_once_are_refused(ops: OpsFolder, pictures: Path, clock: FakeClock) -> None:
    with ops.locked(), pytest.raises(StorageError, match="another command"):
        enrol(ops, pictures, clock)


def test_more_list_keys_keep_the_signing_key(tmp_path: Path, appliance: AppliancePublic) -> None:
    more = make_appliance_keys(tmp_path / "state", ApplianceId("box-1"), 3)
    assert more.signing_key_hex == appliance.signing_key_hex
    assert set(appliance.list_keys) < set(more.list_keys)
    assert len(more.list_keys) == 5


def test_appliance_public_comes_back_as_written(tmp_path: Path, appliance: AppliancePublic) -> None:
    (tmp_path / "public.json").write_bytes(dump_appliance_public(appliance))
    assert read_appliance_public(tmp_path / "public.json") == appliance
    (tmp_path / "public.json").write_text("{}")
    with pytest.raises(RecordError):
        read_appliance_public(tmp_path / "public.json")
    with pytest.raises(KeyStoreError, match="provision keys"):
        read_appliance_public(tmp_path / "missing.json")


def test_recipient_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.recipient.json"
    path.write_bytes(dump_record(make_authorisation("0" * 64).recipients[0]))
    assert read_recipient(path).handset_id == "handset-1"
    path.write_text("[]")
    with pytest.raises(RecordError, match=r"x\.recipient\.json"):
        read_recipient(path)
    with pytest.raises(StorageError):
        read_recipient(tmp_path / "missing.json")


@pytest.mark.parametrize("text", ["", "noon", "2026-12-31", "2026-12-31T18:00:00", "2026-99-31T18:00:00Z"])
def test_time_without_a_zone_or_none_is_refused(text: str) -> None:
    with pytest.raises(RecordError):
        parse_time(text)


def test_trust_pin_is_the_files_sha256(ops: OpsFolder) -> None:
    assert trust_sha256(ops) == hashlib.sha256(ops.trust_path.read_bytes()).hexdigest()


def run(*arguments: str | Path, module: str = "provisioning.ops") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_command_line_prints_one_line_for_a_failure(tmp_path: Path) -> None:
    done = run("init", tmp_path / "ops", "--development", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["trust_sha256"]) == 64
    refused = run("sign", tmp_path / "ops", "--as", "Lister A")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error[usage]: ")
    assert refused.stderr.count("\n") == 1
    unknown = run("init", tmp_path / "other", "--unknown")
    assert unknown.returncode == 2


def test_provision_keys_needs_a_configuration(tmp_path: Path) -> None:
    done = run("keys", "--config", tmp_path / "missing.toml", module="provisioning")
    assert done.returncode == 3
    assert done.stderr.startswith("error[config.invalid]: ")
    assert done.stderr.count("\n") == 1
