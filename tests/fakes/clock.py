"""A clock that a test turns by hand."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone

START = datetime(2026, 11, 20, 9, 0, tzinfo=timezone.utc)


class FakeClock:
    """Implement the Clock port; `advance` moves both clocks, `step` the wall clock alone."""

    def __init__(self, start: datetime = START, *, is_trusted: bool = True) -> None:
        self._now = start
        self._monotonic_s = 1000.0
        self._is_trusted = is_trusted
        self.slept_s: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def is_trusted(self) -> bool:
        return self._is_trusted

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        self.advance(delay_s)
        await asyncio.sleep(0)

    def advance(self, delay_s: float) -> None:
        self._now += timedelta(seconds=delay_s)
        self._monotonic_s += delay_s

    def step(self, delay_s: float) -> None:
        self._now += timedelta(seconds=delay_s)

    def distrust(self) -> None:
        self._is_trusted = False
