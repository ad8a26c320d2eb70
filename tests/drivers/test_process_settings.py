"""Each setting is tried in a process of its own, because it cannot be taken back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from drivers.process_settings import CLEARING_ENVIRONMENT, worker_environment

LOOK = "import drivers.process_settings as p; print([*p.check_clearing(), *p.harden_process()])"


def run(environment: dict[str, str], *flags: str) -> str:
    return subprocess.run(
        [sys.executable, *flags, "-c", LOOK], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_a_worker_s_environment_takes_effect() -> None:
    assert run(worker_environment(os.environ), "-s").strip() == "[]"


@pytest.mark.parametrize("name", sorted(CLEARING_ENVIRONMENT))
def test_a_missing_setting_is_noticed(name: str) -> None:
    environment = worker_environment(os.environ)
    del environment[name]
    assert "keeps what is freed" in run(environment, "-s")


def test_isolated_mode_is_noticed_because_it_ignores_the_setting() -> None:
    assert "PYTHONMALLOC" in run(worker_environment(os.environ), "-I")


def test_nothing_but_what_is_needed_is_inherited() -> None:
    environment = worker_environment({"PATH": "/bin", "SECRET": "x", "LD_PRELOAD": "y", "PYTHONMALLOC": "z"})
    assert "SECRET" not in environment
    assert "LD_PRELOAD" not in environment
    assert environment["PYTHONMALLOC"] == "malloc"


def test_a_crash_leaves_no_core() -> None:
    code = (
        "import ctypes, resource, drivers.process_settings as p; p.harden_process();"
        "print(resource.getrlimit(resource.RLIMIT_CORE), flush=True); ctypes.string_at(8)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "(0, 0)"
    assert result.returncode == -11
