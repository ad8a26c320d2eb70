"""What systemd hears, on a real datagram socket."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import UsageError
from appliance.ports import ServiceNotifier
from drivers.service_manager import LONGEST_STATUS, ServiceManager


class Ear:
    """The service manager's end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.settimeout(1.0)

    def heard(self) -> list[str]:
        return self.sock.recv(4096).decode().split("\n")

    def has_heard_nothing(self) -> bool:
        self.sock.setblocking(False)
        try:
            self.sock.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ear]:
    name = f"@appliance-{secrets.token_hex(8)}" if request.param == "abstract" else str(tmp_path / "notify")
    made = Ear(name)
    yield made
    made.sock.close()


def manager_of(ear: Ear, **more: str) -> ServiceManager:
    return ServiceManager.from_environment({"NOTIFY_SOCKET": ear.address, **more})


def test_each_call_says_its_word(ear: Ear) -> None:
    manager = manager_of(ear)
    manager.ready("two cameras")
    assert ear.heard() == ["READY=1", "STATUS=two cameras"]
    manager.status("armed")
    assert ear.heard() == ["STATUS=armed"]
    manager.watchdog()
    assert ear.heard() == ["WATCHDOG=1"]
    manager.stopping()
    assert ear.heard() == ["STOPPING=1"]


def test_it_is_a_service_notifier(ear: Ear) -> None:
    notifier: ServiceNotifier = manager_of(ear)
    assert notifier.watchdog_interval_s is None


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\x0b", "\x85", "\u2028"])
def test_a_line_break_in_a_status_is_no_field_of_its_own(ear: Ear, line_break: str) -> None:
    manager_of(ear).status(f"armed{line_break}READY=1")
    assert ear.heard() == ["STATUS=armed READY=1"]


def test_a_long_status_is_cut(ear: Ear) -> None:
    manager_of(ear).status("x" * 100_000)
    assert ear.heard() == ["STATUS=" + "x" * LONGEST_STATUS]


def test_without_a_socket_every_call_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager.from_environment({"WATCHDOG_USEC": "10000000"})
    manager.ready("up")
    manager.status("armed")
    manager.watchdog()
    manager.stopping()
    assert manager.watchdog_interval_s is None
    assert caplog.records == []


def test_the_watchdog_is_called_twice_as_often_as_needed(ear: Ear) -> None:
    manager = manager_of(ear, WATCHDOG_USEC="10000000", WATCHDOG_PID=str(os.getpid()))
    assert manager.watchdog_interval_s == 5.0
    assert manager_of(ear, WATCHDOG_USEC="10000000").watchdog_interval_s == 5.0


def test_a_watchdog_that_is_our_parent_s_is_not_ours(ear: Ear) -> None:
    assert manager_of(ear, WATCHDOG_USEC="10000000", WATCHDOG_PID="1").watchdog_interval_s is None


@pytest.mark.parametrize("limit", ["", "0", "-1", "1.5", "10s", "٣", "9" * 30])
def test_a_bad_watchdog_limit_is_refused(ear: Ear, limit: str) -> None:
    with pytest.raises(UsageError, match="WATCHDOG_USEC"):
        manager_of(ear, WATCHDOG_USEC=limit)


@pytest.mark.parametrize("address", ["", "/", "@", "notify", "vsock:2:1", "/a\0b", "/" + "n" * 107])
def test_a_bad_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="NOTIFY_SOCKET"):
        ServiceManager.from_environment({"NOTIFY_SOCKET": address})


def test_a_listener_that_is_gone_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "notify"
    manager = ServiceManager(str(path), 10.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            manager.watchdog()
        assert len(caplog.records) == 1
        back = Ear(str(path))
        manager.watchdog()
        assert back.heard() == ["WATCHDOG=1"]
        back.sock.close()
        manager.watchdog()
    assert len(caplog.records) == 2


def test_a_listener_that_does_not_read_makes_nobody_wait(ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    manager = manager_of(ear)
    with caplog.at_level(logging.WARNING):
        for _ in range(2000):  # more than the kernel queues for a datagram socket
            manager.watchdog()
    assert len(caplog.records) == 1


async def test_it_may_be_called_on_the_event_loop(ear: Ear) -> None:
    manager_of(ear).ready("up")  # the loop guard fails this test if a call could wait
    assert not ear.has_heard_nothing()


def test_descriptors_are_given_back(ear: Ear) -> None:
    before = n_open()
    manager = manager_of(ear)
    for _ in range(50):
        manager.watchdog()
    assert n_open() == before


def n_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
