"""When candidates become an alert: k of the last n searched moments of one track agree on one entry."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from appliance.records.ids import CameraId, EntryId, TrackId
from appliance.records.watchlist import Candidate

MOST_TRACKS = 512
"""Older tracks are forgotten first; it bounds memory in front of a poster wall."""


LEAST_APART_S = 0.12
"""Frames nearer to each other share one blur: what they agree on was seen once."""


@dataclass(slots=True, kw_only=True)
class _TrackVotes:
    frames: deque[frozenset[EntryId]]
    alerted: set[EntryId] = field(default_factory=set)
    voted_s: float | None = None


class OpenClaims:
    """Tell which tracks have a candidate that waits for its confirmation: ids of tracks, nothing else.

    Threads: match notes, gpu asks, so that the confirming frames are embedded promptly.
    """

    def __init__(self) -> None:
        self._tracks: set[tuple[CameraId, TrackId]] = set()
        self._lock = threading.Lock()

    def note(self, camera_id: CameraId, track_id: TrackId, *, is_open: bool) -> None:
        """Take whether a track's candidate waits."""
        with self._lock:
            if is_open:
                self._tracks.add((camera_id, track_id))
            else:
                self._tracks.discard((camera_id, track_id))

    def is_open(self, camera_id: CameraId, track_id: TrackId) -> bool:
        """Say whether a track's candidate waits."""
        with self._lock:
            return (camera_id, track_id) in self._tracks


class Decider:
    """Count agreement per track. Keeps ids of entries at or above the threshold, nothing else. Thread: match.

    Args:
        frames_k: How many frames must agree, 1..n.
        frames_n: Of how many searched frames of the track.
        least_apart_s: Frames of a track captured nearer to each other than this count as one.
        open_claims: Told which tracks wait for a confirmation.
    """

    def __init__(
        self,
        *,
        frames_k: int,
        frames_n: int,
        least_apart_s: float = 0.0,
        open_claims: OpenClaims | None = None,
    ) -> None:
        if not 1 <= frames_k <= frames_n:
            raise ValueError(f"k={frames_k} of n={frames_n} frames")
        self._frames_k, self._frames_n = frames_k, frames_n
        self._least_apart_s = least_apart_s
        self._open_claims = open_claims or OpenClaims()
        self._tracks: OrderedDict[tuple[CameraId, TrackId], _TrackVotes] = OrderedDict()

    def note(
        self,
        camera_id: CameraId,
        track_id: TrackId,
        candidates: Iterable[Candidate],
        captured_s: float | None = None,
    ) -> tuple[Candidate, ...]:
        """Return the candidates of this frame that have now earned an alert, each once per track.

        Args:
            captured_s: Monotonic time of capture; without it every frame counts by itself.
        """
        votes = self._votes_of((camera_id, track_id))
        candidates = tuple(candidates)
        self._count(votes, frozenset(candidate.entry_id for candidate in candidates), captured_s)
        raised = tuple(
            candidate
            for candidate in candidates
            if candidate.entry_id not in votes.alerted
            and self._n_agreed(votes, candidate.entry_id) >= self._frames_k
        )
        votes.alerted.update(candidate.entry_id for candidate in raised)
        self._open_claims.note(camera_id, track_id, is_open=bool(set().union(*votes.frames) - votes.alerted))
        return raised

    def _count(self, votes: _TrackVotes, entry_ids: frozenset[EntryId], captured_s: float | None) -> None:
        is_same_moment = (
            captured_s is not None
            and votes.voted_s is not None
            and captured_s - votes.voted_s < self._least_apart_s
        )
        if is_same_moment and votes.frames:
            votes.frames[-1] |= entry_ids
            return
        votes.frames.append(entry_ids)
        votes.voted_s = captured_s

    def n_agreed(self, camera_id: CameraId, track_id: TrackId, entry_id: EntryId) -> int:
        """Return how many of the track's last n frames named the entry."""
        return self._n_agreed(self._votes_of((camera_id, track_id)), entry_id)

    def _n_agreed(self, votes: _TrackVotes, entry_id: EntryId) -> int:
        return sum(entry_id in frame for frame in votes.frames)

    def _votes_of(self, key: tuple[CameraId, TrackId]) -> _TrackVotes:
        votes = self._tracks.get(key)
        if votes is None:
            votes = self._tracks[key] = _TrackVotes(frames=deque(maxlen=self._frames_n))
            if len(self._tracks) > MOST_TRACKS:
                forgotten, _ = self._tracks.popitem(last=False)
                self._open_claims.note(*forgotten, is_open=False)
        self._tracks.move_to_end(key)
        return votes
