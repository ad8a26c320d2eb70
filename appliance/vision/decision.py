"""When candidates become an alert: k of the last n searched frames of one track agree on one entry."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from appliance.records.ids import CameraId, EntryId, TrackId
from appliance.records.watchlist import Candidate

MOST_TRACKS = 512
"""Older tracks are forgotten first; it bounds memory in front of a poster wall."""


@dataclass(slots=True, kw_only=True)
class _TrackVotes:
    frames: deque[frozenset[EntryId]]
    alerted: set[EntryId] = field(default_factory=set)


class Decider:
    """Count agreement per track. Keeps ids of entries at or above the threshold, nothing else. Thread: match.

    Args:
        frames_k: How many frames must agree, 1..n.
        frames_n: Of how many searched frames of the track.
    """

    def __init__(self, *, frames_k: int, frames_n: int) -> None:
        if not 1 <= frames_k <= frames_n:
            raise ValueError(f"k={frames_k} of n={frames_n} frames")
        self._frames_k, self._frames_n = frames_k, frames_n
        self._tracks: OrderedDict[tuple[CameraId, TrackId], _TrackVotes] = OrderedDict()

    def note(
        self, camera_id: CameraId, track_id: TrackId, candidates: Iterable[Candidate]
    ) -> tuple[Candidate, ...]:
        """Return the candidates of this frame that have now earned an alert, each once per track."""
        votes = self._votes_of((camera_id, track_id))
        candidates = tuple(candidates)
        votes.frames.append(frozenset(candidate.entry_id for candidate in candidates))
        raised = tuple(
            candidate
            for candidate in candidates
            if candidate.entry_id not in votes.alerted
            and self._n_agreed(votes, candidate.entry_id) >= self._frames_k
        )
        votes.alerted.update(candidate.entry_id for candidate in raised)
        return raised

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
                self._tracks.popitem(last=False)
        self._tracks.move_to_end(key)
        return votes
