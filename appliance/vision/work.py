"""What goes from the gpu thread to the match thread: a frame with the probes found in it."""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from appliance.ports import Region
from appliance.records.frames import Box, Frame, Template
from appliance.records.ids import TrackId

MOST_PROBES = 64
"""Faces embedded of one frame; the rest wait for the next frame, who waited longest goes first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """A face of a live frame; `template` is a row in the arena, valid until the work is done."""

    track_id: TrackId
    box: Box
    template: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFrame:
    """A frame in its ring slot, and how to give the slot back, which zeroes it."""

    frame: Frame
    release: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameWork:
    """One analysed frame on its way to the decision."""

    held: HeldFrame
    probes: tuple[Probe, ...]
    bench: TemplateBench


class TemplateBench:
    """Rows in the arena for the templates of one frame; `with bench:` zeroes them on the way out."""

    def __init__(self, region: Region, template_length: int) -> None:
        self.region = region
        self._rows = region.take((MOST_PROBES, template_length), np.float32).view(np.float32)

    def row(self, number: int) -> Template:
        """Return the row for a probe, (D,) float32."""
        row: Template = self._rows[number]
        return row


class BenchPool:
    """A few benches that the two threads hand round: none free means that the match thread is behind."""

    def __init__(self, benches: list[TemplateBench]) -> None:
        self._free: queue.Queue[TemplateBench] = queue.Queue(maxsize=len(benches))
        for bench in benches:
            self._free.put_nowait(bench)

    def take(self, timeout_s: float) -> TemplateBench | None:
        """Return a zeroed bench, or None when none came back in time."""
        try:
            return self._free.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def give_back(self, bench: TemplateBench) -> None:
        """Zero a bench and hand it round again."""
        bench.region.clear()
        self._free.put_nowait(bench)
