"""Write down, so that it lasts, that a unit has failed for good, and put it where the console finds it.

    /usr/bin/python3 -I -S -B record_failure.py --unit appliance.service --state FOLDER --now FOLDER

It stands alone: the system's Python, its standard library and `systemctl` are all it needs, because what has
failed may be everything else. It takes no line from a log: what a program said last is not for this file.

STATE/failures.jsonl gets a line and is on disk when this ends; a full file is moved to failures.old.jsonl.
NOW/UNIT.json is the unit's last failure; the supervisor removes it when the unit works again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

LARGEST_RECORD_BYTES = 256 * 1024
SYSTEMCTL_S = 10
UNIT = re.compile(r"[A-Za-z0-9:_@\\-][A-Za-z0-9:_.@\\-]{0,199}")
PROPERTIES = (
    "Result",
    "ExecMainCode",
    "ExecMainStatus",
    "NRestarts",
    "InvocationID",
    "InactiveEnterTimestamp",
)
EXIT_KINDS = {"1": "exited", "2": "killed", "3": "dumped"}  # siginfo_t's CLD_ codes, as systemd shows them


def main() -> int:
    """Record one failure; 0 when it is on disk, 2 for a wrong argument, 3 when it could not be written."""
    parser = argparse.ArgumentParser(
        description="Record a failed unit; started by appliance-failure@.service."
    )
    parser.add_argument("--unit", required=True, help="the unit that failed, such as appliance.service")
    parser.add_argument("--state", type=Path, required=True, help="the folder of what lasts")
    parser.add_argument("--now", type=Path, required=True, help="the folder that the console looks into")
    chosen = parser.parse_args()
    if not UNIT.fullmatch(chosen.unit):
        parser.error("--unit: not the name of a unit")
    line = (json.dumps(failure_of(chosen.unit), sort_keys=True) + "\n").encode()
    try:
        append(chosen.state / "failures.jsonl", line)
        replace(chosen.now / f"{chosen.unit}.json", line)
    except OSError as err:
        sys.stderr.write(f"error[storage]: {err.filename}: {err.strerror}\n")
        return 3
    return 0


def failure_of(unit: str) -> dict[str, str | int | None]:
    """Return what systemd knows of the failure; what it does not say is null."""
    found = shown(unit)
    status, restarts = found.get("ExecMainStatus", ""), found.get("NRestarts", "")
    return {
        "unit": unit,
        "at": rfc3339(found.get("InactiveEnterTimestamp", "")),
        "result": found.get("Result") or None,
        "exit_kind": EXIT_KINDS.get(found.get("ExecMainCode", "")),
        "exit_status": int(status) if status.isdecimal() else None,
        "n_restarts": int(restarts) if restarts.isdecimal() else None,
        "invocation_id": found.get("InvocationID") or None,
    }


def shown(unit: str) -> dict[str, str]:
    """Return the unit's properties; none when systemd cannot be asked, which must not stop the record."""
    command = ["systemctl", "show", "--timestamp=utc", f"--property={','.join(PROPERTIES)}", "--", unit]
    try:
        answer = subprocess.run(
            command,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=SYSTEMCTL_S,
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as err:
        sys.stderr.write(f"systemctl: {err}\n")
        return {}
    pairs = (line.partition("=") for line in answer.splitlines())
    return {name: value for name, _, value in pairs}


def rfc3339(text: str) -> str | None:
    """Return systemd's `Sun 2026-11-22 23:05:00 UTC` as 2026-11-22T23:05:00Z."""
    try:
        moment = datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC")  # noqa: DTZ007  the format says UTC
    except ValueError:
        return None
    return f"{moment.isoformat()}Z"


def append(path: Path, line: bytes) -> None:
    """Add a line that a power cut right afterwards does not take away."""
    if path.exists() and path.stat().st_size + len(line) > LARGEST_RECORD_BYTES:
        path.replace(path.with_name("failures.old.jsonl"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    with os.fdopen(descriptor, "ab", buffering=0) as file:
        file.write(line)
        os.fsync(file.fileno())
    sync_folder(path.parent)


def replace(path: Path, line: bytes) -> None:
    """Write a file whole or not at all."""
    aside = path.with_name(f".{path.name}")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(line)
    aside.replace(path)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
