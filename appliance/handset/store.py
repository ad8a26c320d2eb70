"""What a handset keeps of alerts: that it showed them, and what was decided. No picture, name or score.

A file per alert in `alerts/`, made aside and linked into place, so that `listen` and `decide` may run at the
same time, and a crash leaves a whole file or none.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from appliance.errors import AuthorityError, RecordError, StorageError
from appliance.records.alerts import Judgement, Outcome
from appliance.records.ids import AlertId, ApplianceId, AuthorisationId
from appliance.records.times import UtcTime
from appliance.records.wire import dump_record, parse_record
from drivers.files import sync_folder, write_synced

_KeptT = TypeVar("_KeptT")
_LIMIT_BYTES = 4096
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAlert:
    """An alert that a person was shown, and when."""

    alert_id: AlertId
    appliance_id: ApplianceId
    deployment_id: AuthorisationId
    shown_at: UtcTime
    expires_at: UtcTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the officer decided, and when; sent again until the alert has expired."""

    alert_id: AlertId
    judgement: Judgement
    outcome: Outcome
    decided_at: UtcTime


class HandsetStore:
    """Keep shown alerts and decisions in a folder; blocks for a file's fsync.

    Raises:
        StorageError: The folder cannot be read or written.
        RecordError: A file in it is damaged; the message names it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "alerts"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as err:
            raise StorageError(f"{self._folder}: {err.strerror}") from err

    def keep_shown(self, shown: ShownAlert) -> None:
        """Keep that an alert was shown; the first time stands."""
        self._write_new(f"{_checked(shown.alert_id)}.shown.json", dump_record(shown))

    def find_shown(self, alert_id: AlertId) -> ShownAlert | None:
        """Return when an alert was shown, or None."""
        data = self._read(f"{_checked(alert_id)}.shown.json")
        return None if data is None else self._parse(ShownAlert, data, alert_id)

    def keep_decision(self, decision: Decision) -> ShownAlert:
        """Keep a decision, and return when its alert was shown.

        Raises:
            AuthorityError: The alert was not shown here, or was decided before.
        """
        shown = self.find_shown(decision.alert_id)
        if shown is None:
            raise AuthorityError(f"alert {decision.alert_id} was not shown on this handset")
        if not self._write_new(f"{decision.alert_id}.decided.json", dump_record(decision)):
            raise AuthorityError(f"alert {decision.alert_id} was decided before: the first decision stands")
        return shown

    def find_decision(self, alert_id: AlertId) -> Decision | None:
        """Return what was decided, or None."""
        data = self._read(f"{_checked(alert_id)}.decided.json")
        return None if data is None else self._parse(Decision, data, alert_id)

    def list_decided(self) -> list[AlertId]:
        """Return the ids of all decided alerts."""
        try:
            return sorted(AlertId(file.name.split(".")[0]) for file in self._folder.glob("*.decided.json"))
        except OSError as err:
            raise StorageError(f"{self._folder}: {err.strerror}") from err

    def _parse(self, kind: type[_KeptT], data: bytes, alert_id: AlertId) -> _KeptT:
        try:
            return parse_record(kind, data, limit_bytes=_LIMIT_BYTES)
        except RecordError as err:
            raise RecordError(f"{self._folder}: the file of alert {alert_id} is damaged: {err}") from err

    def _read(self, name: str) -> bytes | None:
        try:
            with (self._folder / name).open("rb") as file:
                return file.read(_LIMIT_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise StorageError(f"{self._folder / name}: {err.strerror}") from err

    def _write_new(self, name: str, data: bytes) -> bool:
        aside = self._folder / f".{secrets.token_hex(8)}.new"
        try:
            write_synced(aside, data, is_new=True)
            try:
                os.link(aside, self._folder / name)  # unlike a rename, never replaces
            except FileExistsError:
                return False
            finally:
                aside.unlink()
            sync_folder(self._folder)
        except OSError as err:
            raise StorageError(f"{self._folder / name}: {err.strerror}") from err
        return True


def _checked(alert_id: AlertId) -> AlertId:
    if not _ID.fullmatch(alert_id):
        raise RecordError("an alert's id is letters, digits, - and _")
    return alert_id
