"""The failure handler as systemd starts it: a program of its own, without our environment."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.systemd.find import UNITS

SAYS = """NRestarts=3
ExecMainCode=2
ExecMainStatus=6
InvocationID=8f1f3bd0a1b24c6c9f7b6f2f2a2f8a11
InactiveEnterTimestamp=Sun 2026-11-22 23:05:07 UTC
Result=watchdog
"""
RECORD = {
    "unit": "appliance.service",
    "at": "2026-11-22T23:05:07Z",
    "result": "watchdog",
    "exit_kind": "killed",
    "exit_status": 6,
    "n_restarts": 3,
    "invocation_id": "8f1f3bd0a1b24c6c9f7b6f2f2a2f8a11",
}


@dataclass(frozen=True)
class Handler:
    """The program, its folders, and a `systemctl` that says what a test wants."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("bin", "state", "now"):
            (self.folder / name).mkdir()
        self.let_systemctl(f"cat <<'END'\n{SAYS}END\n")

    def let_systemctl(self, script: str) -> None:
        program = self.folder / "bin" / "systemctl"
        program.write_text(f'#!/bin/sh\necho "$@" > {self.folder}/asked\n{script}', encoding="utf-8")
        program.chmod(0o755)

    def record(self, unit: str = "appliance.service") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", "-B", str(UNITS / "record_failure.py"), "--unit", unit]
        return subprocess.run(
            [*command, "--state", str(self.folder / "state"), "--now", str(self.folder / "now")],
            env={"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )

    def lines(self) -> list[dict[str, object]]:
        text = (self.folder / "state" / "failures.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def now(self, unit: str = "appliance.service") -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "now" / f"{unit}.json").read_text("utf-8"))
        return found


@pytest.fixture
def handler(tmp_path: Path) -> Handler:
    return Handler(tmp_path)


def test_a_failure_is_recorded_and_shown(handler: Handler) -> None:
    assert handler.record().returncode == 0
    assert handler.lines() == [RECORD]
    assert handler.now() == RECORD
    asked = (handler.folder / "asked").read_text(encoding="utf-8").split()
    assert asked[-2:] == ["--", "appliance.service"]


def test_failures_add_up_and_the_last_is_shown(handler: Handler) -> None:
    handler.record()
    handler.let_systemctl("echo Result=exit-code; echo ExecMainCode=1; echo ExecMainStatus=3")
    handler.record()
    assert [line["result"] for line in handler.lines()] == ["watchdog", "exit-code"]
    assert (handler.now()["exit_kind"], handler.now()["exit_status"]) == ("exited", 3)


def test_a_camera_s_unit_has_a_record_of_its_own(handler: Handler) -> None:
    unit = "appliance-capture@north-gate.service"
    assert handler.record(unit).returncode == 0
    assert handler.now(unit)["unit"] == unit


@pytest.mark.parametrize("script", ["exit 1", "printf 'Result=\\377\\n'", "echo nonsense", "kill -TERM $$"])
def test_a_failure_is_recorded_when_systemd_says_nothing_of_use(handler: Handler, script: str) -> None:
    handler.let_systemctl(script)
    assert handler.record().returncode == 0
    assert handler.lines()[0]["unit"] == "appliance.service"
    assert handler.lines()[0]["result"] is None


@pytest.mark.parametrize("time", ["", "n/a", "Sun 2026-11-22 23:05:07 CET", "2026-11-22"])
def test_a_time_that_is_not_utc_is_not_made_up(handler: Handler, time: str) -> None:
    handler.let_systemctl(f"echo 'InactiveEnterTimestamp={time}'")
    handler.record()
    assert handler.lines()[0]["at"] is None


@pytest.mark.parametrize("unit", ["", "../escape", "a/b", ".hidden", "a b", "x" * 300, "a\nb"])
def test_a_name_that_is_no_unit_s_is_refused(handler: Handler, unit: str) -> None:
    assert handler.record(unit).returncode == 2
    assert not list((handler.folder / "state").iterdir())
    assert not list((handler.folder / "now").iterdir())


def test_nothing_that_a_program_said_is_taken_over(handler: Handler) -> None:
    handler.let_systemctl("echo Result=signal; echo StatusText=secret; echo Environment=TOKEN=secret")
    handler.record()
    assert "secret" not in (handler.folder / "state" / "failures.jsonl").read_text(encoding="utf-8")


def test_a_full_file_is_moved_aside_and_two_are_all(handler: Handler) -> None:
    file = handler.folder / "state" / "failures.jsonl"
    for _ in range(2):
        file.write_bytes(b"x" * (256 * 1024))
        handler.record()
    assert handler.lines() == [RECORD]
    assert sorted(path.name for path in file.parent.iterdir()) == ["failures.jsonl", "failures.old.jsonl"]


def test_a_link_is_not_followed(handler: Handler) -> None:
    target = handler.folder / "target"
    target.write_text("untouched", encoding="utf-8")
    (handler.folder / "state" / "failures.jsonl").symlink_to(target)
    answer = handler.record()
    assert answer.returncode == 3
    assert answer.stderr.startswith("error[storage]: ")
    assert target.read_text(encoding="utf-8") == "untouched"


def test_a_folder_that_is_missing_is_one_clear_line(handler: Handler) -> None:
    (handler.folder / "state").rmdir()
    answer = handler.record()
    assert answer.returncode == 3
    assert len(answer.stderr.splitlines()) == 1


def test_others_cannot_read_it(handler: Handler) -> None:
    handler.record()
    for path in (
        handler.folder / "state" / "failures.jsonl",
        handler.folder / "now" / "appliance.service.json",
    ):
        assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
