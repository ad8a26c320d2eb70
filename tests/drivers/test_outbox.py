"""The outbox on a real disk."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from appliance.errors import RecordError, StorageError
from appliance.records.alerts import Adjudication, Judgement, Outcome, Receipt, SealedAlert, SealedKey
from appliance.records.delivery import Admission, AdmissionRefusal, Recorded
from appliance.records.ids import AlertId, AuthorisationId, CameraId, EntryId, HandsetId
from drivers.outbox import SqliteOutbox
from tests.fakes.clock import START

DEPLOYMENT = AuthorisationId("deployment-1")
COOLDOWN_S = 300.0


def make_alert(number: int, entry: str = "entry-1", handsets: tuple[str, ...] = ("h1", "h2")) -> SealedAlert:
    return SealedAlert(
        alert_id=AlertId(f"alert-{number}"),
        camera_id=CameraId("c"),
        entry_id=EntryId(entry),
        captured_at=START,
        sealed_keys=tuple(SealedKey(handset_id=HandsetId(one), sealed_key_base64="") for one in handsets),
        ciphertext=b"",
    )


def admit(
    outbox: SqliteOutbox,
    number: int,
    entry: str = "entry-1",
    *,
    now: datetime = START,
    deployment: AuthorisationId = DEPLOYMENT,
) -> Admission:
    return outbox.admit(
        make_alert(number, entry),
        lambda sequence: b"SECRET-MESSAGE-%d" % sequence,
        deployment_id=deployment,
        expires_at=now + timedelta(minutes=10),
        cooldown_s=COOLDOWN_S,
        now=now,
    )


def make_receipt(number: int, handset: str = "h1", deployment: AuthorisationId = DEPLOYMENT) -> Receipt:
    return Receipt(
        alert_id=AlertId(f"alert-{number}"),
        deployment_id=deployment,
        handset_id=HandsetId(handset),
        shown_at=START + timedelta(microseconds=1_234_567),
    )


def make_adjudication(
    number: int, handset: str = "h1", judgement: Judgement = Judgement.SAME
) -> Adjudication:
    return Adjudication(
        alert_id=AlertId(f"alert-{number}"),
        deployment_id=DEPLOYMENT,
        handset_id=HandsetId(handset),
        judgement=judgement,
        outcome=Outcome.SPOKEN_TO,
        decided_at=START,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(path: Path) -> Iterator[SqliteOutbox]:
    with SqliteOutbox(path) as opened:
        yield opened


def test_admitted_alert_is_pending_for_each_handset_newest_first(outbox: SqliteOutbox) -> None:
    assert [admit(outbox, n, f"entry-{n}").sequence for n in (1, 2)] == [1, 2]
    rows = outbox.pending(START)
    assert [(row.sequence, row.handset_id) for row in rows] == [(2, "h1"), (2, "h2"), (1, "h1"), (1, "h2")]
    assert outbox.message_of(AlertId("alert-2")) == b"SECRET-MESSAGE-2"


def test_entry_within_its_cool_down_is_refused(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    again = admit(outbox, 2, now=START + timedelta(seconds=COOLDOWN_S - 0.001))
    assert again == Admission(sequence=None, refusal=AdmissionRefusal.COOL_DOWN)
    assert admit(outbox, 3, now=START + timedelta(seconds=COOLDOWN_S)).is_admitted


def test_refused_alert_does_not_prolong_the_cool_down(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    admit(outbox, 2, now=START + timedelta(seconds=200))
    assert admit(outbox, 3, now=START + timedelta(seconds=COOLDOWN_S)).is_admitted


def test_other_entry_in_the_same_second_is_admitted(outbox: SqliteOutbox) -> None:
    assert admit(outbox, 1, "entry-1").is_admitted
    assert admit(outbox, 2, "entry-2").is_admitted


def test_same_entry_of_another_deployment_is_admitted(outbox: SqliteOutbox) -> None:
    assert admit(outbox, 1).is_admitted
    assert admit(outbox, 2, deployment=AuthorisationId("deployment-2")).is_admitted


def test_cool_down_survives_a_restart(path: Path) -> None:
    with SqliteOutbox(path) as outbox:
        admit(outbox, 1)
    with SqliteOutbox(path) as outbox:
        assert admit(outbox, 2).refusal is AdmissionRefusal.COOL_DOWN


def test_clock_set_far_back_does_not_swallow_alerts(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    assert admit(outbox, 2, now=START - timedelta(hours=1)).is_admitted


def test_alert_id_already_there_is_refused(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    assert admit(outbox, 1, "entry-2").refusal is AdmissionRefusal.ALREADY_THERE


def test_failure_while_signing_leaves_nothing(outbox: SqliteOutbox) -> None:
    def fail(_: int) -> bytes:
        raise RecordError("too long")

    with pytest.raises(RecordError):
        outbox.admit(
            make_alert(1), fail, deployment_id=DEPLOYMENT, expires_at=START, cooldown_s=COOLDOWN_S, now=START
        )
    assert outbox.counts().n_alerts == 0
    assert admit(outbox, 1).sequence == 1


def test_alert_is_pending_after_a_kill_between_admit_and_send(path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from drivers.outbox import SqliteOutbox\n"
        "from tests.drivers.test_outbox import admit\n"
        "admit(SqliteOutbox(Path(sys.argv[1])), 1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with SqliteOutbox(path) as outbox:
        assert [row.handset_id for row in outbox.pending(START)] == ["h1", "h2"]
        assert outbox.message_of(AlertId("alert-1")) == b"SECRET-MESSAGE-1"
        assert admit(outbox, 2, "entry-2").sequence == 2


def test_each_receipt_ends_one_delivery_and_the_last_deletes_the_message(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    assert outbox.record_receipt(make_receipt(1, "h1")) is Recorded.NEW
    assert [row.handset_id for row in outbox.pending(START)] == ["h2"]
    assert outbox.record_receipt(make_receipt(1, "h1")) is Recorded.REPEATED
    assert outbox.record_receipt(make_receipt(1, "h2")) is Recorded.NEW
    assert outbox.pending(START) == []
    assert outbox.message_of(AlertId("alert-1")) is None


def test_sending_ends_nothing(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    outbox.mark_sent(AlertId("alert-1"), HandsetId("h1"))
    assert [(row.handset_id, row.n_sent) for row in outbox.pending(START)] == [("h1", 1), ("h2", 0)]


def test_receipt_for_what_was_not_sent_is_not_recorded(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    assert outbox.record_receipt(make_receipt(9)) is None
    assert outbox.record_receipt(make_receipt(1, "h9")) is None
    assert outbox.record_receipt(make_receipt(1, deployment=AuthorisationId("deployment-2"))) is None
    assert outbox.record_adjudication(make_adjudication(9)) is None
    assert outbox.counts().n_pending_deliveries == 2


def test_first_adjudication_stands_and_ends_the_delivery(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    assert outbox.record_adjudication(make_adjudication(1)) is Recorded.NEW
    assert outbox.record_adjudication(make_adjudication(1)) is Recorded.REPEATED
    other = make_adjudication(1, judgement=Judgement.NOT_SAME)
    assert outbox.record_adjudication(other) is Recorded.CONFLICTING
    assert [row.handset_id for row in outbox.pending(START)] == ["h2"]


def test_history_gives_back_the_answers(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    outbox.record_receipt(make_receipt(1, "h2"))
    outbox.record_adjudication(make_adjudication(1, "h1"))
    history = outbox.history_of(AlertId("alert-1"))
    assert history is not None
    assert history.receipts == (make_receipt(1, "h2"),)
    assert history.adjudications == (make_adjudication(1, "h1"),)
    assert outbox.history_of(AlertId("alert-9")) is None


def test_expired_alert_is_told_once_and_not_pending(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    late = START + timedelta(minutes=10)
    assert outbox.pending(late) == []
    assert outbox.expire(late) == ["alert-1"]
    assert outbox.expire(late) == []
    assert outbox.message_of(AlertId("alert-1")) is None
    assert outbox.counts().n_expired_alerts == 1
    assert outbox.counts().n_pending_alerts == 0


def test_shown_alert_does_not_expire(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    for handset in ("h1", "h2"):
        outbox.record_receipt(make_receipt(1, handset))
    assert outbox.expire(START + timedelta(hours=1)) == []


def test_counts_say_what_is_pending(outbox: SqliteOutbox) -> None:
    admit(outbox, 1)
    admit(outbox, 2, "entry-2")
    outbox.record_receipt(make_receipt(1, "h1"))
    outbox.record_adjudication(make_adjudication(1, "h2"))
    counts = outbox.counts()
    assert (counts.n_alerts, counts.n_pending_alerts, counts.n_pending_deliveries) == (2, 1, 2)
    assert (counts.n_receipts, counts.n_adjudications) == (1, 1)


def test_forgotten_deployment_leaves_no_byte_on_disk(outbox: SqliteOutbox, path: Path) -> None:
    admit(outbox, 1)
    admit(outbox, 2, deployment=AuthorisationId("deployment-2"))
    outbox.forget_deployment(DEPLOYMENT)
    bytes_on_disk = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"SECRET-MESSAGE-1" not in bytes_on_disk
    assert b"SECRET-MESSAGE-2" in bytes_on_disk
    assert outbox.counts().n_alerts == 1
    assert admit(outbox, 3).sequence == 3


def test_files_are_for_their_owner_only(outbox: SqliteOutbox, path: Path) -> None:
    admit(outbox, 1)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes) >= {"outbox.sqlite", "outbox.sqlite-wal"}
    assert set(modes.values()) == {0o600}


def test_each_commit_is_synced(outbox: SqliteOutbox) -> None:
    settings = [
        outbox._base.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
    ]
    assert settings == ["wal", 2, 1, 1]


def test_damaged_file_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(StorageError):
        SqliteOutbox(path)


def test_file_of_another_format_is_refused(path: Path) -> None:
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(StorageError, match="99"):
        SqliteOutbox(path)


def test_folder_that_is_missing_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        SqliteOutbox(tmp_path / "missing" / "outbox.sqlite")
