from __future__ import annotations

import pytest

from appliance.records.ids import CameraId, EntryId, TrackId
from appliance.records.watchlist import Candidate
from appliance.vision.decision import MOST_TRACKS, Decider

CAMERA = CameraId("gate")
TRACK = TrackId(1)


def candidate(entry: str, score: float = 0.7) -> Candidate:
    return Candidate(entry_id=EntryId(entry), score=score, rank=1)


def test_k_of_n_frames_of_one_track_raise_one_alert() -> None:
    decider = Decider(frames_k=2, frames_n=3)
    raised = [len(decider.note(CAMERA, TRACK, [candidate("a")])) for _ in range(6)]
    assert raised == [0, 1, 0, 0, 0, 0]


def test_frames_that_fell_out_of_the_window_do_not_count() -> None:
    decider = Decider(frames_k=2, frames_n=3)
    hits = [True, False, False, True, False, True]
    raised = [len(decider.note(CAMERA, TRACK, [candidate("a")] if hit else [])) for hit in hits]
    assert raised == [0, 0, 0, 0, 0, 1]


def test_two_tracks_do_not_add_up() -> None:
    decider = Decider(frames_k=2, frames_n=3)
    assert not decider.note(CAMERA, TrackId(1), [candidate("a")])
    assert not decider.note(CAMERA, TrackId(2), [candidate("a")])
    assert not decider.note(CameraId("other"), TrackId(1), [candidate("a")])


def test_two_entries_in_one_frame_raise_two_alerts() -> None:
    decider = Decider(frames_k=1, frames_n=1)
    raised = decider.note(CAMERA, TRACK, [candidate("a"), candidate("b")])
    assert [one.entry_id for one in raised] == ["a", "b"]


def test_agreement_is_counted_for_the_alert() -> None:
    decider = Decider(frames_k=2, frames_n=3)
    for _ in range(2):
        decider.note(CAMERA, TRACK, [candidate("a")])
    assert decider.n_agreed(CAMERA, TRACK, EntryId("a")) == 2


def test_memory_is_bounded_in_front_of_a_poster_wall() -> None:
    decider = Decider(frames_k=2, frames_n=3)
    for number in range(MOST_TRACKS + 100):
        decider.note(CAMERA, TrackId(number), [])
    assert len(decider._tracks) == MOST_TRACKS


@pytest.mark.parametrize(("k", "n"), [(0, 3), (4, 3)])
def test_an_impossible_rule_is_refused(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="frames"):
        Decider(frames_k=k, frames_n=n)
