from __future__ import annotations

from appliance.records.frames import Box
from appliance.vision.tracks import Tracker, overlap_of


def box(x_px: float, y_px: float = 100, width_px: float = 50) -> Box:
    return Box(x_px=x_px, y_px=y_px, width_px=width_px, height_px=width_px)


def test_a_walker_is_one_track() -> None:
    tracker = Tracker()
    ids = {tracker.update([box(100 + 8 * step)], step / 10)[0] for step in range(40)}
    assert len(ids) == 1
    assert tracker.n_faces_seen == 1


def test_two_who_cross_stay_two_tracks() -> None:
    tracker = Tracker()
    first, second = set(), set()
    for step in range(50):
        right, left = box(100 + 10 * step, 100), box(600 - 10 * step, 130)
        found = tracker.update([right, left], step / 10)
        first.add(found[0])
        second.add(found[1])
    assert len(first) == len(second) == 1
    assert first != second


def test_a_walker_survives_dropped_frames() -> None:
    tracker = Tracker()
    ids = {tracker.update([box(100 + 60 * step)], step * 0.4)[0] for step in range(6)}
    assert len(ids) == 1


def test_who_comes_back_after_the_gap_is_a_new_track() -> None:
    tracker = Tracker()
    first = tracker.update([box(100)], 0.0)
    assert tracker.update([box(100)], 2.0) != first


def test_a_single_frame_is_not_a_face_seen() -> None:
    tracker = Tracker()
    tracker.update([box(100)], 0.0)
    assert tracker.n_faces_seen == 0


def test_overlap_is_intersection_over_union() -> None:
    assert overlap_of(box(0), box(25)) == 1 / 3
    assert overlap_of(box(0), box(60)) == 0.0
