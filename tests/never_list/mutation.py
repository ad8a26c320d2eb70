"""Break a rule in a copy of the code and see its test turn red: a test that cannot fail proves nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
COPIED = ("appliance", "drivers", "models", "provisioning", "tests", "pyproject.toml", "setup.py")
PYTEST_FAILED = 1
"""Exit status when tests ran and one failed; a broken copy (an error in collecting) gives 2 or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One way to break a rule: in `file`, `old` becomes `new`; `test` (a name in the same file) must fail."""

    file: str
    old: str
    new: str
    test: str


def run_mutated(mutation: Mutation, test_file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Return pytest's result for the test in a copy of the repository with the rule broken."""
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    broken = folder / mutation.file
    text = broken.read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1, f"{mutation.file}: the line to break occurs not exactly once"
    broken.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    target = folder / test_file.relative_to(REPOSITORY)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", f"{target}::{mutation.test}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
