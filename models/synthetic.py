"""Draw a face that belongs to nobody, to warm the networks up with before any camera picture is shown."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from appliance.records.frames import Pixels, Points

_SKIN, _HAIR, _DARK, _WHITE, _LIPS, _SHADE = (
    (214, 170, 146),
    (62, 44, 36),
    (38, 28, 26),
    (240, 236, 232),
    (168, 84, 80),
    (184, 138, 116),
)


def synthetic_face(width_px: int = 240, height_px: int = 320) -> Pixels:
    """Return a drawn face of about 150 px width in the middle of a grey picture.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rows, columns = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    x, y = columns - width_px / 2, rows - height_px / 2
    picture = np.empty((height_px, width_px, 3), np.float32)
    picture[:] = 200.0
    _fill(picture, _ellipse(x, y + 12, 86, 116), _HAIR)
    _fill(picture, _ellipse(x, y - 70, 44, 70), _SHADE)
    _fill(picture, _ellipse(x, y - 4, 74, 98), _SKIN)
    for side in (-1, 1):
        _fill(picture, _ellipse(x - side * 32, y + 38, 19, 4), _HAIR)
        _fill(picture, _ellipse(x - side * 32, y + 20, 15, 8), _WHITE)
        _fill(picture, _ellipse(x - side * 32, y + 20, 7, 7), _DARK)
        _fill(picture, _ellipse(x - side * 9, y - 24, 6, 5), _SHADE)
    _fill(picture, _ellipse(x + 5, y - 2, 4, 24), _SHADE)
    _fill(picture, _ellipse(x, y - 52, 28, 9), _LIPS)
    _fill(picture, _ellipse(x, y - 51, 24, 2), _DARK)
    light = 1.06 - 0.0012 * np.abs(x) - 0.0006 * y
    np.multiply(picture, light[..., None], out=picture)
    grain = np.random.default_rng(1).normal(0, 8, picture.shape)  # no photograph is without any
    return np.clip(_softened(picture) + grain, 0, 255).astype(np.uint8)


def synthetic_points(width_px: int = 240, height_px: int = 320) -> Points:
    """Return the five points of the drawn face, so that embedding does not depend on its being found."""
    middle = np.array([width_px / 2, height_px / 2], np.float32)
    offsets = np.array([[-32, -20], [32, -20], [0, 20], [-26, 52], [26, 52]], np.float32)
    return middle + offsets


def _ellipse(
    x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], half_width: float, half_height: float
) -> npt.NDArray[np.bool_]:
    inside: npt.NDArray[np.bool_] = (x / half_width) ** 2 + (y / half_height) ** 2 <= 1
    return inside


def _fill(
    picture: npt.NDArray[np.float32], where: npt.NDArray[np.bool_], colour: tuple[int, int, int]
) -> None:
    picture[where] = colour


def _softened(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Blur a little: edges as sharp as drawn ones look like no photograph."""
    for axis in (0, 1):
        for _ in range(5):
            picture = (np.roll(picture, 1, axis) + picture * 2 + np.roll(picture, -1, axis)) * np.float32(
                0.25
            )
    return picture
