"""Starting a Mosquitto of one's own."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from appliance.errors import BrokerError, ConfigError, DependencyError
from drivers.mosquitto import (
    BrokerIdentity,
    MosquittoProcess,
    MosquittoProgram,
    find_mosquitto,
    start_mosquitto,
)
from tests.fakes.mosquitto import require_mosquitto

ONE = BrokerIdentity(name="handset-1", kind="handset")


def make_tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o700)


def test_passwords_are_random_and_not_printed() -> None:
    other = BrokerIdentity(name="handset-1", kind="handset")
    assert ONE.password != other.password
    assert ONE.password not in repr(ONE)


@pytest.mark.parametrize("name", ["", "a b", "a\ntopic #", "a#", "é"])
def test_name_that_would_change_the_access_list_is_refused(tmp_path: Path, name: str) -> None:
    nowhere = Path("/nowhere")
    program = MosquittoProgram(broker=nowhere, password_tool=nowhere, library_folder=None)
    with pytest.raises(ConfigError):
        start_mosquitto(tmp_path, 1, program=program, identities=[BrokerIdentity(name=name, kind="handset")])


def test_machine_without_packages_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if any(Path(folder, "mosquitto").exists() for folder in ("/usr/sbin", "/usr/local/sbin")):
        pytest.skip("this machine has a Mosquitto")
    with pytest.raises(DependencyError, match="package manager"):
        find_mosquitto(tmp_path / "cache")


def test_machine_without_package_lists_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(Path(folder, "mosquitto").exists() for folder in ("/usr/sbin", "/usr/local/sbin")):
        pytest.skip("this machine has a Mosquitto")
    for tool in ("apt-get", "dpkg", "dpkg-query"):
        make_tool(tmp_path / "bin", tool, "exit 0")
    make_tool(tmp_path / "bin", "apt-cache", "echo 'E: No packages found' >&2; exit 100")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    with pytest.raises(DependencyError, match="apt-get update"):
        find_mosquitto(tmp_path / "cache")
    assert not (tmp_path / "cache" / "root").exists()


@pytest.mark.broker
def test_port_that_is_taken_is_told(tmp_path: Path) -> None:
    program = require_mosquitto()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BrokerError, match="taken"):
            start_mosquitto(tmp_path, taken.getsockname()[1], program=program, identities=[ONE])


@pytest.mark.broker
@pytest.mark.timeout(120)
def test_broker_listens_on_loopback_only_and_ends_when_stopped(tmp_path: Path) -> None:
    program = require_mosquitto()
    with start_mosquitto(tmp_path / "mq", 0, program=program, identities=[ONE]) as process:
        assert addresses_listening(process.port) == {"0100007F"}
    assert addresses_listening(process.port) == set()
    process.stop()


@pytest.mark.broker
def test_passwords_are_kept_hashed_and_private(tmp_path: Path) -> None:
    with start_mosquitto(tmp_path / "mq", 0, program=require_mosquitto(), identities=[ONE]):
        for file in (tmp_path / "mq").iterdir():
            assert ONE.password.encode() not in file.read_bytes()
        assert stat.S_IMODE((tmp_path / "mq").stat().st_mode) == 0o700


@pytest.mark.broker
def test_broker_that_does_not_start_says_why(tmp_path: Path) -> None:
    program = require_mosquitto()
    (tmp_path / "mosquitto.conf").write_text("no_such_setting true\n")
    with pytest.raises(BrokerError, match="mosquitto did not start"):
        MosquittoProcess(program, tmp_path, 0).start_again()


def addresses_listening(port: int) -> set[str]:
    """Return the local addresses, as the kernel writes them, on which somebody listens at this port."""
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:  # 0A is LISTEN
                found.add(address)
    return found
