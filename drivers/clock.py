"""The machine's clock."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timezone

CLOCK_FLOOR = datetime(2026, 11, 1, tzinfo=timezone.utc)
"""No appliance of this version existed earlier: a clock that says so is wrong."""


class SystemClock:
    """Implement the Clock port with the operating system's clocks."""

    def now(self) -> datetime:
        """Return the aware time in UTC."""
        return datetime.now(timezone.utc)

    def monotonic_s(self) -> float:
        """Return CLOCK_MONOTONIC in seconds: one clock for all processes of this machine."""
        return time.monotonic()

    def is_trusted(self) -> bool:
        """Say whether the clock is past the floor."""
        return self.now() >= CLOCK_FLOOR

    async def sleep(self, delay_s: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(delay_s)
