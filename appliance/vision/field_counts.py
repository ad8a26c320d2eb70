"""Counts for the field: what came of the detections of each camera and minute, and why faces were poor.

They count; what may be searched is the gate's to say. No score, picture or box outlives its frame here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from appliance.ports import Region
from appliance.records.channel import FieldMinute
from appliance.records.frames import Box, Face, Pixels
from appliance.records.ids import TrackId

MINUTES_KEPT = 60

DARK_FACE_LUMA = 25.0
"""Mean green of the box. ISO/IEC 29794-5 calls luminance up to 25 under-exposed; on NASA's portraits of
E. Collins and G. Hopper, darkened, with noise of 3 levels, centerface-dlib's template kept a cosine of 0.96
to 0.99 with the bright face's at 22 to 23, of 0.93 to 0.98 at 15 to 16."""
SOFT_FACE_DETAIL = 0.02
"""Mean product of how brightness bends along two lines, over its variance. Same portraits, 30 to 178 px wide,
noise of 2 levels: sharp 0.44 to 0.77; blurred by 4 % of the face's width (sigma) 0.02 to 0.31, cosine 0.93 to
0.97 with the sharp one; by 8 %, 0.004 to 0.07 and 0.87 to 0.90; by 12 % the detector no longer finds them."""
TURNED_NOSE_SHIFT = 0.30
"""Of the eyes' distance, along their line. The nose's tip stands about 0.41 of that distance before the eyes
(generic head model of pose estimation), so 0.30 is a turn of about 36 degrees; frontal: 0.01 to 0.04."""
TURNED_EYE_DISTANCE = 0.30
"""Of the box's width; 0.48 on frontal portraits, 0.30 at a turn of about 51 degrees."""
FACE_SAMPLES = 40
"""Pixels across a face that are looked at, up to twice as many; a wider face is thinned out."""
LINES_APART, LAG = 1, 2

PASS_WINDOW_S, FEWEST_TRACKS = 12.0, 8
"""A pass rate is taken over so long, and longer where fewer people pass."""
LONGEST_WINDOW_S = 60.0
"""A low rate of too few people to mean anything is followed for so long."""
FEWEST_WINDOWS = 3
LOW_PASS_RATIO, SURE_DEVIATIONS = 0.5, 4.0
"""Half of the usual, and further from it than chance: 4 standard deviations of a binomial share."""
MOST_WINDOWS_AVERAGED = 50
MOST_TRACKS = 512

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceFaults:
    """What is poor about a face that is in the zone and wide enough."""

    is_blurred: bool
    is_turned_away: bool
    is_dark: bool

    def __bool__(self) -> bool:
        return self.is_blurred or self.is_turned_away or self.is_dark


class FaceMeasures:
    """Measure faces by their five points and pixels. Thread: gpu.

    Args:
        region: Holds one face at a time, zeroed after it.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        n_pixels = (2 * FACE_SAMPLES) ** 2
        self._luma, self._steps, self._bends = (
            region.take((n_pixels,), np.float32).view(np.float32) for _ in range(3)
        )

    def faults_of(self, pixels: Pixels, face: Face) -> FaceFaults:
        """Return what is poor about a face; its pixels are gone from the region on return."""
        with self._region:
            luma = self._luma_of(pixels, face.box)
            if luma is None:
                return FaceFaults(is_blurred=True, is_turned_away=is_turned_away(face), is_dark=True)
            return FaceFaults(
                is_blurred=self._detail_of(luma) < SOFT_FACE_DETAIL,
                is_turned_away=is_turned_away(face),
                is_dark=float(luma.mean()) < DARK_FACE_LUMA,
            )

    def _luma_of(self, pixels: Pixels, box: Box) -> Floats | None:
        # A box may reach outside the picture, and a negative end would count from the other side.
        top, bottom, left, right = (
            max(0, round(edge_px))
            for edge_px in (box.y_px, box.y_px + box.height_px, box.x_px, box.x_px + box.width_px)
        )
        cut = pixels[top:bottom, left:right, 1]
        step = max(1, int(box.width_px) // FACE_SAMPLES)
        seen = cut[::step, ::step][: 2 * FACE_SAMPLES, : 2 * FACE_SAMPLES]
        if min(seen.shape) <= 2 * LAG + LINES_APART:
            return None  # hardly anything of it is in the picture
        luma = _as(self._luma, seen.shape)
        np.copyto(luma, seen)
        return luma

    def _detail_of(self, luma: Floats) -> float:
        rows, columns = luma.shape
        steps = _as(self._steps, (rows, columns - LAG))
        np.subtract(luma[:, LAG:], luma[:, :-LAG], out=steps)
        bends = _as(self._bends, (rows, columns - 2 * LAG))
        np.subtract(steps[:, LAG:], steps[:, :-LAG], out=bends)
        # Noise differs from line to line and cancels out in the mean; edges go on.
        products = _as(self._steps, (rows - LINES_APART, columns - 2 * LAG))
        np.multiply(bends[LINES_APART:], bends[:-LINES_APART], out=products)
        detail = float(products.mean())
        apart = _as(self._bends, luma.shape)
        np.subtract(luma, luma.mean(), out=apart)
        np.multiply(apart, apart, out=apart)
        return detail / (float(apart.mean()) + 1.0)


def is_turned_away(face: Face) -> bool:
    """Say whether the nose lies far off the middle of the eyes, or the eyes are too near for the face."""
    left, right, nose = face.points[0], face.points[1], face.points[2]
    across_x, across_y = float(right[0] - left[0]), float(right[1] - left[1])
    distance_px = (across_x**2 + across_y**2) ** 0.5
    if distance_px < TURNED_EYE_DISTANCE * face.box.width_px or distance_px == 0:
        return True
    from_middle_x = float(nose[0] - (left[0] + right[0]) / 2)
    from_middle_y = float(nose[1] - (left[1] + right[1]) / 2)
    shift = (from_middle_x * across_x + from_middle_y * across_y) / distance_px**2
    return bool(abs(shift) > TURNED_NOSE_SHIFT)


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


def _as(buffer: Floats, shape: tuple[int, ...]) -> Floats:
    return buffer[: shape[0] * shape[1]].reshape(shape)
