"""Tell systemd how the supervisor is: sd_notify by hand, because it is ten lines and a library is not.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd 249.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Mapping

from appliance.compat import Self
from appliance.errors import UsageError

logger = logging.getLogger(__name__)
LONGEST_STATUS = 200
PINGS_PER_LIMIT = 2  # sd_watchdog_enabled(3): notify after half of the time
_LONGEST_ADDRESS_BYTES = 107  # struct sockaddr_un, less its closing zero
_MICROSECONDS = re.compile(r"[0-9]{1,18}")


class ServiceManager:
    """Implement the ServiceNotifier port over the datagram socket in `NOTIFY_SOCKET`.

    No call waits and none raises: whoever does not hear us restarts us, which is what the watchdog is for,
    and an appliance that works does not stop because its status was not heard. What was not heard is logged,
    once until it is heard again. Thread: any, one at a time.

    Args:
        address: The socket: a path, or an abstract name that begins with `@`. None: nobody listens, and every
            call does nothing.
        watchdog_limit_s: After how long without `watchdog` systemd ends this process; None: never.
    """

    def __init__(self, address: str | None, watchdog_limit_s: float | None = None) -> None:
        self._target = None if address is None else _target_of(address)
        self._limit_s = watchdog_limit_s if address is not None else None
        self._is_unheard = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read what systemd set for this process: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID.

        Raises:
            UsageError: One of them is there and is not what systemd sets.
        """
        found = os.environ if environment is None else environment
        return cls(found.get("NOTIFY_SOCKET"), _watchdog_limit_s(found))

    @property
    def watchdog_interval_s(self) -> float | None:
        """Return how often `watchdog` has to be called, half of the limit; None when there is none."""
        return None if self._limit_s is None else self._limit_s / PINGS_PER_LIMIT

    def ready(self, status: str) -> None:
        """Say that the start is over, and what is seen in `systemctl status`."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """Say what is seen in `systemctl status`: one line, cut at 200 characters, no names and no keys."""
        self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> None:
        """Say that progress was made; never call it from a mere timer."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the staged stop has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._target is None:
            return
        try:
            # A socket for each message: systemd binds its own anew when it is executed again after an update.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(message.encode(), self._target)
        except OSError as err:
            if not self._is_unheard:
                logger.warning("the service manager does not hear us: %s", err.strerror)
            self._is_unheard = True
        else:
            self._is_unheard = False


def _target_of(address: str) -> str:
    is_long = len(os.fsencode(address)) > _LONGEST_ADDRESS_BYTES
    if is_long or len(address) < 2 or address[0] not in "/@" or "\0" in address:
        raise UsageError("NOTIFY_SOCKET: neither a path nor an abstract name of at most 107 bytes")
    return "\0" + address[1:] if address[0] == "@" else address


def _watchdog_limit_s(environment: Mapping[str, str]) -> float | None:
    limit_us = environment.get("WATCHDOG_USEC")
    if limit_us is None or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # without the second the watchdog is our parent's, and we inherited its environment
    if not _MICROSECONDS.fullmatch(limit_us) or int(limit_us) == 0:
        raise UsageError("WATCHDOG_USEC: not a number of microseconds")
    return int(limit_us) / 1e6


def _one_line(text: str) -> str:
    # A message is lines of NAME=value: a line break in the text would be a field of its own.
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:LONGEST_STATUS]
