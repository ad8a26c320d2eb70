"""Fetch the peers that tests run against, before any test: `python -m tests.fakes.fetch`."""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.errors import DependencyError
from drivers.mosquitto import find_mosquitto
from tests.fakes.rtsp import find_rtsp_server

CACHE = Path(__file__).resolve().parents[2] / ".cache"


def main() -> int:
    """Fetch each; a missing one is one line, and its tests then say that they are skipped."""
    for name, fetch in (
        ("mosquitto", lambda: find_mosquitto(CACHE / "mosquitto", print)),
        ("the RTSP server", find_rtsp_server),
    ):
        try:
            fetch()
        except DependencyError as err:
            sys.stderr.write(f"{name}: {err}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
