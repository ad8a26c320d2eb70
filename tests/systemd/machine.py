"""A machine of one's own: systemd as the first process of new namespaces, with our units and nothing else's.

It needs root, and touches nothing outside: its mounts, processes, network and control group are its own, and
all of them end with it. Where it cannot be had, tests skip with one line.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.compat import Self
from tests.systemd.find import REPOSITORY, UNITS

SYSTEMD = Path("/usr/lib/systemd/systemd")
BASE_UNITS = (
    "basic",
    "local-fs",
    "network",
    "paths",
    "shutdown",
    "slices",
    "sockets",
    "sysinit",
    "timers",
    "umount",
)
BOOT = """
set -e
mount --make-rprivate /
for folder in etc var opt; do
    mkdir -p "$ROOMS/$folder/upper" "$ROOMS/$folder/work"
    layers="lowerdir=/$folder,upperdir=$ROOMS/$folder/upper,workdir=$ROOMS/$folder/work"
    mount -t overlay overlay -o "$layers" "/$folder"
done
mount -t tmpfs -o mode=755 tmpfs /run
for mounted in $(awk '$2 ~ "^/sys/fs/cgroup/" {print $2}' /proc/mounts | sort -r); do umount "$mounted"; done
mountpoint -q /sys/fs/cgroup && umount /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
mkdir -p /run/units /opt/appliance/venv /run/log
cp "$ROOMS"/units/* /run/units/ 2>/dev/null || true
cp -r "$ROOMS"/units/*.d /run/units/ 2>/dev/null || true
mount --bind "$VENV" /opt/appliance/venv
systemd-sysusers "$UNITS/sysusers.d/appliance.conf"
systemd-tmpfiles --create "$UNITS/tmpfiles.d/appliance.conf"
sh -e "$ROOMS/prepare"
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/run/units \
    SYSTEMD_LOG_TARGET=null /usr/lib/systemd/systemd --system --unit=basic.target --show-status=no
"""


class Machine:
    """Boot on entry, power off on exit.

    Args:
        rooms: A folder for what it writes.
        prepare: A shell script that lays out state and configuration, run before systemd, in its mounts.
    """

    def __init__(self, rooms: Path, prepare: str) -> None:
        self._rooms = rooms
        self.logs = rooms / "log"
        self.logs.mkdir(parents=True)
        (rooms / "prepare").write_text(prepare, encoding="utf-8")
        self._cgroup = _cgroup_root() / f"appliance-test-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._lay_out_units(rooms / "units")

    def __enter__(self) -> Self:
        self._cgroup.mkdir()
        command = (
            f"echo $$ > {self._cgroup}/cgroup.procs; exec unshare --mount --pid --fork --cgroup --net"
            f" --uts --ipc --mount-proc --kill-child sh {self._rooms}/boot"
        )
        (self._rooms / "boot").write_text(BOOT, encoding="utf-8")
        with (self.logs / "boot").open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", command],
                env={
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "ROOMS": str(self._rooms),
                    "UNITS": str(UNITS),
                    "VENV": sys.prefix,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(
                lambda: self._process is not None and self._init_pid() != 0, 5.0, "the namespaces are there"
            )
            wait_for(lambda: self.systemctl("is-active", "basic.target") == "active", 15.0, "systemd is up")
            self.systemctl("start", "dbus.service")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        # All its processes end with the first; the kernel takes a moment to see that.
        wait_for(lambda: _remove_tree(self._cgroup), 10.0, "the control group is empty")

    def run(self, *command: str, timeout_s: float = 30) -> str:
        """Run a command inside and return what it said; what it exits with is not looked at."""
        init = self._init_pid()
        if init == 0:
            raise AssertionError(f"systemd did not start: {(self.logs / 'boot').read_text()[-2000:]}")
        inside = ["nsenter", "-t", str(init), "-m", "-p", "-n", "-C", "--", *command]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        answer = subprocess.run(
            inside, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        return (answer.stdout or answer.stderr).strip()

    def systemctl(self, *arguments: str) -> str:
        return self.run("systemctl", "--no-pager", *arguments)

    def show(self, unit: str, name: str) -> str:
        return self.systemctl("show", "--value", f"--property={name}", unit)

    def main_pid(self, unit: str) -> int:
        """Return the pid of a unit's program as it is inside; 0 when it does not run."""
        return int(self.show(unit, "MainPID") or 0)

    def kill(self, unit: str, number: signal.Signals) -> None:
        """Send a signal to a unit's main process."""
        self.systemctl("kill", "--kill-whom=main", f"--signal={number.name}", unit)

    def read(self, path: str) -> str:
        return self.run("cat", path)

    def _init_pid(self) -> int:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def _lay_out_units(self, folder: Path) -> None:
        folder.mkdir()
        for name in BASE_UNITS:
            shutil.copy(f"/usr/lib/systemd/system/{name}.target", folder)
        for name in ("dbus.service", "dbus.socket"):
            shutil.copy(f"/usr/lib/systemd/system/{name}", folder)
        for pattern in ("*.service", "*.path", "*.target"):
            for file in UNITS.glob(pattern):
                shutil.copy(file, folder)
                if file.suffix == ".service":
                    drop_in = folder / f"{file.name}.d"
                    drop_in.mkdir()
                    (drop_in / "10-test.conf").write_text(self._where_this_machine_keeps_python())

    def _where_this_machine_keeps_python(self) -> str:
        # On a device everything lies in /opt; here the interpreter may lie in a home folder, and so may we.
        homes = [
            path
            for path in {sys.base_prefix, sys.prefix, str(REPOSITORY)}
            if path.startswith(("/root", "/home"))
        ]
        lines = ["[Service]", f"StandardOutput=append:{self.logs}/%n", f"StandardError=append:{self.logs}/%n"]
        if homes:
            lines += ["ProtectHome=tmpfs", f"BindReadOnlyPaths={' '.join(homes)}"]
        return "\n".join(lines) + "\n"


def require_machine() -> None:
    """Skip where systemd cannot be started in namespaces."""
    programs = ("unshare", "nsenter", "ip", "systemctl", "systemd-sysusers", "systemd-tmpfiles", "mountpoint")
    if os.geteuid() != 0:
        pytest.skip("a systemd of one's own needs root")
    if not SYSTEMD.exists() or not all(shutil.which(name) for name in programs):
        pytest.skip("systemd is missing: install the packages systemd, util-linux and iproute2")
    if not Path("/usr/lib/systemd/system/dbus.service").exists():
        pytest.skip("the system bus is missing: install the package dbus")
    if _cgroup_root_or_none() is None:
        pytest.skip("there is no unified control group hierarchy (cgroup2) that may be written")


def wait_for(condition: Callable[[], bool], limit_s: float, what: str) -> float:
    """Wait until something is so; return how long it took, in seconds."""
    began_s = time.monotonic()
    while not condition():
        if time.monotonic() - began_s > limit_s:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.05)
    return time.monotonic() - began_s


def _remove_tree(cgroup: Path) -> bool:
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
    return not cgroup.exists()


def _cgroup_root() -> Path:
    found = _cgroup_root_or_none()
    assert found is not None
    return found


def _cgroup_root_or_none() -> Path | None:
    lines: Sequence[str] = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    for _, folder, kind, options, *_ in (line.split() for line in lines):
        if kind == "cgroup2" and "rw" in options.split(",") and os.access(folder, os.W_OK):
            return Path(folder)
    return None
