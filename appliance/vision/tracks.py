"""Follow faces from frame to frame of one camera by their boxes alone; no picture, nothing made of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from appliance.records.frames import Box
from appliance.records.ids import TrackId

LONGEST_GAP_S = 1.25
"""Who was hidden for a second is still followed; at 8 frames per second that leaves two frames to turn up."""
LEAST_WIDTH_RATIO = 0.6
REACH_WIDTHS, REACH_WIDTHS_PER_S, FARTHEST_WIDTHS = 0.6, 1.2, 2.2
"""How far from where it should be a face may turn up, in its widths: more, the longer it was not seen."""
REACH_NEW_WIDTHS_PER_S = 8.0
"""The same for a track of one frame, whose speed nobody knows yet: a pace of 1.3 m/s, a head of 16 cm."""
COST_OF_GAP_WIDTHS_PER_S = 0.3
"""Whoever was seen lately is the likelier one."""
SPEED_MEMORY_S = 0.25
"""A detector's box trembles: speed is averaged over so long."""
N_FRAMES_SEEN = 2
"""A track of one frame may be the detector's mistake; from two on it counts as a face seen."""
MOST_TRACKS = 2048
"""Those not seen for longest are forgotten first."""

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


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
    """Associate boxes with tracks, nearest first to where each should be by now. Thread: gpu.

    Only boxes within a track's reach along the axis in which the faces spread most are compared with it, so
    that a wall of posters costs little more than its length.
    """

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
        found = _associate(self._tracks, boxes, now_s)
        track_ids = tuple(self._note(found.get(number), box, now_s) for number, box in enumerate(boxes))
        if len(self._tracks) > MOST_TRACKS:
            self._tracks.sort(key=lambda track: -track.seen_s)
            del self._tracks[MOST_TRACKS:]
        return track_ids

    def _note(self, track: Track | None, box: Box, now_s: float) -> TrackId:
        if track is None:
            track = Track(track_id=TrackId(self._next_id), box=box, seen_s=now_s)
            self._next_id += 1
            self._tracks.append(track)
            return track.track_id
        elapsed_s = max(now_s - track.seen_s, 1e-3)
        old_x, old_y = _centre(track.box)
        new_x, new_y = _centre(box)
        # The first steps are averaged as they come; later ones count by how much time they stand for.
        gain = max(1.0 / track.n_frames, elapsed_s / (elapsed_s + SPEED_MEMORY_S))
        track.velocity_x_px_s += gain * ((new_x - old_x) / elapsed_s - track.velocity_x_px_s)
        track.velocity_y_px_s += gain * ((new_y - old_y) / elapsed_s - track.velocity_y_px_s)
        track.box, track.seen_s = box, now_s
        track.n_frames += 1
        self.n_faces_seen += track.n_frames == N_FRAMES_SEEN
        return track.track_id


def _associate(tracks: Sequence[Track], boxes: Sequence[Box], now_s: float) -> dict[int, Track]:
    """Return the track of each box that has one, by the box's number."""
    found: dict[int, Track] = {}
    if not tracks or not boxes:
        return found
    track_numbers, box_numbers = _likely_pairs(tracks, boxes, now_s)
    used: set[int] = set()
    for track_number, box_number in zip(track_numbers.tolist(), box_numbers.tolist(), strict=True):
        if box_number not in found and track_number not in used:
            used.add(track_number)
            found[box_number] = tracks[track_number]
    return found


def _likely_pairs(tracks: Sequence[Track], boxes: Sequence[Box], now_s: float) -> tuple[Numbers, Numbers]:
    """Return the numbers of tracks and boxes that may belong together, the likeliest pair first."""
    gap_s = np.array([now_s - track.seen_s for track in tracks])
    per_s = np.where(
        np.array([track.n_frames for track in tracks]) == 1, REACH_NEW_WIDTHS_PER_S, REACH_WIDTHS_PER_S
    )
    reach = np.minimum(REACH_WIDTHS + per_s * gap_s, FARTHEST_WIDTHS)
    expected, places = _places([track.box for track in tracks]), _places(boxes)
    speed = np.array([(track.velocity_x_px_s, track.velocity_y_px_s) for track in tracks])
    expected[:, :2] += speed * gap_s[:, None]
    # The mean of two widths that go together is this at most.
    reach_px = reach * expected[:, 2] * (1 + 1 / LEAST_WIDTH_RATIO) / 2
    track_numbers, box_numbers = _within_reach(expected, places, reach_px)
    one, other = expected[track_numbers], places[box_numbers]
    apart = np.hypot(one[:, 0] - other[:, 0], one[:, 1] - other[:, 1]) / ((one[:, 2] + other[:, 2]) / 2)
    ratio = np.minimum(one[:, 2], other[:, 2]) / np.maximum(one[:, 2], other[:, 2])
    cost = apart - np.log(ratio) + COST_OF_GAP_WIDTHS_PER_S * gap_s[track_numbers]
    likely = np.flatnonzero((ratio > LEAST_WIDTH_RATIO) & (apart < reach[track_numbers]))
    likely = likely[np.argsort(cost[likely], kind="stable")]
    return track_numbers[likely], box_numbers[likely]


def _within_reach(expected: Floats, places: Floats, reach_px: Floats) -> tuple[Numbers, Numbers]:
    """Return the pairs whose distance along the axis of the larger spread is within reach."""
    axis = int(np.argmax(np.ptp(places[:, :2], axis=0)))
    order = np.argsort(places[:, axis], kind="stable")
    along = places[order, axis]
    first = np.searchsorted(along, expected[:, axis] - reach_px, side="left")
    end = np.searchsorted(along, expected[:, axis] + reach_px, side="right")
    n_each = end - first
    track_numbers = np.repeat(np.arange(len(expected)), n_each)
    # 0, 1, 2... within each track's stretch of the sorted boxes.
    steps = np.arange(n_each.sum()) - np.repeat(np.cumsum(n_each) - n_each, n_each)
    return track_numbers, order[np.repeat(first, n_each) + steps]


def _places(boxes: Sequence[Box]) -> Floats:
    """Return (N, 3): x and y of the middle, and the width, which is a pixel at least."""
    return np.array([(*_centre(box), max(box.width_px, 1.0)) for box in boxes], dtype=np.float64)


def _centre(box: Box) -> tuple[float, float]:
    return box.x_px + box.width_px / 2, box.y_px + box.height_px / 2
