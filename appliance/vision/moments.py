"""Choose when a track's face is worth a template: at its best moments, not in every frame.

Kept of a track: its best quality so far, counts and times. Nothing here sees a picture.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.records.ids import TrackId

QUALITY_MARGIN = 8
"""So much better than the track's best so far, of 100: from 40 to 60 px of width, or from a soft face to a
sharp one."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 8.0
"""Whom nobody was found for is looked at again after so long, and after twice that, and so on: a chance
for a person whose quality stays what it was."""
SLACK_QUALITY = 10
"""The wait is prolonged while the face is so much worse than it has been, but not beyond twice its time."""
NEW_AFTER_S = 0.5
"""Not seen for so long, whoever turns up on a track may be somebody else: it is looked at as if new."""
MOST_TRACKS = 2048


@dataclass(slots=True, kw_only=True)
class _Moments:
    seen_s: float
    best_quality: int = -1
    n_embedded: int = 0
    embedded_s: float | None = None
    looked_s: float = -1.0


@dataclass(slots=True, kw_only=True)
class BestMoments:
    """Choose among one camera's tracks. Thread: gpu.

    Args:
        least_apart_s: A track's templates come from frames that share no blur.
    """

    least_apart_s: float
    _tracks: OrderedDict[TrackId, _Moments] = field(default_factory=OrderedDict)

    def waiting(
        self, track_ids: Sequence[TrackId], now_s: float, claimed: frozenset[TrackId]
    ) -> tuple[TrackId, ...]:
        """Return the tracks of a frame that may be looked at now, the most urgent first.

        Args:
            track_ids: Tracks whose face is in the zone and wide enough.
            claimed: Those with a candidate that waits for its confirmation: they come first.
        """
        for track_id in track_ids:
            self._see(track_id, now_s)
        free = [each for each in track_ids if self._is_apart(self._tracks[each], now_s)]
        # Who was looked at longest ago goes first, so that a wall of posters keeps nobody out.
        return tuple(sorted(free, key=lambda each: (each not in claimed, self._tracks[each].looked_s)))

    def note_looked(self, track_id: TrackId, now_s: float) -> None:
        """Take that a track's face was measured."""
        self._tracks[track_id].looked_s = now_s

    def is_best(self, track_id: TrackId, quality: int, now_s: float, *, is_claimed: bool) -> bool:
        """Say whether a track that waits should be embedded now; `quality` is 0..100."""
        moments = self._tracks[track_id]
        if is_claimed or moments.embedded_s is None:
            return True
        if quality >= moments.best_quality + QUALITY_MARGIN:
            return True
        wait_s = min(FIRST_WAIT_S * 2 ** (moments.n_embedded - 1), LONGEST_WAIT_S)
        age_s = now_s - moments.embedded_s
        is_good = quality >= moments.best_quality - SLACK_QUALITY
        return bool(age_s >= (wait_s if is_good else 2 * wait_s))

    def note_embedded(self, track_id: TrackId, quality: int, now_s: float) -> None:
        """Take that a track was embedded."""
        moments = self._tracks[track_id]
        moments.best_quality = max(moments.best_quality, quality)
        moments.n_embedded += 1
        moments.embedded_s = now_s

    def _see(self, track_id: TrackId, now_s: float) -> None:
        moments = self._tracks.get(track_id)
        if moments is None or now_s - moments.seen_s > NEW_AFTER_S:
            self._tracks[track_id] = _Moments(seen_s=now_s)
        else:
            moments.seen_s = now_s
        self._tracks.move_to_end(track_id)
        if len(self._tracks) > MOST_TRACKS:
            self._tracks.popitem(last=False)

    def _is_apart(self, moments: _Moments, now_s: float) -> bool:
        return moments.embedded_s is None or now_s - moments.embedded_s >= self.least_apart_s
