"""How good a picture of a face is, as a number from 0 to 100: a gate before a search, never part of a score.

For now it is the mean of two measures, width and sharpness; it is not yet ISO/IEC 29794-5's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from appliance.records.frames import Face, Pixels

WIDTH_OF_0_PX, WIDTH_OF_100_PX = 20, 120
SHARPNESS_OF_100 = 300.0
"""Variance of the Laplacian of an 8-bit face of about 64 px; a guess that nobody calibrated yet."""
_MEASURED_WIDTH_PX = 64
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def quality_of(pixels: Pixels, face: Face) -> int:
    """Return the quality of a face in a picture, 0 to 100, higher is better."""
    span = WIDTH_OF_100_PX - WIDTH_OF_0_PX
    width = min(1.0, max(0.0, (face.box.width_px - WIDTH_OF_0_PX) / span))
    sharpness = min(1.0, sharpness_of(pixels, face) / SHARPNESS_OF_100)
    return round(100 * (width + sharpness) / 2)


def sharpness_of(pixels: Pixels, face: Face) -> float:
    """Return the variance of the Laplacian of the face, reduced to about 64 px of width."""
    height, width = pixels.shape[:2]
    box = face.box
    left, top = max(0, int(box.x_px)), max(0, int(box.y_px))
    right = min(width, int(box.x_px + box.width_px))
    bottom = min(height, int(box.y_px + box.height_px))
    if right - left < 8 or bottom - top < 8:
        return 0.0
    grey = _reduce(pixels[top:bottom, left:right] @ _LUMA, max(1, (right - left) // _MEASURED_WIDTH_PX))
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return float(laplacian.var()) if laplacian.size else 0.0


def _reduce(grey: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    height, width = grey.shape[0] // factor * factor, grey.shape[1] // factor * factor
    blocks = grey[:height, :width].reshape(height // factor, factor, width // factor, factor)
    reduced: npt.NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return reduced
