"""What the appliance did, in a form that cannot be changed afterwards without showing.

A record is a line of JSON that holds the sha256 of the line before it; checkpoints are signed by the
appliance. Whoever has the appliance's key can still write another history, or cut off the end: only a
witness outside, who notes checkpoints as they happen, proves anything against the operator.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import Field

from appliance.compat import StrEnum
from appliance.envelope import TYPE_PREFIX, Envelope, Signature, Signer, open_by_key, sign_payload
from appliance.errors import IntegrityError, KeyStoreError, RecordError, SignatureError, StorageError
from appliance.ports import Clock
from appliance.records.ids import KeyId
from appliance.records.times import UtcTime
from appliance.records.wire import dump_record, parse_record

logger = logging.getLogger(__name__)
LONGEST_LINE_BYTES = 4096
LONGEST_TEXT = 128
MOST_VALUES = 16
FIRST_PREVIOUS = "0" * 64
NOT_PROVEN = "not proven against the operator"
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_FORBIDDEN_WORDS = (
    "name template templates score scores picture image portrait face embedding secret password seed"
)
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")
_PAYLOAD_CHECKPOINT = "audit-checkpoint"


class AuditKind(StrEnum):
    """What may be recorded; there is nothing else."""

    APPLIANCE_STARTED = "appliance.started"
    APPLIANCE_STOPPED = "appliance.stopped"
    AUDIT_CHECKPOINT = "audit.checkpoint"
    AUDIT_RECOVERED = "audit.recovered"
    CLOCK_CHANGED = "clock.changed"
    WATCHLIST_INSTALLED = "watchlist.installed"
    WATCHLIST_REFUSED = "watchlist.refused"
    WATCHLIST_ERASED = "watchlist.erased"
    AUTHORISATION_ACCEPTED = "authorisation.accepted"
    AUTHORISATION_REFUSED = "authorisation.refused"
    AUTHORISATION_ENDED = "authorisation.ended"
    RECOGNITION_ARMED = "recognition.armed"
    RECOGNITION_DISARMED = "recognition.disarmed"
    THRESHOLD_SET = "threshold.set"
    CAMERA_STARTED = "camera.started"
    CAMERA_LOST = "camera.lost"
    WORKER_STARTED = "worker.started"
    WORKER_ENDED = "worker.ended"
    ALERT_ADMITTED = "alert.admitted"
    ALERT_REFUSED = "alert.refused"
    ALERT_SENT = "alert.sent"
    ALERT_EXPIRED = "alert.expired"
    ALERT_RECEIPT = "alert.receipt"
    ALERT_ADJUDICATED = "alert.adjudicated"
    ALERT_DELETED = "alert.deleted"
    ANSWER_REFUSED = "answer.refused"


AuditValue = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One line of the log; `previous_sha256` is that of the whole line before, without its line feed."""

    sequence: Annotated[int, Field(ge=1)]
    at: UtcTime
    kind: AuditKind
    data: dict[str, AuditValue]
    previous_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a log proves.

    `break_line` is the first line, counted from 1, that is not what the appliance wrote, and
    `break_reason` says why. `n_signed` records are covered by a checkpoint's signature; what comes after is
    chained, but whoever writes the file could have written it. `statement` is for a person.
    """

    n_records: int
    n_checkpoints: int
    n_signed: int
    n_witnessed: int
    break_line: int | None
    break_reason: str
    statement: str

    @property
    def is_whole(self) -> bool:
        """Say whether no break was found."""
        return self.break_line is None


class AuditLog:
    """Append records to one file. Thread: disk; a record blocks for an fsync.

    Opening it truncates a torn last line and notes that, then signs a checkpoint; `close` signs the last.

    Args:
        path: Made with mode 0600 if missing; one process at a time.
        signer: The appliance's.
        checkpoint_every: Records from one checkpoint to the next.

    Raises:
        IntegrityError: What is in the file is not a chain; a person must look, nothing is appended.
        StorageError: The file cannot be written, or another process has it.
    """

    def __init__(self, path: Path, *, signer: Signer, clock: Clock, checkpoint_every: int = 100) -> None:
        self._path, self._signer, self._clock = path, signer, clock
        self._checkpoint_every = checkpoint_every
        self._n_since_checkpoint = 0
        self._sequence, self._head, self._length_bytes = 0, FIRST_PREVIOUS, 0
        with _as_storage_error(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            with _as_storage_error(path):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            n_torn_bytes = self._read_chain()
            if n_torn_bytes:
                self.append(AuditKind.AUDIT_RECOVERED, {"n_torn_bytes": n_torn_bytes})
            self.checkpoint()
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def sequence(self) -> int:
        """Return the number of the last record."""
        return self._sequence

    @property
    def head_sha256(self) -> str:
        """Return the sha256 of the last line; a witness notes it with `sequence`."""
        return self._head

    def append(self, kind: AuditKind, data: Mapping[str, AuditValue]) -> None:
        """Write a record; when this returns, it survives a power cut.

        Args:
            data: Ids, counts and closed words: short strings and integers. Nothing biometric and no name.

        Raises:
            RecordError: A key or value that may not stand in the log.
        """
        if kind is AuditKind.AUDIT_CHECKPOINT:
            raise RecordError("audit: checkpoints are made by `checkpoint`")
        _check_data(data)
        self._write(kind, dict(data), self._clock.now())
        self._n_since_checkpoint += 1
        if self._n_since_checkpoint >= self._checkpoint_every:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Sign everything so far."""
        at = self._clock.now()
        message = _checkpoint_message(self._sequence + 1, at, self._head)
        self._write(AuditKind.AUDIT_CHECKPOINT, {"signature": _sign(message, self._signer)}, at)
        self._n_since_checkpoint = 0

    def close(self) -> None:
        """Sign the last checkpoint and let go of the file."""
        try:
            self.checkpoint()
        finally:
            os.close(self._descriptor)

    def _write(self, kind: AuditKind, data: dict[str, AuditValue], at: datetime) -> None:
        record = AuditRecord(
            sequence=self._sequence + 1, at=at, kind=kind, data=data, previous_sha256=self._head
        )
        line = dump_record(record)
        with _as_storage_error(self._path):
            try:
                _write_all(self._descriptor, line + b"\n")
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, self._length_bytes)  # a torn line must not get a successor
                raise
        self._length_bytes += len(line) + 1
        self._sequence, self._head = record.sequence, hashlib.sha256(line).hexdigest()

    def _read_chain(self) -> int:
        n_torn_bytes = 0
        with _as_storage_error(self._path), self._path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                if not line.endswith(b"\n"):
                    n_torn_bytes = os.fstat(self._descriptor).st_size - self._length_bytes
                    if n_torn_bytes > LONGEST_LINE_BYTES + 1:  # no record is so long: it was not torn
                        raise IntegrityError(f"line {number}: longer than a record may be")
                    break
                record = _read_line(line, number, self._head)
                self._head = hashlib.sha256(line[:-1]).hexdigest()
                self._sequence, self._length_bytes = record.sequence, self._length_bytes + len(line)
            if n_torn_bytes:
                logger.warning("audit: a record was torn; %d bytes are cut off", n_torn_bytes)
                os.ftruncate(self._descriptor, self._length_bytes)
                os.fsync(self._descriptor)
        return n_torn_bytes


def verify_audit(
    path: Path, public_key_hex: str, *, witnessed: Mapping[int, str] | None = None
) -> AuditReport:
    """Read a log and say what it proves; trusts nothing but the key and the witness.

    Args:
        path: The log.
        public_key_hex: The appliance's Ed25519 public key.
        witnessed: What a witness noted: the sha256 of the line, by the record's number.

    Raises:
        StorageError: The file cannot be read.
        KeyStoreError: The key is not one.
    """
    if not _PUBLIC_KEY.fullmatch(public_key_hex):
        raise KeyStoreError("a public key is 32 bytes in hexadecimal")
    reader = _Reader(public_key_hex, dict(witnessed or {}))
    problem, number = "", 0
    with _as_storage_error(path), path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            try:
                reader.take(line, number)
            except (IntegrityError, RecordError) as err:
                problem = str(err)
                break
    if not problem and reader.missing:
        number, problem = number + 1, "the log ends before a record that the witness noted"
    if not problem and not reader.n_records:
        number, problem = 1, "the log is empty"
    return reader.report(number if problem else None, problem)


class _Reader:
    def __init__(self, public_key_hex: str, witnessed: dict[int, str]) -> None:
        self._public_key_hex, self._witnessed = public_key_hex, witnessed
        self._head = FIRST_PREVIOUS
        self.n_records = self._n_checkpoints = self._n_signed = self._n_witnessed = 0
        self._last_witnessed = 0

    @property
    def missing(self) -> bool:
        return any(number > self.n_records for number in self._witnessed)

    def take(self, line: bytes, number: int) -> None:
        if not line.endswith(b"\n"):
            raise IntegrityError("the last line is torn")
        record = _read_line(line, number, self._head)
        if record.kind is AuditKind.AUDIT_CHECKPOINT:
            self._check_signature(record)
            self._n_checkpoints += 1
            self._n_signed = number
        self._head = hashlib.sha256(line[:-1]).hexdigest()
        noted = self._witnessed.get(number)
        if noted is not None:
            if noted != self._head:
                raise IntegrityError("not the record that the witness noted")
            self._n_witnessed += 1
            self._last_witnessed = number
        self.n_records = number

    def report(self, break_line: int | None, reason: str) -> AuditReport:
        return AuditReport(
            n_records=self.n_records,
            n_checkpoints=self._n_checkpoints,
            n_signed=self._n_signed,
            n_witnessed=self._n_witnessed,
            break_line=break_line,
            break_reason=reason,
            statement=self._statement(break_line, reason),
        )

    def _statement(self, break_line: int | None, reason: str) -> str:
        if break_line is not None:
            return f"broken at line {break_line}: {reason}"
        signed = f"whole: {self.n_records} records, {self._n_signed} of them signed by the appliance"
        if not self._last_witnessed:
            return f"{signed}; {NOT_PROVEN}: no witness noted a checkpoint"
        if self._last_witnessed < self.n_records:
            return f"{signed}; witnessed up to record {self._last_witnessed}, after that {NOT_PROVEN}"
        return f"{signed}; witnessed to the end"

    def _check_signature(self, record: AuditRecord) -> None:
        message = _checkpoint_message(record.sequence, record.at, record.previous_sha256)
        signature = record.data.get("signature")
        is_hex = isinstance(signature, str) and _SIGNATURE.fullmatch(signature) is not None
        if (
            not is_hex
            or len(record.data) != 1
            or not _is_signed(message, str(signature), self._public_key_hex)
        ):
            raise IntegrityError("a checkpoint that this appliance's key did not sign")


def _sign(message: bytes, signer: Signer) -> str:
    envelope = parse_record(
        Envelope, sign_payload(_PAYLOAD_CHECKPOINT, message, [signer]), limit_bytes=LONGEST_LINE_BYTES
    )
    # As hexadecimal: a base64 signature could be written in more than one way.
    return base64.b64decode(envelope.signatures[0].sig).hex()


def _is_signed(message: bytes, signature_hex: str, public_key_hex: str) -> bool:
    signature = base64.b64encode(bytes.fromhex(signature_hex)).decode("ascii")
    envelope = Envelope(
        payload=base64.b64encode(message).decode("ascii"),
        payloadType=TYPE_PREFIX + _PAYLOAD_CHECKPOINT,
        signatures=(Signature(keyid=KeyId("appliance"), sig=signature),),
    )
    try:
        open_by_key(
            _PAYLOAD_CHECKPOINT, dump_record(envelope), public_key_hex, limit_bytes=LONGEST_LINE_BYTES
        )
    except SignatureError:
        return False
    return True


def _checkpoint_message(sequence: int, at: datetime, previous_sha256: str) -> bytes:
    return f"{sequence}\0{at.isoformat()}\0{previous_sha256}".encode()


def _check_data(data: Mapping[str, AuditValue]) -> None:
    if len(data) > MOST_VALUES:
        raise RecordError(f"audit: more than {MOST_VALUES} values")
    for key, value in data.items():
        if not _KEY.fullmatch(key) or set(_FORBIDDEN_WORDS.split()) & set(key.split("_")):
            raise RecordError(f"audit: {key[:40]}: may not stand in the log")
        if not isinstance(value, (str, int)):
            raise RecordError(f"audit: {key}: only short strings and integers")
        if isinstance(value, str) and (len(value) > LONGEST_TEXT or not value.isprintable()):
            raise RecordError(f"audit: {key}: longer than {LONGEST_TEXT} characters, or not printable")
        if not isinstance(value, str) and abs(value) >= 1 << 63:
            raise RecordError(f"audit: {key}: a number out of range")


def _read_line(line: bytes, number: int, previous_sha256: str) -> AuditRecord:
    try:
        record = parse_record(AuditRecord, line[:-1], limit_bytes=LONGEST_LINE_BYTES)
    except RecordError as err:
        raise IntegrityError(f"line {number}: {err}") from None
    if dump_record(record) != line[:-1]:  # else the last line could be rewritten in another way
        raise IntegrityError(f"line {number}: not in the form that the appliance writes")
    if record.sequence != number:
        raise IntegrityError(f"line {number}: it says that it is record {record.sequence}")
    if record.previous_sha256 != previous_sha256:
        raise IntegrityError(f"line {number}: the line before it is not the one it was written after")
    return record


def _lines(file: BinaryIO) -> Iterator[bytes]:
    # One byte more than may be: an endless line is refused, not read.
    while line := file.readline(LONGEST_LINE_BYTES + 2):
        yield line


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _as_storage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise StorageError(f"{path}: another process has it open") from None
    except OSError as err:
        raise StorageError(f"{path}: {err.strerror}") from err
