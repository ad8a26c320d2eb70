"""Field counts by minute, and when fewer than usual are fit for a search."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from appliance.quality import FaceFaults, FaceMeasures
from appliance.records.channel import FieldMinute, PictureState, VisionCameraReport, VisionReport
from appliance.records.frames import Frame, FrameStamp
from appliance.records.ids import TrackId
from appliance.records.wire import dump_record, parse_record
from appliance.vision.analysis import FrameAnalysis
from appliance.vision.counts import CameraWatch, Counts
from appliance.vision.field_counts import MINUTES_KEPT, FieldCounts, PassRate
from appliance.vision.gate import SizeGate
from appliance.vision.picture_state import PictureWatch
from appliance.vision.picture_statistics import PictureBench
from appliance.vision.work import HeldFrame, TemplateBench
from appliance.vision.zone import Zone
from models.synthetic import synthetic_face
from tests.fakes.clock import START
from tests.fakes.house import CAMERA
from tests.fakes.networks import FakeDetector, FakeEmbedder, make_face, unit
from tests.fakes.region import FakeRegion
from tests.test_quality import DRAWN

GOOD = FaceFaults(is_blurred=False, is_turned_away=False, is_dark=False)


def note(counts: FieldCounts, at_s: float, **changes: int) -> None:
    numbers = dict.fromkeys(("n_detected", "n_outside_zone", "n_too_small", "n_searched"), 0) | changes
    counts.note(at_s, **numbers, faults=[])


def test_counts_fall_into_the_minute_of_capture_and_the_last_hour_is_kept() -> None:
    counts = FieldCounts()
    for at_s in range(60 * 70 * 2):
        note(counts, at_s / 2, n_detected=1)
    minutes = counts.minutes()
    assert [minute.monotonic_minute for minute in minutes] == list(range(10, 70))
    assert len(minutes) == MINUTES_KEPT
    assert {minute.n_detected for minute in minutes} == {120}


def test_a_frame_out_of_order_opens_no_minute_again() -> None:
    counts = FieldCounts()
    for at_s in (119.9, 120.1, 119.95, 120.2):
        note(counts, at_s, n_searched=1)
    assert [(each.monotonic_minute, each.n_searched) for each in counts.minutes()] == [(1, 1), (2, 3)]


def test_a_face_counts_for_each_of_its_faults() -> None:
    counts = FieldCounts()
    both = FaceFaults(is_blurred=True, is_turned_away=False, is_dark=True)
    away = FaceFaults(is_blurred=False, is_turned_away=True, is_dark=False)
    counts.note(
        0.0, n_detected=9, n_outside_zone=2, n_too_small=3, n_searched=4, faults=[both, away, GOOD, both]
    )
    (minute,) = counts.minutes()
    assert (minute.n_blurred, minute.n_turned_away, minute.n_dark) == (2, 1, 2)
    assert (minute.n_detected, minute.n_outside_zone, minute.n_too_small, minute.n_searched) == (9, 2, 3, 4)


def watch_of(camera_id: object = CAMERA) -> CameraWatch:
    picture = PictureWatch(
        least_face_width_px=40, bench=PictureBench(FakeRegion()), reference_region=FakeRegion()
    )
    return CameraWatch(camera_id=CAMERA, picture=picture)


def test_a_frame_is_counted_as_it_was_treated_and_the_report_shows_this_minute_and_the_last() -> None:
    portrait = synthetic_face()
    pixels = np.full((720, 1280, 3), 128, np.uint8)
    pixels[100:420, 100:340] = portrait
    inside = dataclasses.replace(
        DRAWN, box=dataclasses.replace(DRAWN.box, x_px=145, y_px=165), points=DRAWN.points + 100
    )
    faces = [make_face(x_px=900), make_face(x_px=20, width_px=39), inside, make_face(x_px=400, y_px=500)]
    watch = watch_of()
    zone = Zone(points=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
    analysis = FrameAnalysis(
        detector=FakeDetector(faces, FakeRegion()),
        embedder=FakeEmbedder(lambda *_: unit(1.0), FakeRegion()),
        detector_region=FakeRegion(),
        embedder_region=FakeRegion(),
        gates={CAMERA: SizeGate(least_face_width_px=40, zone=zone)},
        counts=Counts(),
        watches={CAMERA: watch},
        measures=FaceMeasures(FakeRegion()),
    )
    for number in range(3):
        stamp = FrameStamp(
            camera_id=CAMERA, frame_number=number, captured_at=START, captured_monotonic_s=58.0 + number
        )
        held = HeldFrame(frame=Frame(stamp=stamp, pixels=pixels), release=lambda: None)
        analysis.analyse(held, TemplateBench(FakeRegion(), 8))
    report = watch.report()
    # The fourth face is a plain grey patch: nothing to make a template of.
    expected = dict.fromkeys(("n_outside_zone", "n_too_small", "n_blurred"), 1)
    expected |= {"n_detected": 4, "n_turned_away": 0, "n_dark": 0, "n_searched": 1}
    assert report.current_minute == FieldMinute(monotonic_minute=1, **expected)
    twice = {name: 2 * number for name, number in expected.items()}
    assert report.last_minute == FieldMinute(monotonic_minute=0, **twice)


def test_a_report_has_room_for_counts_and_states_alone_and_crosses_the_channel() -> None:
    watch = watch_of()
    note(watch.field_counts, 10.0, n_detected=1)
    report = Counts().report(n_frames_dropped=0, n_tracks=0, cameras=(watch.report(),))
    assert parse_record(VisionReport, dump_record(report), limit_bytes=10_000) == report
    kinds = {kept.name: kept.type for kept in dataclasses.fields(FieldMinute)}
    assert set(kinds.values()) == {"int"}
    assert {kept.name for kept in dataclasses.fields(VisionCameraReport)} == {
        "camera_id",
        "state",
        "state_since_monotonic_s",
        "is_scene_known",
        "current_minute",
        "last_minute",
    }


class Street:
    """People pass, one a second, each for two seconds; a share of them shows a face that is fit."""

    def __init__(self) -> None:
        self.watch = watch_of()
        self.rate = self.watch.pass_rate
        self._random = np.random.default_rng(1)

    def pass_by(self, begin_s: int, end_s: int, share: float, people_s: float = 1.0) -> list[float]:
        """Return when the rate was low."""
        low = []
        for at_s in range(begin_s, end_s):
            if at_s % round(1 / people_s) == 0:
                is_fit = bool(self._random.random() < share)
                for quarter in range(8):
                    self.watch.note_pass_rate({TrackId(at_s): is_fit and quarter == 5}, at_s + quarter / 4)
            if self.rate.is_low:
                low.append(float(at_s))
        return low


@pytest.mark.parametrize("share", [0.95, 0.6])
def test_a_fall_of_the_pass_rate_is_named_within_30_s(share: float) -> None:
    street = Street()
    assert street.pass_by(0, 600, share) == []
    low = street.pass_by(600, 700, 0.02)
    assert low[0] - 600 <= 30
    report = street.watch.report()
    assert report.state is PictureState.LOW_PASS_RATE
    assert 600 <= report.state_since_monotonic_s <= 630
    assert street.pass_by(700, 800, share)[-1] < 730
    assert street.watch.report().state is PictureState.OK


@pytest.mark.parametrize("share", [0.95, 0.6, 0.3, 0.05])
def test_chance_and_a_slow_change_are_no_fall(share: float) -> None:
    street = Street()
    for hour_s in range(0, 7200, 600):
        assert street.pass_by(hour_s, hour_s + 600, share * (1 - hour_s / 20_000)) == []


def test_one_who_stands_and_looks_away_is_no_fall() -> None:
    rate = PassRate()
    for at_s in range(600):
        passing = {TrackId(at_s): True} if at_s < 500 else {}
        rate.note({TrackId(10_000): False, **passing}, float(at_s))
        assert not rate.is_low


def test_the_usual_does_not_get_used_to_a_fault() -> None:
    street = Street()
    street.pass_by(0, 300, 0.9)
    low = street.pass_by(300, 2100, 0.2)
    assert sum(at_s >= 1800 for at_s in low) > 200


def test_a_crowd_s_tracks_are_bounded() -> None:
    rate = PassRate()
    rate.note({TrackId(number): True for number in range(5000)}, 0.0)
    assert len(rate._tracks) <= 512
