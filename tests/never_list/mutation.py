"""Break a rule in a copy of the code and see its test turn red: a test that cannot fail proves nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
COPIED = ("appliance", "drivers", "models", "provisioning", "tests", "pyproject.toml", "setup.py")
PYTEST_PASSED, PYTEST_FAILED = 0, 1
"""Exit statuses when all tests passed and when one failed; an error in collecting gives 2 or more."""
BROKEN_CODE = ("ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "IndentationError")
"""What a mutation that is no program raises: red for the wrong reason."""
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout")
"""All that these tests need; finding the others costs a sixth of each run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One way to break a rule: in `file`, `old` becomes `new`; `test` (a name in the same file) must fail."""

    file: str
    old: str
    new: str
    test: str


def copy_repository(folder: Path) -> None:
    """Copy what the tests need; times are kept, so that compiled files of the copy stay valid."""
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)


@contextmanager
def applied(mutation: Mutation, folder: Path) -> Iterator[None]:
    """Break the rule in the copy for as long as the block lasts."""
    broken = folder / mutation.file
    text = broken.read_text(encoding="utf-8")
    found = text.count(mutation.old)
    assert found == 1, f"{mutation.file}: what is to be broken occurs {found} times, not once"
    times = broken.stat()
    broken.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        yield
    finally:
        broken.write_text(text, encoding="utf-8")
        os.utime(broken, ns=(times.st_atime_ns, times.st_mtime_ns))


def run_copy(
    folder: Path, targets: list[str], *, keeps_compiled: bool = False
) -> subprocess.CompletedProcess[str]:
    """Return pytest's result for some tests of the copy; `targets` are relative to the repository.

    Args:
        keeps_compiled: Write compiled files for later runs: for the unbroken copy only.
    """
    # Isolated from the checkout: the copy's packages come first on the path.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if not keeps_compiled:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    plugins = [word for plugin in PLUGINS for word in ("-p", plugin)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *plugins, *targets],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=80,
    )


def why_not_red(result: subprocess.CompletedProcess[str]) -> str | None:
    """Return why a run does not show that the rule is tested; None when the test failed as it should."""
    text = result.stdout + result.stderr
    if result.returncode != PYTEST_FAILED:
        return f"pytest ended with {result.returncode}, a failing test ends with {PYTEST_FAILED}"
    failures = [line for line in text.splitlines() if line.startswith("E  ")]
    wrong = [line for line in failures if any(name in line for name in BROKEN_CODE)]
    return f"it failed because the mutation is no program: {wrong[0]}" if wrong else None
