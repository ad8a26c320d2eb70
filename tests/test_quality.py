"""Quality in reasons: each component answers to its own fault, and the gate names what it refuses for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from appliance.quality import (
    HINTS,
    FaceFaults,
    FaceMeasures,
    FaceQuality,
    QualityComponent,
    head_pose,
    is_turned_away,
)
from appliance.records.frames import Box, Face, Pixels
from models.synthetic import synthetic_face, synthetic_points
from tests.fakes.region import FakeRegion
from tests.vision.test_picture_state import blurred

DRAWN = Face(
    box=Box(x_px=45, y_px=65, width_px=150, height_px=195), points=synthetic_points(), detection_score=0.9
)
GOOD = FaceFaults(is_blurred=False, is_turned_away=False, is_dark=False)


def faults_of(pixels: Pixels, face: Face = DRAWN) -> FaceFaults:
    return FaceMeasures(FakeRegion()).assess(pixels, face).faults


def quality_of(pixels: Pixels, face: Face = DRAWN) -> FaceQuality:
    return FaceMeasures(FakeRegion()).assess(pixels, face)


def out_of_focus(pixels: Pixels, sigma_px: float) -> Pixels:
    planes = [blurred(pixels[..., channel].astype(np.float32), sigma_px) for channel in range(3)]
    grain = np.random.default_rng(2).normal(0, 2, pixels.shape)
    return np.clip(np.stack(planes, axis=2) + grain, 0, 255).astype(np.uint8)


def turned_by(degrees: float) -> Face:
    """Return a face whose eyes and nose stand as on a head that turned: the nose 0.41 eye distances out."""
    angle = np.deg2rad(degrees)
    middle, half = 120.0, 36 * np.cos(angle)
    points = synthetic_points()
    points[:3, 0] = middle - half, middle + half, middle + 0.41 * 72 * np.sin(angle)
    return dataclasses.replace(DRAWN, points=points)


def test_a_good_face_has_no_fault() -> None:
    assert faults_of(synthetic_face()) == GOOD
    assert not GOOD


@pytest.mark.parametrize(("share_of_width", "is_blurred"), [(0.01, False), (0.10, True), (0.2, True)])
def test_a_face_out_of_focus_is_blurred_in_spite_of_noise(share_of_width: float, is_blurred: bool) -> None:
    pixels = out_of_focus(synthetic_face(), share_of_width * DRAWN.box.width_px)
    assert faults_of(pixels).is_blurred is is_blurred


def test_a_face_without_light_is_dark_and_is_not_refused() -> None:
    for light, is_dark in ((0.35, False), (0.15, True)):
        quality = quality_of((synthetic_face() * light).astype(np.uint8))
        assert quality.faults.is_dark is is_dark
        assert quality.refused_for == ()


def test_dark_skin_in_good_light_is_not_dark() -> None:
    pixels = synthetic_face()
    skin = pixels[..., 0] > pixels[..., 2] + 15
    darker = np.where(skin[..., None], pixels * 0.13, pixels).astype(np.uint8)
    face = darker[65:260, 45:195, 1]
    assert face.mean() < 40  # as dark as an unlit light face: the mean tells the skin, not the light
    quality = quality_of(darker)
    assert not quality.faults.is_dark
    assert quality.components[QualityComponent.UNDER_EXPOSURE] >= 50


@pytest.mark.parametrize(
    ("degrees", "is_away"), [(0, False), (20, False), (-20, False), (45, True), (-60, True)]
)
def test_a_head_is_turned_away_by_where_its_nose_is(degrees: float, is_away: bool) -> None:
    assert is_turned_away(turned_by(degrees)) is is_away


def test_a_tilted_head_is_not_turned_away_and_a_profile_is() -> None:
    angle = np.deg2rad(30)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    middle = np.array([120, 160], np.float32)
    tilted = ((synthetic_points() - middle) @ tilt.T + middle).astype(np.float32)
    assert not is_turned_away(dataclasses.replace(DRAWN, points=tilted))
    profile = synthetic_points()
    profile[:3, 0] = 110, 120, 115
    assert is_turned_away(dataclasses.replace(DRAWN, points=profile))
    profile[:2] = 115, 140
    assert is_turned_away(dataclasses.replace(DRAWN, points=profile))


@pytest.mark.parametrize(
    "box",
    [
        Box(x_px=-200, y_px=10, width_px=150, height_px=195),
        Box(x_px=10, y_px=-300, width_px=150, height_px=195),
        Box(x_px=238, y_px=10, width_px=150, height_px=195),
        Box(x_px=10, y_px=318, width_px=150, height_px=195),
        Box(x_px=10, y_px=10, width_px=0, height_px=0),
    ],
)
def test_a_box_outside_the_picture_is_poor_and_breaks_nothing(box: Box) -> None:
    faults = faults_of(synthetic_face(), dataclasses.replace(DRAWN, box=box))
    assert faults.is_blurred
    assert faults.is_dark


def test_a_face_leaves_nothing_in_its_buffers() -> None:
    region = FakeRegion()
    measures = FaceMeasures(region)
    for width_px in (40, 79, 80, 200):
        face = dataclasses.replace(
            DRAWN, box=Box(x_px=20, y_px=20, width_px=width_px, height_px=width_px * 1.4)
        )
        measures.assess(synthetic_face(), face)
        assert not any(array.any() for array in region.arrays)
    assert region.n_clears == 4


def scaled(share: float) -> tuple[Pixels, Face]:
    """Return the drawn face thinned out."""
    step = round(1 / share)
    box = DRAWN.box
    small = Box(
        x_px=box.x_px / step,
        y_px=box.y_px / step,
        width_px=box.width_px / step,
        height_px=box.height_px / step,
    )
    return synthetic_face()[::step, ::step], dataclasses.replace(
        DRAWN, box=small, points=(DRAWN.points / step).astype(np.float32)
    )


def test_the_components_bear_the_standard_s_names() -> None:
    assert {each.value for each in QualityComponent} == {
        "InterEyeDistance",
        "Sharpness",
        "UnderExposurePrevention",
        "OverExposurePrevention",
        "HeadPoseYaw",
        "HeadPosePitch",
        "HeadPoseRoll",
        "FaceOcclusionPrevention",
    }


def test_a_good_face_has_all_components_high() -> None:
    quality = quality_of(synthetic_face())
    assert min(quality.components.values()) >= 95
    assert quality.score >= 95
    assert quality.refused_for == ()


def test_inter_eye_distance_falls_with_the_face() -> None:
    values = [quality_of(*scaled(1 / n)).components[QualityComponent.INTER_EYE_DISTANCE] for n in (1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[2] < 80 < values[0]


def test_sharpness_falls_with_blur_and_the_score_with_it() -> None:
    qualities = [
        quality_of(out_of_focus(synthetic_face(), share * DRAWN.box.width_px)) for share in (0.01, 0.05, 0.1)
    ]
    sharpness = [each.components[QualityComponent.SHARPNESS] for each in qualities]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] - sharpness[2] > 30
    assert qualities[0].score > qualities[1].score > qualities[2].score


def test_a_face_in_the_glare_is_over_exposed() -> None:
    bright = np.clip(synthetic_face().astype(np.float32) * 2.2, 0, 255).astype(np.uint8)
    assert quality_of(bright).components[QualityComponent.OVER_EXPOSURE] < 50


def test_a_face_drowned_in_black_is_under_exposed() -> None:
    black = np.clip(synthetic_face().astype(np.float32) - 170, 0, 255).astype(np.uint8)
    assert quality_of(black).components[QualityComponent.UNDER_EXPOSURE] < 50


@pytest.mark.parametrize("degrees", [0, 20, -35, 50])
def test_yaw_is_read_off_the_nose(degrees: float) -> None:
    assert head_pose(turned_by(degrees).points).yaw_deg == pytest.approx(degrees, abs=3)


@pytest.mark.parametrize("degrees", [0, 15, -40])
def test_roll_is_read_off_the_eyes_and_changes_nothing_else(degrees: float) -> None:
    angle = np.deg2rad(degrees)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    pose, upright = head_pose((synthetic_points() @ tilt.T).astype(np.float32)), head_pose(synthetic_points())
    assert pose.roll_deg == pytest.approx(degrees, abs=0.1)
    assert (pose.yaw_deg, pose.pitch_deg) == pytest.approx((upright.yaw_deg, upright.pitch_deg), abs=0.1)


def test_pitch_is_read_off_the_nose_between_eyes_and_mouth() -> None:
    looks_down, looks_up = synthetic_points(), synthetic_points()
    looks_down[2, 1] += 12
    looks_up[2, 1] -= 12
    frontal = head_pose(synthetic_points()).pitch_deg
    assert head_pose(looks_up).pitch_deg < frontal - 10 < frontal + 10 < head_pose(looks_down).pitch_deg


def test_useless_points_are_a_pose_that_is_refused() -> None:
    useless = dataclasses.replace(DRAWN, points=np.zeros((5, 2), np.float32))
    assert head_pose(useless.points).yaw_deg == 90
    assert QualityComponent.YAW in quality_of(synthetic_face(), useless).refused_for


def test_a_face_upside_down_is_the_worst_roll() -> None:
    upside_down = dataclasses.replace(DRAWN, points=synthetic_points()[::-1].copy())
    assert quality_of(synthetic_face(), upside_down).components[QualityComponent.ROLL] == 0


def test_a_covered_mouth_is_a_hint_and_refuses_nothing() -> None:
    masked = synthetic_face()
    masked[172:260, 45:195] = 140
    quality = quality_of(masked)
    assert quality.components[QualityComponent.OCCLUSION] < 50
    assert quality.refused_for == ()
    assert QualityComponent.OCCLUSION in HINTS


def test_a_profile_is_refused_for_its_yaw_and_a_half_turn_is_not() -> None:
    assert quality_of(synthetic_face(), turned_by(68)).refused_for == (QualityComponent.YAW,)
    assert quality_of(synthetic_face(), turned_by(45)).refused_for == ()


def test_a_plain_patch_is_refused_for_its_sharpness() -> None:
    patch = np.full((320, 240, 3), 128, np.uint8)
    assert quality_of(patch).refused_for == (QualityComponent.SHARPNESS,)


def test_a_face_cut_by_the_picture_s_edge_is_refused_from_four_tenths_on() -> None:
    for cut, is_refused in ((0.3, False), (0.5, True)):
        left_px = 45 + round(cut * DRAWN.box.width_px)
        points = (synthetic_points() - [left_px, 0]).astype(np.float32)
        face = dataclasses.replace(
            DRAWN, box=dataclasses.replace(DRAWN.box, x_px=45.0 - left_px), points=points
        )
        refused = QualityComponent.OCCLUSION in quality_of(synthetic_face()[:, left_px:], face).refused_for
        assert refused is is_refused


def test_eyes_without_distance_are_refused() -> None:
    points = (synthetic_points() - [120, 160]) * 0.08 + [120, 160]
    quality = quality_of(synthetic_face(), dataclasses.replace(DRAWN, points=points.astype(np.float32)))
    assert QualityComponent.INTER_EYE_DISTANCE in quality.refused_for
