"""The audit log: whatever was changed shows, and what does not show is said."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.audit import (
    FIRST_PREVIOUS,
    NOT_PROVEN,
    AuditKind,
    AuditLog,
    AuditRecord,
    AuditReport,
    verify_audit,
)
from appliance.errors import IntegrityError, KeyStoreError, RecordError, StorageError
from appliance.records.wire import dump_record
from tests.fakes.clock import FakeClock
from tests.fakes.lists import make_signer

SIGNER = make_signer("appliance")
PUBLIC = bytes(SIGNER.key.verify_key).hex()


def open_log(path: Path, **changes: Any) -> AuditLog:
    arguments: dict[str, Any] = {"signer": SIGNER, "clock": FakeClock()}
    return AuditLog(path, **(arguments | changes))


def verify(path: Path, **changes: Any) -> AuditReport:
    return verify_audit(path, PUBLIC, **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a log of 1 checkpoint, 3 records, 1 checkpoint."""
    path = tmp_path / "audit.jsonl"
    log = open_log(path)
    log.append(AuditKind.APPLIANCE_STARTED, {"version": "0.1.0"})
    log.append(AuditKind.WATCHLIST_INSTALLED, {"version": 3, "content_sha256": "0" * 64})
    log.append(AuditKind.ALERT_SENT, {"alert_id": "a-1", "is_test": True})
    log.close()
    return path


def test_whole_log_is_whole_and_not_proven_without_a_witness(path: Path) -> None:
    report = verify(path)
    assert report.is_whole
    assert (report.n_records, report.n_checkpoints, report.n_signed) == (5, 2, 5)
    assert NOT_PROVEN in report.statement


def test_log_is_for_its_owner_alone(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_start_and_stop_signs_a_checkpoint(path: Path) -> None:
    open_log(path).close()
    assert verify(path).n_checkpoints == 4
    assert verify(path).is_whole


def test_checkpoint_comes_after_every_n_records(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", checkpoint_every=2)
    for _ in range(5):
        log.append(AuditKind.CAMERA_LOST, {"camera_id": "gate"})
    assert verify(tmp_path / "log").n_checkpoints == 3
    assert verify(tmp_path / "log").n_signed == 7
    log.close()


def test_every_flipped_byte_is_found(path: Path) -> None:
    data = path.read_bytes()
    for place in range(len(data)):
        for bit in (0x01, 0x20):
            flipped = bytearray(data)
            flipped[place] ^= bit
            path.write_bytes(flipped)
            report = verify(path)
            assert not report.is_whole, place
            assert report.break_line is not None
            line = data[:place].count(b"\n") + 1
            assert line <= report.break_line <= line + 1


def test_dropped_line_is_found(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    for number in range(len(lines) - 1):
        path.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
        assert verify(path).break_line == number + 1


def test_swapped_lines_are_found(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    for number in range(len(lines) - 1):
        swapped = [*lines]
        swapped[number], swapped[number + 1] = swapped[number + 1], swapped[number]
        path.write_bytes(b"".join(swapped))
        assert verify(path).break_line == number + 1


def test_doubled_line_is_found(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[-1]]))
    assert verify(path).break_line == 6


def test_line_rewritten_in_another_form_is_found(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1].replace(b":", b": ", 1))
    assert verify(path).break_line == 5


def test_log_of_another_key_is_found(path: Path) -> None:
    other = bytes(make_signer("other").key.verify_key).hex()
    report = verify_audit(path, other)
    assert report.break_line == 1
    assert "key" in report.break_reason


def test_history_written_anew_without_the_key_is_found(path: Path, tmp_path: Path) -> None:
    log = open_log(tmp_path / "forged", signer=make_signer("other"))
    log.append(AuditKind.APPLIANCE_STARTED, {"version": "0.1.0"})
    log.close()
    assert verify(tmp_path / "forged").break_line == 1


def test_tail_cut_off_after_a_checkpoint_shows_to_a_witness_alone(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    witnessed = {5: hashlib.sha256(lines[4][:-1]).hexdigest()}
    assert verify(path, witnessed=witnessed).statement.endswith("witnessed to the end")
    path.write_bytes(lines[0])
    report = verify(path)
    assert report.is_whole
    assert NOT_PROVEN in report.statement
    cut = verify(path, witnessed=witnessed)
    assert cut.break_line == 2
    assert "ends before" in cut.break_reason


def test_history_written_anew_with_the_key_shows_to_a_witness(path: Path, tmp_path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    witnessed = {5: hashlib.sha256(lines[4][:-1]).hexdigest()}
    log = open_log(tmp_path / "forged")
    for _ in range(3):
        log.append(AuditKind.CAMERA_LOST, {})
    log.close()
    assert verify(tmp_path / "forged").is_whole
    assert verify(tmp_path / "forged", witnessed=witnessed).break_line == 5


def test_records_after_the_last_checkpoint_are_said_to_be_unsigned(path: Path) -> None:
    log = open_log(path)
    log.append(AuditKind.CAMERA_LOST, {"camera_id": "gate"})
    report = verify(path)
    assert (report.n_records, report.n_signed) == (7, 6)
    assert "6 of them signed" in report.statement
    log.close()


def test_witness_before_the_end_proves_up_to_there(path: Path) -> None:
    lines = path.read_bytes().splitlines()
    report = verify(path, witnessed={1: hashlib.sha256(lines[0]).hexdigest()})
    assert report.is_whole
    assert f"up to record 1, after that {NOT_PROVEN}" in report.statement


def test_torn_last_line_is_cut_off_and_noted(path: Path) -> None:
    data = path.read_bytes()
    for n_torn in (1, 20, 100):
        path.write_bytes(data + data.splitlines(keepends=True)[1][:n_torn])
        assert verify(path).break_line == 6
        open_log(path).close()
        assert verify(path).is_whole
        noted = json.loads(path.read_bytes().splitlines()[5])
        assert noted["kind"] == "audit.recovered"
        assert noted["data"] == {"n_torn_bytes": n_torn}


def test_log_torn_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"sequ')
    open_log(tmp_path / "log").close()
    assert verify(tmp_path / "log").is_whole


def test_broken_chain_is_not_appended_to(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    with pytest.raises(IntegrityError, match="line 1"):
        open_log(path)
    assert path.read_bytes() == b"".join(lines[1:])


def test_second_process_is_refused(path: Path) -> None:
    log = open_log(path)
    with pytest.raises(StorageError, match="another process"):
        open_log(path)
    log.close()
    open_log(path).close()


def test_folder_that_is_missing_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        open_log(tmp_path / "missing" / "log")
    with pytest.raises(StorageError):
        verify(tmp_path / "missing")


def test_empty_log_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    assert not verify(tmp_path / "log").is_whole


def test_key_that_is_none_is_refused(path: Path) -> None:
    for key in ("", "zz", "11"):
        with pytest.raises(KeyStoreError):
            verify_audit(path, key)


@pytest.mark.parametrize(
    "data",
    [
        {"name": "Jane"},
        {"entry_name": "Jane"},
        {"template": "1"},
        {"score": 1},
        {"best_score_percent": 93},
        {"face": 1},
        {"Key": 1},
        {"a b": 1},
        {"": 1},
        {"why": "x" * 129},
        {"why": "two\nlines"},
        {"why": b"bytes"},
        {"why": 0.93},
        {"why": None},
        {"why": ["a"]},
        {"n": 1 << 70},
        {f"k{n}": n for n in range(17)},
    ],
)
def test_data_that_may_not_stand_in_the_log_is_refused(path: Path, data: dict[str, Any]) -> None:
    log = open_log(path)
    length = path.stat().st_size
    with pytest.raises(RecordError):
        log.append(AuditKind.ALERT_SENT, data)
    assert path.stat().st_size == length
    log.close()


def test_record_with_another_number_than_its_line_is_found(tmp_path: Path) -> None:
    record = AuditRecord(
        sequence=2,
        at=FakeClock().now(),
        kind=AuditKind.CAMERA_LOST,
        data={},
        previous_sha256=FIRST_PREVIOUS,
    )
    (tmp_path / "log").write_bytes(dump_record(record) + b"\n")
    assert "record 2" in verify(tmp_path / "log").break_reason


def test_checkpoint_is_not_appended_by_hand(path: Path) -> None:
    log = open_log(path)
    with pytest.raises(RecordError):
        log.append(AuditKind.AUDIT_CHECKPOINT, {})
    log.close()


def test_endless_line_is_refused(path: Path) -> None:
    path.write_bytes(b"x" * 10_000 + b"\n")
    assert verify(path).break_line == 1
    with pytest.raises(IntegrityError):
        open_log(path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_give_a_report(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "log").write_bytes(data)
    assert not verify(tmp_path / "log").is_whole
