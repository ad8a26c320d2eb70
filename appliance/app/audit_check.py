"""`appliance verify-audit`: what an appliance's log proves, for anybody who has it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from appliance.audit import AuditReport, verify_audit
from appliance.errors import IntegrityError, StorageError
from appliance.records.deployment import AppliancePublic
from appliance.records.wire import parse_record

LARGEST_PUBLIC_BYTES = 1 << 20


def check_audit(log: Path, public: Path, *, as_json: bool) -> None:
    """Print what the log proves; IntegrityError when it is broken, with the line."""
    try:
        with public.open("rb") as file:
            data = file.read(LARGEST_PUBLIC_BYTES + 1)
    except OSError as err:
        raise StorageError(f"{public}: {err.strerror}") from err
    key = parse_record(AppliancePublic, data, limit_bytes=LARGEST_PUBLIC_BYTES).signing_key_hex
    report: AuditReport = verify_audit(log, key)
    if as_json:
        Console().print(json.dumps(asdict(report)), soft_wrap=True, highlight=False, markup=False)
    else:
        Console().print(report.statement, highlight=False, markup=False)
    if not report.is_whole:
        raise IntegrityError(f"{log}: broken at line {report.break_line}: {report.break_reason}")
