"""Follow faces from frame to frame of one camera by their boxes alone; no picture, no template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.records.frames import Box
from appliance.records.ids import TrackId

LEAST_OVERLAP = 0.2
LONGEST_GAP_S = 0.8
NEAR_WIDTHS, NEAR_WIDTHS_PER_S, FARTHEST_WIDTHS = 0.6, 2.5, 1.5
"""How far from where it should be a face may turn up: more, the longer it was not seen."""
N_FRAMES_SEEN = 2
"""A track of one frame may be the detector's mistake; from two on it counts as a face seen."""


@dataclass(slots=True, kw_only=True)
class Track:
    """What is kept of somebody passing by: where the face was, and counts."""

    track_id: TrackId
    box: Box
    seen_s: float
    velocity_x_px_s: float = 0.0
    velocity_y_px_s: float = 0.0
    n_frames: int = 1


@dataclass(slots=True, kw_only=True)
class Tracker:
    """Associate boxes with tracks, greedily by overlap with where each should be by now. Thread: gpu."""

    n_faces_seen: int = 0
    _tracks: list[Track] = field(default_factory=list)
    _next_id: int = 1

    def update(self, boxes: Sequence[Box], now_s: float) -> tuple[TrackId, ...]:
        """Return the track of each box.

        Args:
            boxes: The faces of one frame.
            now_s: Monotonic time of capture; never lower than at the last call.
        """
        self._tracks = [track for track in self._tracks if now_s - track.seen_s <= LONGEST_GAP_S]
        pairs = sorted(
            (
                (affinity, track_number, box_number)
                for track_number, track in enumerate(self._tracks)
                for box_number, box in enumerate(boxes)
                if (affinity := _affinity(track, box, now_s)) > 0
            ),
            reverse=True,
        )
        found: dict[int, Track] = {}
        used: set[int] = set()
        for _, track_number, box_number in pairs:
            if box_number not in found and track_number not in used:
                used.add(track_number)
                found[box_number] = self._tracks[track_number]
        return tuple(self._note(found.get(number), box, now_s) for number, box in enumerate(boxes))

    def is_alive(self, track_id: TrackId) -> bool:
        """Say whether the track may still be continued."""
        return any(track.track_id == track_id for track in self._tracks)

    def _note(self, track: Track | None, box: Box, now_s: float) -> TrackId:
        if track is None:
            track = Track(track_id=TrackId(self._next_id), box=box, seen_s=now_s)
            self._next_id += 1
            self._tracks.append(track)
            return track.track_id
        elapsed_s = max(now_s - track.seen_s, 1e-3)
        old_x, old_y = _centre(track.box)
        new_x, new_y = _centre(box)
        track.velocity_x_px_s += 0.5 * ((new_x - old_x) / elapsed_s - track.velocity_x_px_s)
        track.velocity_y_px_s += 0.5 * ((new_y - old_y) / elapsed_s - track.velocity_y_px_s)
        track.box, track.seen_s = box, now_s
        track.n_frames += 1
        self.n_faces_seen += track.n_frames == N_FRAMES_SEEN
        return track.track_id


def overlap_of(first: Box, second: Box) -> float:
    """Return intersection over union, 0..1."""
    width = min(first.x_px + first.width_px, second.x_px + second.width_px) - max(first.x_px, second.x_px)
    height = min(first.y_px + first.height_px, second.y_px + second.height_px) - max(first.y_px, second.y_px)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (first.width_px * first.height_px + second.width_px * second.height_px - both)


def _affinity(track: Track, box: Box, now_s: float) -> float:
    expected = _predicted(track, now_s)
    overlap = overlap_of(expected, box)
    if overlap >= LEAST_OVERLAP:
        return 1.0 + overlap
    # After dropped frames a walker's boxes may not overlap: near and of like size will do.
    expected_x, expected_y = _centre(expected)
    x, y = _centre(box)
    widths = (expected.width_px + box.width_px) / 2
    distance = ((expected_x - x) ** 2 + (expected_y - y) ** 2) ** 0.5 / widths
    ratio = min(expected.width_px, box.width_px) / max(expected.width_px, box.width_px)
    farthest = min(NEAR_WIDTHS + NEAR_WIDTHS_PER_S * (now_s - track.seen_s), FARTHEST_WIDTHS)
    return 1.0 - distance / farthest if ratio > 0.6 and distance < farthest else 0.0


def _predicted(track: Track, now_s: float) -> Box:
    elapsed_s = now_s - track.seen_s
    return Box(
        x_px=track.box.x_px + track.velocity_x_px_s * elapsed_s,
        y_px=track.box.y_px + track.velocity_y_px_s * elapsed_s,
        width_px=track.box.width_px,
        height_px=track.box.height_px,
    )


def _centre(box: Box) -> tuple[float, float]:
    return box.x_px + box.width_px / 2, box.y_px + box.height_px / 2
