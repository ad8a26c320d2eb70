"""Counts for the field: what came of the detections of each camera and minute, and why faces were poor.

They count; what may be searched is the gate's to say. No score, picture or box outlives its frame here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

from appliance.quality import FaceFaults
from appliance.records.channel import FieldMinute
from appliance.records.ids import TrackId

MINUTES_KEPT = 60

PASS_WINDOW_S, FEWEST_TRACKS = 12.0, 8
"""A pass rate is taken over so long, and longer where fewer people pass."""
LONGEST_WINDOW_S = 60.0
"""A low rate of too few people to mean anything is followed for so long."""
FEWEST_WINDOWS = 3
LOW_PASS_RATIO, SURE_DEVIATIONS = 0.5, 4.0
"""Half of the usual, and further from it than chance: 4 standard deviations of a binomial share."""
MOST_WINDOWS_AVERAGED = 50
MOST_TRACKS = 512


class PassRate:
    """Tell when fewer of the people who pass have a face fit for a search than usual. Thread: gpu.

    A person counts once in a window, by track, so that one who stands and looks away changes little.
    """

    def __init__(self) -> None:
        self.is_low = False
        self._tracks: OrderedDict[TrackId, bool] = OrderedDict()
        self._began_s: float | None = None
        self._usual, self._n_windows = 0.0, 0

    def note(self, passed: Mapping[TrackId, bool], now_s: float) -> None:
        """Take the tracks of a frame, each with whether its face is fit; time is that of capture."""
        if self._began_s is None:
            self._began_s = now_s
        for track_id, has_passed in passed.items():
            self._tracks[track_id] = has_passed or self._tracks.get(track_id, False)
        while len(self._tracks) > MOST_TRACKS:
            self._tracks.popitem(last=False)
        age_s = now_s - self._began_s
        if age_s >= PASS_WINDOW_S and len(self._tracks) >= FEWEST_TRACKS:
            self._judge(age_s, now_s)

    def _judge(self, age_s: float, now_s: float) -> None:
        n_tracks = len(self._tracks)
        rate = sum(self._tracks.values()) / n_tracks
        is_settled = self._n_windows >= FEWEST_WINDOWS
        looks_low = is_settled and rate < LOW_PASS_RATIO * self._usual
        chance = (self._usual * (1 - self._usual) / n_tracks) ** 0.5
        is_sure = self.is_low or self._usual - rate > SURE_DEVIATIONS * chance
        if looks_low and not is_sure and age_s < LONGEST_WINDOW_S:
            return  # more people will tell
        self.is_low = looks_low and is_sure
        if not self.is_low:  # the usual does not get used to the fault
            self._n_windows = min(self._n_windows + 1, MOST_WINDOWS_AVERAGED)
            self._usual += (rate - self._usual) / self._n_windows
        self._tracks.clear()
        self._began_s = now_s


class FieldCounts:
    """Keep one camera's counts by minute, for the last hour. Threads: gpu notes, any reads."""

    def __init__(self) -> None:
        self._minutes: deque[FieldMinute] = deque(maxlen=MINUTES_KEPT)
        self._lock = threading.Lock()

    def note(
        self,
        now_s: float,
        *,
        n_detected: int,
        n_outside_zone: int,
        n_too_small: int,
        n_searched: int,
        faults: Iterable[FaceFaults],
    ) -> None:
        """Add a frame to the minute of its capture; `faults` are of the faces that were looked at."""
        poor = [each for each in faults if each]
        with self._lock:
            minute = self._minute_of(now_s)
            self._minutes[-1] = replace(
                minute,
                n_detected=minute.n_detected + n_detected,
                n_outside_zone=minute.n_outside_zone + n_outside_zone,
                n_too_small=minute.n_too_small + n_too_small,
                n_blurred=minute.n_blurred + sum(each.is_blurred for each in poor),
                n_turned_away=minute.n_turned_away + sum(each.is_turned_away for each in poor),
                n_dark=minute.n_dark + sum(each.is_dark for each in poor),
                n_searched=minute.n_searched + n_searched,
            )

    def minutes(self) -> tuple[FieldMinute, ...]:
        """Return the minutes that had frames, of the last 60 of them, oldest first; the last one runs."""
        with self._lock:
            return tuple(self._minutes)

    def _minute_of(self, now_s: float) -> FieldMinute:
        number = int(now_s // 60)
        # A camera's frames may come a little out of order when its process is renewed.
        if not self._minutes or number > self._minutes[-1].monotonic_minute:
            self._minutes.append(
                FieldMinute(
                    monotonic_minute=number,
                    n_detected=0,
                    n_outside_zone=0,
                    n_too_small=0,
                    n_blurred=0,
                    n_turned_away=0,
                    n_dark=0,
                    n_searched=0,
                )
            )
        return self._minutes[-1]
