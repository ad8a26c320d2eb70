"""Tracks by boxes: how far 'faces seen = tracks' is off, on made films with truth."""

from __future__ import annotations

from time import perf_counter

import pytest

from appliance.records.frames import Box
from appliance.vision.tracks import MOST_TRACKS, Tracker, _places, _within_reach
from tests.vision.walks import Person, crowd, film, judge, poster_wall


def box(x_px: float, y_px: float = 100, width_px: float = 50) -> Box:
    return Box(x_px=x_px, y_px=y_px, width_px=width_px, height_px=width_px)


def walker(x_px: float, speed_px_s: float, width_px: float, y_px: float = 300) -> Person:
    return Person(x_px=x_px, y_px=y_px, speed_x_px_s=speed_px_s, speed_y_px_s=0, width_px=width_px)


def test_a_walker_is_one_track() -> None:
    tracker = Tracker()
    ids = {tracker.update([box(100 + 8 * step)], step / 10)[0] for step in range(40)}
    assert len(ids) == 1
    assert tracker.n_faces_seen == 1


@pytest.mark.parametrize("rate_hz", [8, 12, 25])
def test_a_quick_walker_is_one_track_at_any_rate(rate_hz: int) -> None:
    outcome = judge(film([walker(0, 400, 50)], seconds=3, rate_hz=rate_hz))
    assert (outcome.n_faces_seen, outcome.n_pieces) == (1, 0)


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


@pytest.mark.parametrize("rate_hz", [8, 12, 25])
def test_who_is_hidden_behind_another_while_they_cross_is_the_same_after(rate_hz: int) -> None:
    people = [walker(200, 200, 90), walker(1000, -160, 70)]
    outcome = judge(film(people, seconds=4, rate_hz=rate_hz))
    assert (outcome.n_faces_seen, outcome.n_mixed, outcome.n_pieces) == (2, 0, 0)


@pytest.mark.parametrize("rate_hz", [8, 12, 25])
def test_who_was_hidden_for_a_second_is_the_same_after(rate_hz: int) -> None:
    frames = (
        (at_s, {} if 1.0 < at_s < 2.0 else found)
        for at_s, found in film([walker(100, 240, 60)], seconds=4, rate_hz=rate_hz)
    )
    outcome = judge(frames)
    assert (outcome.n_faces_seen, outcome.n_pieces) == (1, 0)


def test_a_walker_survives_dropped_frames() -> None:
    tracker = Tracker()
    ids = {tracker.update([box(100 + 60 * step)], step * 0.4)[0] for step in range(6)}
    assert len(ids) == 1


def test_who_comes_back_after_the_gap_is_a_new_track() -> None:
    tracker = Tracker()
    first = tracker.update([box(100)], 0.0)
    assert tracker.update([box(100)], 2.0) != first


def test_a_face_of_another_size_at_the_same_place_is_another_track() -> None:
    tracker = Tracker()
    first = tracker.update([box(100, width_px=80)], 0.0)
    assert tracker.update([box(118, width_px=44)], 0.1) != first


def test_a_single_frame_is_not_a_face_seen() -> None:
    tracker = Tracker()
    tracker.update([box(100)], 0.0)
    assert tracker.n_faces_seen == 0


def test_a_box_without_width_breaks_nothing() -> None:
    tracker = Tracker()
    flat = Box(x_px=5, y_px=5, width_px=0, height_px=0)
    assert tracker.update([flat], 0.0) == tracker.update([flat], 0.1)


@pytest.mark.parametrize(
    ("rate_hz", "most_error"), [(8, 0.1), (12, 0.08), (25, 0.08)], ids=["8 Hz", "12 Hz", "25 Hz"]
)
@pytest.mark.parametrize("seconds", [6, 20], ids=["dense", "loose"])
def test_a_crowd_of_40_is_counted(seconds: float, rate_hz: int, most_error: float) -> None:
    outcomes = [
        judge(film(crowd(40, seconds=seconds, seed=seed), seconds=seconds + 10, rate_hz=rate_hz, seed=seed))
        for seed in range(3, 7)
    ]
    error = sum(each.count_error for each in outcomes) / len(outcomes)
    mixed, pieces = sum(each.n_mixed for each in outcomes), sum(each.n_pieces for each in outcomes)
    print(
        f"4 x 40 people in {seconds} s at {rate_hz} Hz: faces seen"
        f" {[each.n_faces_seen for each in outcomes]}, mean error {error:.1%},"
        f" {mixed} tracks of two people, {pieces} pieces too many"
    )
    assert error <= most_error
    assert mixed <= 0.25 * 160


def test_a_wall_of_1000_posters_is_1000_tracks_in_bounded_time() -> None:
    frames = list(film(poster_wall(1000), seconds=1, rate_hz=8))
    began_s = perf_counter()
    outcome = judge(iter(frames))
    each_ms = (perf_counter() - began_s) * 1e3 / len(frames)
    print(f"1,000 posters: {each_ms:.1f} ms a frame, faces seen {outcome.n_faces_seen}")
    assert outcome.n_people == 1000
    assert outcome.count_error <= 0.01
    assert outcome.n_mixed <= 10
    assert each_ms < 200  # 9 ms where nothing else runs


def test_a_wall_s_posters_are_compared_with_their_neighbours_alone() -> None:
    (_, found), *_ = film(poster_wall(1000), seconds=1, rate_hz=8, missed=0.0)
    places = _places(list(found.values()))
    pairs, _ = _within_reach(places, places, 1.3 * places[:, 2])
    assert len(pairs) < 100_000  # of a million


def test_tracks_are_bounded() -> None:
    tracker = Tracker()
    for step in range(3):
        tracker.update([box(100_000 * step + 60 * n, 100 + 997 * (n % 7)) for n in range(1000)], step / 10)
    assert len(tracker._tracks) <= MOST_TRACKS
