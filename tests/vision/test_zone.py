"""The zone of recognition: what is a polygon, who is inside, and that nobody outside is embedded."""

from __future__ import annotations

import math

import numpy as np
import pytest

from appliance.errors import RecordError
from appliance.records.frames import Box, Frame, FrameStamp, PictureSize
from appliance.records.zone import WHOLE_PICTURE, ZonePoint, zone_problem
from appliance.vision.analysis import FrameAnalysis
from appliance.vision.counts import Counts
from appliance.vision.gate import SizeGate
from appliance.vision.work import HeldFrame, TemplateBench
from appliance.vision.zone import Zone
from tests.fakes.clock import START
from tests.fakes.house import CAMERA
from tests.fakes.networks import FakeDetector, FakeEmbedder, make_face, unit
from tests.fakes.region import FakeRegion

VGA, HD = PictureSize(width_px=640, height_px=480), PictureSize(width_px=1280, height_px=720)
LEFT_HALF: tuple[ZonePoint, ...] = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
HOOK: tuple[ZonePoint, ...] = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.6, 0.9), (0.6, 0.4), (0.1, 0.4))


def box_around(x: float, y: float, size: PictureSize) -> Box:
    return Box(x_px=x * size.width_px - 20, y_px=y * size.height_px - 30, width_px=40, height_px=60)


@pytest.mark.parametrize(
    "points",
    [WHOLE_PICTURE, LEFT_HALF, HOOK, LEFT_HALF[::-1], ((0.0, 0.0), (1.0, 0.0), (0.5, 0.01))],
    ids=["whole", "half", "hook", "other way round", "flat triangle"],
)
def test_a_simple_polygon_is_a_zone(points: tuple[ZonePoint, ...]) -> None:
    assert zone_problem(points) is None


BAD_POLYGONS = {
    "bow tie": (((0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)), "crosses"),
    "crossing far apart": (((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.5, 0.05), (0.1, 0.9)), "crosses"),
    "a corner on an edge": (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.0), (0.0, 1.0)), "touches"),
    "a spike": (((0.1, 0.1), (0.9, 0.1), (0.5, 0.1), (0.5, 0.9)), "touches"),
    "a point twice": (((0.1, 0.1), (0.1, 0.1), (0.9, 0.1), (0.5, 0.9)), "touches"),
    "a point twice in a triangle": (((0.1, 0.1), (0.1, 0.1), (0.5, 0.9)), "no area"),
    "a spike at the end": (((0.5, 0.1), (0.5, 0.9), (0.1, 0.1), (0.9, 0.1)), "touches"),
    "there and back": (((0.1, 0.1), (0.9, 0.1), (0.1, 0.1), (0.9, 0.9)), "touches"),
    "a line": (((0.1, 0.1), (0.5, 0.5), (0.9, 0.9)), "no area"),
    "nearly a line": (((0.1, 0.1), (0.9, 0.1), (0.5, 0.1001)), "no area"),
    "beyond the right": (((0.1, 0.1), (1.01, 0.1), (0.5, 0.9)), "point 1 leaves"),
    "beyond the top": (((0.1, 0.1), (0.9, 0.1), (0.5, -0.1)), "point 2 leaves"),
    "not a number": (((math.nan, 0.1), (0.9, 0.1), (0.5, 0.9)), "point 0 leaves"),
    "pixels": (((0, 0), (1280, 0), (1280, 720)), "point 1 leaves"),
    "two points": (((0.1, 0.1), (0.9, 0.9)), "2 points"),
    "33 points": (tuple((0.5 + 0.4 * math.cos(n), 0.5 + 0.4 * math.sin(n)) for n in range(33)), "33 points"),
}


@pytest.mark.parametrize(("points", "reason"), BAD_POLYGONS.values(), ids=BAD_POLYGONS)
def test_what_is_no_polygon_is_refused(points: tuple[ZonePoint, ...], reason: str) -> None:
    assert reason in str(zone_problem(points))
    with pytest.raises(RecordError, match=reason):
        Zone(points=points)


@pytest.mark.parametrize("size", [VGA, HD], ids=["VGA", "HD"])
@pytest.mark.parametrize(
    ("x", "y", "is_inside"),
    [(0.2, 0.2, True), (0.8, 0.8, True), (0.3, 0.8, False), (0.05, 0.2, False), (0.95, 0.5, False)],
)
def test_the_centre_of_the_box_decides_at_any_resolution(
    size: PictureSize, x: float, y: float, is_inside: bool
) -> None:
    assert Zone(points=HOOK).has_centre_of(box_around(x, y, size), size) is is_inside


def test_inside_agrees_with_areas_counted_point_by_point() -> None:
    zone = Zone(points=HOOK)
    grid = [(x / 50 + 0.01, y / 50 + 0.01) for x in range(50) for y in range(50)]
    share = sum(zone.has_centre_of(box_around(x, y, HD), HD) for x, y in grid) / len(grid)
    assert share == pytest.approx(0.8 * 0.3 + 0.3 * 0.5, abs=0.01)


def test_the_whole_picture_has_no_outside_and_any_other_zone_has() -> None:
    for x, y in ((0.0, 1.0), (1.02, 0.5), (0.5, 0.5)):
        assert Zone().has_centre_of(box_around(x, y, HD), HD)
    assert not Zone(points=LEFT_HALF).has_centre_of(box_around(-0.02, 0.5, HD), HD)


def test_the_gate_tells_outside_small_and_wide_apart() -> None:
    gate = SizeGate(least_face_width_px=40, zone=Zone(points=LEFT_HALF))
    faces = [make_face(x_px=x, width_px=width) for x, width in ((10, 45), (100, 39), (500, 90), (200, 60))]
    gated = gate.choose(faces, VGA)
    assert (gated.inside, gated.wide) == ((0, 1, 3), (3, 0))
    assert (gated.n_outside, gated.n_too_small) == (1, 1)


def test_a_face_outside_is_counted_and_neither_embedded_nor_followed() -> None:
    embedded: list[float] = []

    def template_of(pixels: object, points: np.ndarray) -> np.ndarray:
        embedded.append(float(points[0, 0]))
        return unit(1.0)

    inside, outside = make_face(x_px=40), make_face(x_px=500)
    counts = Counts()
    analysis = FrameAnalysis(
        detector=FakeDetector([outside, inside], FakeRegion()),
        embedder=FakeEmbedder(template_of, FakeRegion()),
        detector_region=FakeRegion(),
        embedder_region=FakeRegion(),
        gates={CAMERA: SizeGate(least_face_width_px=40, zone=Zone(points=LEFT_HALF))},
        counts=counts,
    )
    pixels = np.zeros((480, 640, 3), np.uint8)
    for number in range(3):
        stamp = FrameStamp(
            camera_id=CAMERA, frame_number=number, captured_at=START, captured_monotonic_s=number / 10
        )
        held = HeldFrame(frame=Frame(stamp=stamp, pixels=pixels), release=lambda: None)
        work = analysis.analyse(held, TemplateBench(FakeRegion(), 8))
        assert [probe.box for probe in work.probes] == [inside.box]
    assert set(embedded) == {float(inside.points[0, 0])}
    assert (counts.n_faces, analysis.n_faces_seen) == (6, 1)
    assert [track.box for track in analysis._trackers[CAMERA]._tracks] == [inside.box]
