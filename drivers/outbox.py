"""Keep alerts on disk until their recipients have shown them; what is here survives any crash.

A delivery is one alert to one handset. The handset's receipt ends it; so does its adjudication, for nobody
decides what was not shown. An alert's message is deleted when its last delivery has ended, when it has
expired, or when its deployment is forgotten. What remains until then is who was asked and who answered.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock

from appliance.compat import Self
from appliance.errors import StorageError
from appliance.records.alerts import Adjudication, Judgement, Outcome, Receipt, SealedAlert
from appliance.records.delivery import (
    Admission,
    AdmissionRefusal,
    AlertHistory,
    OutboxCounts,
    PendingDelivery,
    Recorded,
)
from appliance.records.ids import AlertId, AuthorisationId, EntryId, HandsetId
from drivers.files import sync_folder

_FORMAT = 1
_SCHEMA = """
CREATE TABLE counter (next_sequence INTEGER NOT NULL);
INSERT INTO counter VALUES (1);
CREATE TABLE alert (
    alert_id TEXT PRIMARY KEY, deployment_id TEXT NOT NULL, sequence INTEGER NOT NULL UNIQUE,
    expires_at INTEGER NOT NULL, is_expired INTEGER NOT NULL DEFAULT 0, message BLOB
) STRICT;
CREATE TABLE delivery (
    alert_id TEXT NOT NULL REFERENCES alert ON DELETE CASCADE, handset_id TEXT NOT NULL,
    n_sent INTEGER NOT NULL DEFAULT 0, is_ended INTEGER NOT NULL DEFAULT 0, shown_at INTEGER,
    judgement TEXT, outcome TEXT, decided_at INTEGER, PRIMARY KEY (alert_id, handset_id)
) STRICT;
CREATE TABLE cool_down (
    deployment_id TEXT NOT NULL, entry_id TEXT NOT NULL, alerted_at INTEGER NOT NULL,
    PRIMARY KEY (deployment_id, entry_id)
) STRICT;
"""
_PENDING = "delivery.is_ended = 0 AND alert.is_expired = 0"
_MICROSECONDS = 1_000_000


class SqliteOutbox:
    """Hold alerts in one SQLite file of mode 0600, each change in one fsynced transaction.

    Thread: disk; a call from another thread waits for its turn. Each blocks for one to two fsyncs.

    Raises:
        StorageError: From every method, when the disk is full or fails, or the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._one_at_a_time = Lock()  # a second thread would write into the first one's transaction
        with _as_storage_error():
            path.touch(mode=0o600)
            path.chmod(0o600)  # the write-ahead log takes the file's mode
            self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            try:
                self._prepare()
            except sqlite3.Error:
                self._base.close()
                raise
            sync_folder(path.parent)

    def admit(
        self,
        alert: SealedAlert,
        make_message: Callable[[int], bytes],
        *,
        deployment_id: AuthorisationId,
        expires_at: datetime,
        cooldown_s: float,
        now: datetime,
    ) -> Admission:
        """Put an alert on disk, all of it or nothing.

        Args:
            alert: As it left the vision worker.
            make_message: Called inside the transaction with the alert's sequence number, returns the signed
                message; what it raises undoes everything.
            deployment_id: The authorisation in force.
            expires_at: When the alert is of no more use.
            cooldown_s: An entry that alerted less than this ago, by the wall clock, raises no second alert;
                0 turns it off. A clock set back by more than this lets it through: better twice than never.
            now: The time.
        """
        with self._transaction():
            refusal = self._refusal_of(alert, deployment_id, cooldown_s, now)
            if refusal is not None:
                return Admission(sequence=None, refusal=refusal)
            sequence = self._take_sequence()
            self._base.execute(
                "INSERT INTO alert (alert_id, deployment_id, sequence, expires_at, message)"
                " VALUES (?, ?, ?, ?, ?)",
                (alert.alert_id, deployment_id, sequence, _ticks(expires_at), make_message(sequence)),
            )
            self._base.executemany(
                "INSERT INTO delivery (alert_id, handset_id) VALUES (?, ?)",
                [(alert.alert_id, sealed.handset_id) for sealed in alert.sealed_keys],
            )
            self._base.execute(
                "INSERT OR REPLACE INTO cool_down VALUES (?, ?, ?)",
                (deployment_id, alert.entry_id, _ticks(now)),
            )
        return Admission(sequence=sequence, refusal=None)

    def pending(self, now: datetime) -> list[PendingDelivery]:
        """Return the deliveries without a receipt of alerts not yet expired, newest alert first."""
        with self._transaction():
            rows = self._base.execute(
                "SELECT alert_id, handset_id, sequence, expires_at, n_sent FROM alert JOIN delivery"  # noqa: S608
                f" USING (alert_id) WHERE {_PENDING} AND expires_at > ?"
                " ORDER BY sequence DESC, handset_id",
                (_ticks(now),),
            ).fetchall()
        return [
            PendingDelivery(
                alert_id=AlertId(row[0]),
                handset_id=HandsetId(row[1]),
                sequence=row[2],
                expires_at=_time(row[3]),
                n_sent=row[4],
            )
            for row in rows
        ]

    def message_of(self, alert_id: AlertId) -> bytes | None:
        """Return an alert's signed message; None when its last delivery has ended."""
        with self._transaction():
            row = self._base.execute("SELECT message FROM alert WHERE alert_id = ?", (alert_id,)).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def mark_sent(self, alert_id: AlertId, handset_id: HandsetId) -> None:
        """Count one more sending; the broker's acknowledgement ends nothing."""
        with self._transaction():
            self._base.execute(
                "UPDATE delivery SET n_sent = n_sent + 1 WHERE alert_id = ? AND handset_id = ?",
                (alert_id, handset_id),
            )

    def record_receipt(self, receipt: Receipt) -> Recorded | None:
        """End a delivery; the first receipt stands.

        Returns:
            NEW or REPEATED; None for an alert that this deployment did not send to this handset.
        """
        with self._transaction():
            row = self._delivery_of(receipt)
            if row is None:
                return None
            if row[0] is not None:
                return Recorded.REPEATED
            self._base.execute(
                "UPDATE delivery SET is_ended = 1, shown_at = ? WHERE alert_id = ? AND handset_id = ?",
                (_ticks(receipt.shown_at), receipt.alert_id, receipt.handset_id),
            )
            self._delete_finished_messages()
        return Recorded.NEW

    def record_adjudication(self, adjudication: Adjudication) -> Recorded | None:
        """Keep an officer's decision, and end the delivery; the first decision of a handset stands.

        Returns:
            NEW, REPEATED (the same decision again) or CONFLICTING (another; the first one stands); None for
            an alert that this deployment did not send to this handset.
        """
        decision = (adjudication.judgement.value, adjudication.outcome.value, _ticks(adjudication.decided_at))
        with self._transaction():
            row = self._delivery_of(adjudication)
            if row is None:
                return None
            if row[1] is not None:
                return Recorded.REPEATED if row[1:] == decision else Recorded.CONFLICTING
            self._base.execute(
                "UPDATE delivery SET is_ended = 1, judgement = ?, outcome = ?, decided_at = ?"
                " WHERE alert_id = ? AND handset_id = ?",
                (*decision, adjudication.alert_id, adjudication.handset_id),
            )
            self._delete_finished_messages()
        return Recorded.NEW

    def expire(self, now: datetime) -> list[AlertId]:
        """Delete the messages of alerts that a recipient did not show in time; tell their ids, once."""
        with self._transaction():
            rows = self._base.execute(
                "SELECT DISTINCT alert_id FROM alert JOIN delivery USING (alert_id)"  # noqa: S608
                f" WHERE {_PENDING} AND expires_at <= ? ORDER BY sequence",
                (_ticks(now),),
            ).fetchall()
            self._base.executemany("UPDATE alert SET is_expired = 1, message = NULL WHERE alert_id = ?", rows)
        return [AlertId(row[0]) for row in rows]

    def history_of(self, alert_id: AlertId) -> AlertHistory | None:
        """Return who answered an alert and how; None when it is not here."""
        with self._transaction():
            alert = self._base.execute(
                "SELECT sequence, deployment_id FROM alert WHERE alert_id = ?", (alert_id,)
            ).fetchone()
            rows = self._base.execute(
                "SELECT handset_id, shown_at, judgement, outcome, decided_at FROM delivery"
                " WHERE alert_id = ? ORDER BY handset_id",
                (alert_id,),
            ).fetchall()
        if alert is None:
            return None
        sequence, deployment_id = alert[0], AuthorisationId(alert[1])
        return AlertHistory(
            alert_id=alert_id,
            sequence=sequence,
            receipts=tuple(_receipts_of(alert_id, deployment_id, rows)),
            adjudications=tuple(_adjudications_of(alert_id, deployment_id, rows)),
        )

    def counts(self) -> OutboxCounts:
        """Count alerts and deliveries of all deployments not yet forgotten."""
        with self._transaction():
            row = self._base.execute(
                "SELECT (SELECT count(*) FROM alert), count(DISTINCT alert_id) FILTER (WHERE open),"  # noqa: S608
                " count(*) FILTER (WHERE open), count(shown_at), count(decided_at),"
                " (SELECT count(*) FROM alert WHERE is_expired)"
                f" FROM (SELECT delivery.*, {_PENDING} AS open FROM delivery JOIN alert USING (alert_id))"
            ).fetchone()
        return OutboxCounts(
            n_alerts=row[0],
            n_pending_alerts=row[1],
            n_pending_deliveries=row[2],
            n_receipts=row[3],
            n_adjudications=row[4],
            n_expired_alerts=row[5],
        )

    def forget_deployment(self, deployment_id: AuthorisationId) -> None:
        """Delete everything of a deployment, from the write-ahead log too; sequence numbers go on rising."""
        with self._transaction():
            self._base.execute("DELETE FROM alert WHERE deployment_id = ?", (deployment_id,))
            self._base.execute("DELETE FROM cool_down WHERE deployment_id = ?", (deployment_id,))
        with _as_storage_error():
            busy, _, _ = self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StorageError("outbox: somebody else reads the file, so its log could not be emptied")

    def close(self) -> None:
        """Let go of the file."""
        with _as_storage_error():
            self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
            self._base.execute(f"PRAGMA {pragma}")
        (found,) = self._base.execute("PRAGMA user_version").fetchone()
        if found == 0:
            self._base.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_FORMAT}; COMMIT;")
        elif found != _FORMAT:
            raise sqlite3.DatabaseError(f"the file has format {found}, this version writes {_FORMAT}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._one_at_a_time, _as_storage_error():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def _refusal_of(
        self, alert: SealedAlert, deployment_id: AuthorisationId, cooldown_s: float, now: datetime
    ) -> AdmissionRefusal | None:
        if self._base.execute("SELECT 1 FROM alert WHERE alert_id = ?", (alert.alert_id,)).fetchone():
            return AdmissionRefusal.ALREADY_THERE
        last = self._last_alerted_at(deployment_id, alert.entry_id)
        if last is not None and abs(_ticks(now) - last) < cooldown_s * _MICROSECONDS:
            return AdmissionRefusal.COOL_DOWN
        return None

    def _last_alerted_at(self, deployment_id: AuthorisationId, entry_id: EntryId) -> int | None:
        row = self._base.execute(
            "SELECT alerted_at FROM cool_down WHERE deployment_id = ? AND entry_id = ?",
            (deployment_id, entry_id),
        ).fetchone()
        return None if row is None else int(row[0])

    def _take_sequence(self) -> int:
        (sequence,) = self._base.execute("SELECT next_sequence FROM counter").fetchone()
        self._base.execute("UPDATE counter SET next_sequence = next_sequence + 1")
        return int(sequence)

    def _delivery_of(self, answer: Receipt | Adjudication) -> tuple[object, ...] | None:
        row: tuple[object, ...] | None = self._base.execute(
            "SELECT shown_at, judgement, outcome, decided_at FROM delivery JOIN alert USING (alert_id)"
            " WHERE alert_id = ? AND handset_id = ? AND deployment_id = ?",
            (answer.alert_id, answer.handset_id, answer.deployment_id),
        ).fetchone()
        return row

    def _delete_finished_messages(self) -> None:
        self._base.execute(
            "UPDATE alert SET message = NULL WHERE message IS NOT NULL AND NOT EXISTS"
            " (SELECT 1 FROM delivery WHERE delivery.alert_id = alert.alert_id AND is_ended = 0)"
        )


def _receipts_of(
    alert_id: AlertId, deployment_id: AuthorisationId, rows: list[tuple[str, int | None, str, str, int]]
) -> Iterator[Receipt]:
    for handset, shown_at, _, _, _ in rows:
        if shown_at is not None:
            yield Receipt(
                alert_id=alert_id,
                deployment_id=deployment_id,
                handset_id=HandsetId(handset),
                shown_at=_time(shown_at),
            )


def _adjudications_of(
    alert_id: AlertId, deployment_id: AuthorisationId, rows: list[tuple[str, int, str | None, str, int]]
) -> Iterator[Adjudication]:
    for handset, _, judgement, outcome, decided_at in rows:
        if judgement is not None:
            yield Adjudication(
                alert_id=alert_id,
                deployment_id=deployment_id,
                handset_id=HandsetId(handset),
                judgement=Judgement(judgement),
                outcome=Outcome(outcome),
                decided_at=_time(decided_at),
            )


@contextmanager
def _as_storage_error() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as err:
        raise StorageError(f"outbox: {err}") from err


def _ticks(moment: datetime) -> int:
    """Count microseconds since 1970, without a float's rounding."""
    elapsed = moment - datetime.fromtimestamp(0, timezone.utc)
    return (elapsed.days * 86_400 + elapsed.seconds) * _MICROSECONDS + elapsed.microseconds


def _time(ticks: int) -> datetime:
    seconds, microseconds = divmod(ticks, _MICROSECONDS)
    return datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=microseconds)
