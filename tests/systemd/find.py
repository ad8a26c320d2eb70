"""The units as they would lie on a device, and the program that judges them."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
UNITS = REPOSITORY / "systemd"
CACHE = REPOSITORY / ".cache" / "systemd"
PROGRAMS = (
    "opt/appliance/venv/bin/python",
    "opt/appliance/venv/bin/appliance",
    "opt/appliance/systemd/record_failure.py",
    "usr/sbin/mosquitto",
    "usr/bin/python3",
    "bin/kill",
    "usr/bin/kill",
)
"""What the units start; on a device the image brings them."""


@dataclass(frozen=True)
class Analyser:
    """`systemd-analyze`, the machine's or one unpacked from packages, and its base units."""

    program: Path
    root: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        library = self.root / "usr/lib/systemd"
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
        if self.root != Path("/"):
            lib_folders = [
                str(library),
                *(str(found) for found in self.root.glob("usr/lib/*-linux-gnu/systemd")),
            ]
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(lib_folders)
        return subprocess.run(
            [str(self.program), *arguments],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def require_analyser() -> Analyser:
    """Return the program, fetched once when needed, or skip the test where it cannot be had."""
    own = shutil.which("systemd-analyze")
    if own is not None and Path("/usr/lib/systemd/system/sysinit.target").exists():
        return Analyser(program=Path(own), root=Path("/"))
    root = CACHE / "root"
    program = root / "usr/bin/systemd-analyze"
    if not program.exists() and not _fetch(root):
        pytest.skip("systemd-analyze is missing: install the package systemd")
    found = Analyser(program=program, root=root)
    if found.run("--version").returncode != 0:
        pytest.skip("systemd-analyze does not run: install the package systemd")
    return found


def _fetch(root: Path) -> bool:
    """Unpack the distribution's systemd without installing it; its libraries are the machine's but one."""
    fetched, unpacked = CACHE / "packages", CACHE / "root.new"
    for folder in (fetched, unpacked):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        for package, is_needed in (("systemd", True), ("libsystemd-shared", False)):
            subprocess.run(
                ["apt-get", "download", package],
                cwd=fetched,
                capture_output=True,
                check=is_needed,
                timeout=120,
            )
        for file in sorted(fetched.glob("*.deb")):
            subprocess.run(
                ["dpkg", "-x", str(file), str(unpacked)], capture_output=True, check=True, timeout=60
            )
    except (OSError, subprocess.SubprocessError):
        return False
    if not (unpacked / "usr/lib/systemd").exists():  # before the merge of /lib into /usr
        (unpacked / "usr/lib").mkdir(parents=True, exist_ok=True)
    if (unpacked / "lib/systemd").exists():
        shutil.copytree(unpacked / "lib/systemd", unpacked / "usr/lib/systemd", dirs_exist_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    unpacked.rename(root)
    return True


@dataclass(frozen=True)
class UnitRoot:
    """A root folder as `systemd-analyze --root` wants it: units, programs as empty scripts, users."""

    path: Path
    analyser: Analyser

    @property
    def units(self) -> Path:
        return self.path / "etc/systemd/system"

    def verify(self, unit: str) -> subprocess.CompletedProcess[str]:
        return self.analyser.run("verify", f"--root={self.path}", "--man=no", "--recursive-errors=yes", unit)

    def exposure(self, unit: str) -> float:
        """Return the exposure level, 0..10."""
        answer = self.analyser.run("security", f"--root={self.path}", "--offline=true", "--no-pager", unit)
        line = next(line for line in answer.stdout.splitlines() if "Overall exposure level" in line)
        return float(line.split(": ")[1].split()[0])

    def is_within(self, unit: str, limit: float) -> bool:
        """Say what `--threshold` says, whose unit is a tenth."""
        answer = self.analyser.run(
            "security",
            f"--root={self.path}",
            "--offline=true",
            "--no-pager",
            f"--threshold={round(limit * 10)}",
            unit,
        )
        return answer.returncode == 0

    def add(self, option: str, unit: str) -> None:
        """Install one of systemd/options as a drop-in of a unit."""
        folder = self.units / f"{unit}.d"
        folder.mkdir(exist_ok=True)
        shutil.copy(UNITS / "options" / option, folder / f"50-{option}")

    def edit(self, unit: str, old: str, new: str) -> None:
        file = self.units / unit
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")


def make_root(path: Path, analyser: Analyser) -> UnitRoot:
    """Lay out a device's root with our units in it."""
    units = path / "etc/systemd/system"
    units.mkdir(parents=True)
    for pattern in ("*.service", "*.path", "*.target"):
        for file in UNITS.glob(pattern):
            shutil.copy(file, units)
    base = path / "usr/lib/systemd/system"
    base.mkdir(parents=True)
    for file in (analyser.root / "usr/lib/systemd/system").iterdir():
        if file.is_file():
            shutil.copy(file, base)
    for name in PROGRAMS:
        program = path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n", encoding="utf-8")
        program.chmod(0o755)
    return UnitRoot(path, analyser)


def settings_of(file: Path) -> dict[str, list[str]]:
    """Return a unit's or drop-in's settings by name; each time one is set is an element."""
    found: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";", "[")):
            found.setdefault(name, []).append(value)
    return found
