"""Which moments of a passing are embedded: the best so far, after a wait, and where a claim is open."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from appliance.ports import Clock
from appliance.records.frames import Frame, FrameStamp
from appliance.records.ids import EntryId, TrackId
from appliance.records.watchlist import Candidate
from appliance.vision.decision import LEAST_APART_S, MOST_TRACKS, Decider, OpenClaims
from appliance.vision.moments import FIRST_WAIT_S, NEW_AFTER_S, QUALITY_MARGIN, BestMoments
from appliance.vision.work import HeldFrame, TemplateBench
from models.synthetic import synthetic_face, synthetic_points
from tests.fakes.clock import START, FakeClock
from tests.fakes.house import CAMERA, House
from tests.fakes.networks import make_face, unit
from tests.fakes.region import FakeRegion
from tests.test_quality import DRAWN

TRACK = TrackId(1)
NOBODY: frozenset[TrackId] = frozenset()


def passing(
    quality_at: Callable[[float], int], *, seconds: float, rate_hz: float = 25, claimed: bool = False
) -> list[float]:
    """Return when one track is embedded."""
    moments = BestMoments(least_apart_s=LEAST_APART_S)
    found = []
    for number in range(round(seconds * rate_hz)):
        now_s = number / rate_hz
        claims = frozenset({TRACK}) if claimed else NOBODY
        for track_id in moments.waiting([TRACK], now_s, claims):
            quality = quality_at(now_s)
            if moments.is_best(track_id, quality, now_s, is_claimed=claimed):
                moments.note_embedded(track_id, quality, now_s)
                found.append(now_s)
    return found


def walk(at_s: float) -> int:
    """Return the quality of somebody who comes nearer for 3 s and goes away again, with steps in it."""
    return round(85 - 12 * abs(at_s - 3) + 3 * math.sin(12 * at_s))


@pytest.mark.parametrize("rate_hz", [8, 12, 25])
def test_a_passing_of_6_s_costs_6_templates_at_most_and_its_best_moment_is_among_them(rate_hz: float) -> None:
    moments = passing(walk, seconds=6, rate_hz=rate_hz)
    assert moments[0] == 0.0
    assert 3 <= len(moments) <= 6
    best = max(walk(number / rate_hz) for number in range(6 * round(rate_hz)))
    assert max(walk(at_s) for at_s in moments) > best - QUALITY_MARGIN


def test_a_better_moment_is_taken_at_once_and_a_little_better_one_is_not() -> None:
    assert passing(lambda at_s: 50 if at_s < 0.12 else 50 + QUALITY_MARGIN, seconds=0.19) == [0.0, 0.12]
    assert passing(lambda at_s: 50 if at_s < 0.12 else 49 + QUALITY_MARGIN, seconds=0.19) == [0.0]


def test_who_stays_as_they_are_is_looked_at_again_after_longer_and_longer() -> None:
    moments = passing(lambda at_s: 70, seconds=20)
    gaps = np.diff(moments)
    assert gaps[0] == pytest.approx(FIRST_WAIT_S, abs=0.05)
    assert (np.diff(gaps) > 0).all()


def test_a_bad_moment_does_not_use_up_the_second_look() -> None:
    moments = passing(lambda at_s: 70 if at_s < 0.1 or at_s > 0.3 else 30, seconds=0.4)
    assert moments[1] > 0.3


def test_two_templates_of_a_track_share_no_blur() -> None:
    rising = passing(lambda at_s: round(at_s * 90), seconds=1)
    claimed = passing(lambda at_s: 50, seconds=1, claimed=True)
    for moments in (rising, claimed):
        assert np.diff(moments).min() >= LEAST_APART_S - 1e-9


def test_an_open_claim_is_confirmed_as_fast_as_blur_allows() -> None:
    moments = passing(lambda at_s: 20, seconds=0.6, claimed=True)
    assert np.diff(moments).max() <= LEAST_APART_S + 1 / 25


def test_who_turns_up_after_a_gap_is_looked_at_as_if_new() -> None:
    moments = BestMoments(least_apart_s=LEAST_APART_S)
    moments.waiting([TRACK], 0.0, NOBODY)
    moments.note_embedded(TRACK, 90, 0.0)
    moments.waiting([TRACK], 0.2, NOBODY)
    assert not moments.is_best(TRACK, 40, 0.2, is_claimed=False)
    moments.waiting([TRACK], 0.2 + NEW_AFTER_S + 0.05, NOBODY)
    assert moments.is_best(TRACK, 40, 0.2 + NEW_AFTER_S + 0.05, is_claimed=False)


def test_a_wall_of_posters_keeps_nobody_out_and_claims_go_first() -> None:
    moments = BestMoments(least_apart_s=LEAST_APART_S)
    wall = [TrackId(number) for number in range(1000)]
    looked: set[TrackId] = set()
    for number in range(16):
        for track_id in moments.waiting(wall, number / 8, NOBODY)[:64]:
            moments.note_looked(track_id, number / 8)  # too poor each time: never embedded
            looked.add(track_id)
    assert looked == set(wall)
    assert moments.waiting(wall, 3.0, frozenset({TrackId(500)}))[0] == 500


def test_tracks_are_bounded() -> None:
    moments = BestMoments(least_apart_s=LEAST_APART_S)
    for number in range(10):
        moments.waiting([TrackId(number * 1000 + each) for each in range(1000)], number / 8, NOBODY)
    assert len(moments._tracks) <= 2048


def candidate(entry: str = "a") -> Candidate:
    return Candidate(entry_id=EntryId(entry), score=0.95, rank=1)


def test_frames_that_share_a_blur_count_once() -> None:
    decider = Decider(frames_k=2, frames_n=3, least_apart_s=LEAST_APART_S)
    assert decider.note(CAMERA, TRACK, [candidate()], 0.0) == ()
    assert decider.note(CAMERA, TRACK, [candidate()], 0.04) == ()
    assert decider.note(CAMERA, TRACK, [candidate()], 0.08) == ()
    assert decider.note(CAMERA, TRACK, [candidate()], 0.12) == (candidate(),)


def test_a_claim_is_open_until_its_alert_or_until_nobody_agrees() -> None:
    claims = OpenClaims()
    decider = Decider(frames_k=2, frames_n=3, open_claims=claims)
    decider.note(CAMERA, TRACK, [])
    assert not claims.is_open(CAMERA, TRACK)
    decider.note(CAMERA, TRACK, [candidate()])
    assert claims.is_open(CAMERA, TRACK)
    assert not claims.is_open(CAMERA, TrackId(2))
    assert decider.note(CAMERA, TRACK, [candidate()])
    assert not claims.is_open(CAMERA, TRACK)
    decider.note(CAMERA, TrackId(2), [candidate()])
    for _ in range(3):
        assert claims.is_open(CAMERA, TrackId(2))
        decider.note(CAMERA, TrackId(2), [])
    assert not claims.is_open(CAMERA, TrackId(2))


def test_open_claims_are_forgotten_with_their_tracks() -> None:
    claims = OpenClaims()
    decider = Decider(frames_k=2, frames_n=3, open_claims=claims)
    for number in range(MOST_TRACKS + 100):
        decider.note(CAMERA, TrackId(number), [candidate()])
    assert len(claims._tracks) == MOST_TRACKS


def made_house(clock: Clock) -> House:
    picture = synthetic_face(320, 240)
    face = synthetic_face()
    picture[:, 40:280] = face[40:280]
    return House(clock=clock, picture=picture, is_choosing=True, faces=[DRAWN_IN_HOUSE])


DRAWN_IN_HOUSE = type(DRAWN)(
    box=type(DRAWN.box)(x_px=85, y_px=25, width_px=150, height_px=195),
    points=synthetic_points() + np.array([40, -40], np.float32),
    detection_score=0.9,
)


def test_a_stranger_who_stands_there_is_embedded_a_few_times() -> None:
    clock = FakeClock()
    house = made_house(clock)
    house.template_of = lambda pixels, points: unit(0.0, 1.0)
    house.pipeline.start()
    for number in range(100):
        house.show(number)
        clock.advance(0.04)
    house.stop()
    counts = house.counts
    assert 2 <= counts.n_embedded <= 6
    assert counts.n_embedded == counts.n_searched == counts.n_probes_wiped
    assert counts.n_embedded + counts.n_not_best == 100
    assert house.is_clear()
    assert house.alerts == []


def test_a_listed_person_s_alert_waits_for_blur_alone() -> None:
    clock = FakeClock()
    house = made_house(clock)
    house.pipeline.start()
    for number in range(50):
        house.show(number)
        clock.advance(0.04)
        if house.alerts:
            break
    house.stop()
    assert len(house.alerts) == 1
    # Seen at 0 and confirmed by the first frame that is 120 ms later; one more where match was behind.
    assert number in (3, 4)


def test_a_poor_face_is_stopped_before_the_embedder() -> None:
    house = made_house(FakeClock())
    house.picture = None  # a plain wall where the face should be
    house.pipeline.start()
    house.show(0)
    house.stop()
    assert (house.counts.n_too_poor, house.counts.n_embedded, house.counts.n_not_best) == (1, 0, 0)


def test_more_faces_than_probes_get_their_turn_in_the_next_frames() -> None:
    house = made_house(FakeClock())
    house.picture = (
        np.random.default_rng(1).integers(20, 235, (24, 32, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    )
    house.faces = [
        make_face(x_px=20 + 13 * (n % 16), y_px=20 + 12 * (n // 16), width_px=41 + 4 * (n % 3))
        for n in range(100)
    ]
    for number in range(4):
        stamp = FrameStamp(
            camera_id=CAMERA, frame_number=number, captured_at=START, captured_monotonic_s=number / 25
        )
        held = HeldFrame(frame=Frame(stamp=stamp, pixels=house.picture), release=lambda: None)
        house.analysis.analyse(held, TemplateBench(FakeRegion(), 8))
    assert house.counts.n_embedded >= 100 - house.counts.n_too_poor


def test_what_is_kept_of_a_track_is_its_best_quality_counts_and_times() -> None:
    moments = BestMoments(least_apart_s=LEAST_APART_S)
    moments.waiting([TRACK], 0.0, NOBODY)
    moments.note_looked(TRACK, 0.0)
    moments.note_embedded(TRACK, 70, 0.0)
    (kept,) = moments._tracks.values()
    assert all(isinstance(getattr(kept, field.name), (int, float)) for field in dataclasses.fields(kept))
