"""Fit a picture of any size into a detector's size."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.errors import ConfigError

DETECTOR_MULTIPLE_PX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """A picture resized to `resized_*` with its shape kept, then padded with 0 at the right and bottom."""

    resized_width_px: int
    resized_height_px: int
    scale_x: float
    scale_y: float


def check_detector_size(width_px: int, height_px: int) -> None:
    """Raise ConfigError unless both sides are multiples of 32 px, 32 at least and 4096 at most."""
    for name, value in (("detector_width_px", width_px), ("detector_height_px", height_px)):
        if value % DETECTOR_MULTIPLE_PX or not DETECTOR_MULTIPLE_PX <= value <= 4096:
            raise ConfigError(f"{name}: {value} is not a multiple of {DETECTOR_MULTIPLE_PX} up to 4096")


def fit_letterbox(
    width_px: int, height_px: int, detector_width_px: int, detector_height_px: int
) -> Letterbox:
    """Return how a picture fits; small ones are enlarged, so that enrolment and stream agree exactly."""
    scale = min(detector_width_px / width_px, detector_height_px / height_px)
    resized_width_px = min(detector_width_px, max(1, round(width_px * scale)))
    resized_height_px = min(detector_height_px, max(1, round(height_px * scale)))
    return Letterbox(
        resized_width_px=resized_width_px,
        resized_height_px=resized_height_px,
        scale_x=resized_width_px / width_px,
        scale_y=resized_height_px / height_px,
    )
