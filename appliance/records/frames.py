"""A frame and the faces in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from appliance.records.ids import CameraId

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) uint8 RGB, origin at the upper left; a view of a ring slot or of the arena, never a copy."""
Template = npt.NDArray[np.float32]
"""(D,) float32 with unit L2 norm."""
Points = npt.NDArray[np.float32]
"""(5, 2) float32 x, y in pixels: left eye, right eye, nose, left, right mouth corner, as the viewer sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameStamp:
    """Say which frame it is and when it was captured, stamped at capture and never later."""

    camera_id: CameraId
    frame_number: int
    captured_at: datetime
    captured_monotonic_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """A captured picture in a ring slot; `pixels` is valid until the slot is released."""

    stamp: FrameStamp
    pixels: Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSize:
    """The size of a decoded picture."""

    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in pixels of the frame, origin at the upper left; may reach outside the frame."""

    x_px: float
    y_px: float
    width_px: float
    height_px: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """A face as the detector found it: where, its five points, and how sure the detector is (0..1)."""

    box: Box
    points: Points
    detection_score: float
