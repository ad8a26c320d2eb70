"""How good a picture of a face is: components by the names of ISO/IEC 29794-5, a score made of them, a gate.

One code for the gate before the embedder, for the field counts and for enrolment. The names are the
standard's (OFIQ's); the measures are cheap ones of our own on five points and one plane of pixels, so that a
number here is not comparable with OFIQ's. No attribute of the person is inferred, and nothing is refused for
being dark: how dark a face is depends on the skin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.compat import StrEnum
from appliance.ports import Region
from appliance.records.frames import Box, Face, Pixels, Points

BLACK_LUMA, WHITE_LUMA = 8.0, 247.0
"""Below and above nothing can be told apart. OFIQ counts up to 25 as under-exposed, which in ordinary light
takes in dark skin; 247 is OFIQ's."""
DARK_HIGHLIGHT_LUMA = 60.0
"""The brightest fiftieth of a face, eye whites and gloss, is as bright on any skin; below this the light is
poor: on a portrait darkened so far the mean is 20 to 30."""
SOFT_FACE_DETAIL = 0.02
"""Mean product of how brightness bends along two lines, over its variance. On NASA's portraits of E. Collins
and G. Hopper, 30 to 178 px wide, noise of 2 levels: sharp 0.44 to 0.77; blurred by 4 % of the face's width
(sigma) 0.02 to 0.31, cosine 0.93 to 0.97 with the sharp one; by 8 %, 0.004 to 0.07 and 0.87 to 0.90; by 12 %
the detector no longer finds them."""
LEAST_DETAIL, FULL_DETAIL = 0.002, 0.4
TURNED_NOSE_SHIFT = 0.30
"""Of the eyes' distance, along their line. The nose's tip stands about 0.41 of that distance before the eyes
(generic head model of pose estimation), so 0.30 is a turn of about 36 degrees; frontal: 0.01 to 0.04."""
TURNED_EYE_DISTANCE = 0.30
"""Of the box's width; 0.48 on frontal portraits, 0.30 at a turn of about 51 degrees."""
NOSE_BEFORE_EYES = 0.41
NOSE_DOWN = 0.54
"""Where a frontal nose's tip is on the way from the eyes to the mouth: 0.49 to 0.58 by network."""
FARTHEST_YAW_DEG = 60.0
"""Farther turned, a face is a profile, of which the networks make nothing."""
LEAST_SEEN = 0.6
"""Of the box within the picture."""
INTER_EYE_PX, INTER_EYE_QUALITY = (8.0, 12.0, 16.0, 20.0, 32.0, 48.0, 72.0), (0, 40, 65, 78, 90, 96, 100)
"""By what width costs in accuracy (TAR at FAR 1e-3, cleaned LFW, MobileFaceNet: 16 px wide .32, 24 .82,
32 .94, 40 .96, 64 .98); the eyes are about half of a face's width apart."""
FACE_SAMPLES = 40
"""Pixels across a face that are looked at, up to twice as many; a wider face is thinned out."""
LINES_APART, LAG = 1, 2
POINT_HALF_WIDTH = 0.11
"""Of a face's width: the patch around each of the five points in which there should be something to see."""
PLAIN_PATCH = 0.2
"""Of the middle patch's contrast: a patch with less may be covered."""

Floats = npt.NDArray[np.float32]


class QualityComponent(StrEnum):
    """Components of ISO/IEC 29794-5, by OFIQ's names; each is 0..100, higher is better."""

    INTER_EYE_DISTANCE = "InterEyeDistance"
    SHARPNESS = "Sharpness"
    UNDER_EXPOSURE = "UnderExposurePrevention"
    OVER_EXPOSURE = "OverExposurePrevention"
    YAW = "HeadPoseYaw"
    PITCH = "HeadPosePitch"
    ROLL = "HeadPoseRoll"
    OCCLUSION = "FaceOcclusionPrevention"


HINTS = (QualityComponent.OCCLUSION, QualityComponent.UNDER_EXPOSURE)
"""Told and never decisive: plain skin looks covered to so simple a measure, and black hair unlit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceFaults:
    """What is poor about a face that is in the zone and wide enough; it counts and refuses nothing."""

    is_blurred: bool
    is_turned_away: bool
    is_dark: bool

    def __bool__(self) -> bool:
        return self.is_blurred or self.is_turned_away or self.is_dark


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceQuality:
    """A face's quality in reasons. `refused_for` names the components for which no template is made of it."""

    components: dict[QualityComponent, int]
    faults: FaceFaults
    refused_for: tuple[QualityComponent, ...]

    @property
    def score(self) -> int:
        """Return the quality score, 0..100: the mean of all components but hints, halfway to the worst."""
        values = [value for name, value in self.components.items() if name not in HINTS]
        return round((sum(values) / len(values) + min(values)) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPose:
    """How a head is held, by five points, in degrees; rough, and 90 when they are useless."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


class FaceMeasures:
    """Measure faces by their five points and pixels. Thread: gpu; at enrolment that of the networks.

    Args:
        region: Holds one face at a time, zeroed after it.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        n_pixels = (2 * FACE_SAMPLES) ** 2
        self._luma, self._steps, self._bends = (
            region.take((n_pixels,), np.float32).view(np.float32) for _ in range(3)
        )

    def assess(self, pixels: Pixels, face: Face) -> FaceQuality:
        """Return a face's quality; its pixels are gone from the region on return.

        Args:
            pixels: (H, W, 3) uint8 RGB, the picture that `face` was found in.
            face: Its box may reach outside the picture.
        """
        pose = head_pose(face.points)
        is_away = is_turned_away(face)
        with self._region:
            luma = self._luma_of(pixels, face.box)
            if luma is None:
                return _unseen(is_away)
            detail = self._detail_of(luma)
            black, white = self._clipped_of(luma)
            contrast = self._least_contrast(luma, face)
            is_dark = self._highlight_of(luma) < DARK_HIGHLIGHT_LUMA
        components = {
            QualityComponent.INTER_EYE_DISTANCE: _inter_eye_quality(face.points, pose),
            QualityComponent.SHARPNESS: _sharpness_quality(detail),
            QualityComponent.UNDER_EXPOSURE: _percent(1 - 2 * black),
            QualityComponent.OVER_EXPOSURE: _percent(1 - 2 * white),
            QualityComponent.YAW: _pose_quality(pose.yaw_deg),
            QualityComponent.PITCH: _pose_quality(pose.pitch_deg),
            QualityComponent.ROLL: _pose_quality(pose.roll_deg),
            QualityComponent.OCCLUSION: _percent(contrast / PLAIN_PATCH),
        }
        faults = FaceFaults(is_blurred=detail < SOFT_FACE_DETAIL, is_turned_away=is_away, is_dark=is_dark)
        refused_for = _reasons_to_refuse(components, pose, _seen_share(pixels, face.box))
        return FaceQuality(components=components, faults=faults, refused_for=refused_for)

    def _luma_of(self, pixels: Pixels, box: Box) -> Floats | None:
        # A box may reach outside the picture, and a negative end would count from the other side.
        top, bottom, left, right = (
            max(0, round(edge_px))
            for edge_px in (box.y_px, box.y_px + box.height_px, box.x_px, box.x_px + box.width_px)
        )
        cut = pixels[top:bottom, left:right, 1]
        step = _step_of(box)
        seen = cut[::step, ::step][: 2 * FACE_SAMPLES, : 2 * FACE_SAMPLES]
        if min(seen.shape) <= 2 * LAG + LINES_APART:
            return None  # hardly anything of it is in the picture
        luma = _as(self._luma, seen.shape)
        np.copyto(luma, seen)
        return luma

    def _detail_of(self, luma: Floats) -> float:
        rows, columns = luma.shape
        steps = _as(self._steps, (rows, columns - LAG))
        np.subtract(luma[:, LAG:], luma[:, :-LAG], out=steps)
        bends = _as(self._bends, (rows, columns - 2 * LAG))
        np.subtract(steps[:, LAG:], steps[:, :-LAG], out=bends)
        # Noise differs from line to line and cancels out in the mean; edges go on.
        products = _as(self._steps, (rows - LINES_APART, columns - 2 * LAG))
        np.multiply(bends[LINES_APART:], bends[:-LINES_APART], out=products)
        detail = float(products.mean())
        apart = _as(self._bends, luma.shape)
        np.subtract(luma, luma.mean(), out=apart)
        np.multiply(apart, apart, out=apart)
        return detail / (float(apart.mean()) + 1.0)

    def _clipped_of(self, luma: Floats) -> tuple[float, float]:
        """Return which parts of the face are black and white, compared in the region: a mask is a picture."""
        mask = _as(self._bends, luma.shape)
        np.less_equal(luma, BLACK_LUMA, out=mask)
        black = float(mask.mean())
        np.greater_equal(luma, WHITE_LUMA, out=mask)
        return black, float(mask.mean())

    def _least_contrast(self, luma: Floats, face: Face) -> float:
        """Return the contrast of the plainest patch around a point, as a part of the middle patch's."""
        step = _step_of(face.box)
        half = max(2, round(POINT_HALF_WIDTH * face.box.width_px / step))
        left, top = max(0.0, face.box.x_px), max(0.0, face.box.y_px)
        contrasts = []
        for x_px, y_px in face.points:
            column, row = round(float(x_px - left) / step), round(float(y_px - top) / step)
            patch = luma[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
            contrasts.append(self._deviation_of(patch) if min(patch.shape) > 1 else 0.0)
        contrasts.sort()
        return contrasts[0] / max(contrasts[2], 1.0)

    def _deviation_of(self, patch: Floats) -> float:
        apart = _as(self._bends, patch.shape)
        np.subtract(patch, patch.mean(), out=apart)
        np.multiply(apart, apart, out=apart)
        return math.sqrt(float(apart.mean()))

    def _highlight_of(self, luma: Floats) -> float:
        ordered = self._steps[: luma.size]
        np.copyto(ordered, luma.reshape(-1))
        ordered.sort()
        return float(ordered[int(0.98 * (luma.size - 1))])


def head_pose(points: Points) -> HeadPose:
    """Estimate how a head is held from (5, 2) points in pixels, in the order of the Points type."""
    (left_x, left_y), (right_x, right_y), (nose_x, nose_y) = points[:3].tolist()
    across_x, across_y = right_x - left_x, right_y - left_y
    mouth_x, mouth_y = ((points[3] + points[4]) / 2).tolist()
    eyes_x, eyes_y = (left_x + right_x) / 2, (left_y + right_y) / 2
    distance_px = math.hypot(across_x, across_y)
    # Along the eyes and at right angles to them, so that a tilted head is measured upright.
    unit_x, unit_y = (across_x / distance_px, across_y / distance_px) if distance_px else (1.0, 0.0)
    aside_px = (nose_x - eyes_x) * unit_x + (nose_y - eyes_y) * unit_y
    nose_down_px = (nose_y - eyes_y) * unit_x - (nose_x - eyes_x) * unit_y
    mouth_down_px = (mouth_y - eyes_y) * unit_x - (mouth_x - eyes_x) * unit_y
    if distance_px == 0 or mouth_down_px <= 0:
        return HeadPose(yaw_deg=90.0, pitch_deg=90.0, roll_deg=90.0)
    yaw = math.atan(aside_px / distance_px / NOSE_BEFORE_EYES)
    eye_distance_px = distance_px / max(math.cos(yaw), 0.2)
    pitch = math.atan((nose_down_px - NOSE_DOWN * mouth_down_px) / (NOSE_BEFORE_EYES * eye_distance_px))
    return HeadPose(
        yaw_deg=math.degrees(yaw),
        pitch_deg=math.degrees(pitch),
        roll_deg=math.degrees(math.atan2(across_y, across_x)),
    )


def is_turned_away(face: Face) -> bool:
    """Say whether the nose lies far off the middle of the eyes, or the eyes are too near for the face."""
    left, right, nose = face.points[0], face.points[1], face.points[2]
    across_x, across_y = float(right[0] - left[0]), float(right[1] - left[1])
    distance_px = (across_x**2 + across_y**2) ** 0.5
    if distance_px < TURNED_EYE_DISTANCE * face.box.width_px or distance_px == 0:
        return True
    from_middle_x = float(nose[0] - (left[0] + right[0]) / 2)
    from_middle_y = float(nose[1] - (left[1] + right[1]) / 2)
    shift = (from_middle_x * across_x + from_middle_y * across_y) / distance_px**2
    return bool(abs(shift) > TURNED_NOSE_SHIFT)


def _reasons_to_refuse(
    components: dict[QualityComponent, int], pose: HeadPose, seen_share: float
) -> tuple[QualityComponent, ...]:
    reasons = [
        name
        for name in (QualityComponent.INTER_EYE_DISTANCE, QualityComponent.SHARPNESS)
        if components[name] == 0
    ]
    if abs(pose.yaw_deg) > FARTHEST_YAW_DEG:
        reasons.append(QualityComponent.YAW)
    if seen_share < LEAST_SEEN:
        reasons.append(QualityComponent.OCCLUSION)
    return tuple(reasons)


def _unseen(is_away: bool) -> FaceQuality:
    return FaceQuality(
        components=dict.fromkeys(QualityComponent, 0),
        faults=FaceFaults(is_blurred=True, is_turned_away=is_away, is_dark=True),
        refused_for=(QualityComponent.SHARPNESS, QualityComponent.OCCLUSION),
    )


def _seen_share(pixels: Pixels, box: Box) -> float:
    height_px, width_px = pixels.shape[:2]
    across = min(box.x_px + box.width_px, width_px) - max(box.x_px, 0.0)
    down = min(box.y_px + box.height_px, height_px) - max(box.y_px, 0.0)
    return float(max(0.0, across) * max(0.0, down) / max(box.width_px * box.height_px, 1.0))


def _inter_eye_quality(points: Points, pose: HeadPose) -> int:
    distance_px = math.hypot(*(points[1] - points[0]).tolist())
    # As the standard has it: a turned head's eyes are as far apart as they would be from the front.
    distance_px /= max(math.cos(math.radians(pose.yaw_deg)), 0.5)
    return round(float(np.interp(distance_px, INTER_EYE_PX, INTER_EYE_QUALITY)))


def _sharpness_quality(detail: float) -> int:
    if detail <= LEAST_DETAIL:
        return 0
    return _percent(math.log(detail / LEAST_DETAIL) / math.log(FULL_DETAIL / LEAST_DETAIL))


def _pose_quality(angle_deg: float) -> int:
    """OFIQ's form: the square of the angle's cosine."""
    return _percent(max(0.0, math.cos(math.radians(angle_deg))) ** 2)


def _percent(part: float) -> int:
    return round(100 * min(1.0, max(0.0, part)))


def _step_of(box: Box) -> int:
    return max(1, int(box.width_px) // FACE_SAMPLES)


def _as(buffer: Floats, shape: tuple[int, ...]) -> Floats:
    return buffer[: shape[0] * shape[1]].reshape(shape)
