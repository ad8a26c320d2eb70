"""Find where a face's chip lies in a picture. Plain floats: no array that would keep anything of a face."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.errors import PictureError

CHIP_POINTS: dict[str, tuple[complex, ...]] = {
    # dlib's mean face shape for chips of 150 px with its default padding.
    "dlib-150": (46.93 + 44.28j, 102.55 + 44.28j, 74.74 + 77.78j, 50.34 + 101.93j, 99.14 + 101.93j),
    # ArcFace's template for 112 px, as its alignment code publishes it.
    "arcface-112": (
        38.2946 + 51.6963j,
        73.5318 + 51.5014j,
        56.0252 + 71.7366j,
        41.5493 + 92.3655j,
        70.7299 + 92.2041j,
    ),
}
"""Where the five points of a face belong in a chip, x + yj in pixels."""
_MARGIN_PX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """A turn, a scale and a shift without reflection: z -> factor * z + shift, z = x + yj."""

    factor: complex
    shift: complex

    def inverted(self) -> Similarity:
        """Return the way back."""
        return Similarity(factor=1 / self.factor, shift=-self.shift / self.factor)

    def apply(self, z: complex) -> complex:
        """Return where a point goes."""
        return self.factor * z + self.shift


@dataclass(frozen=True, slots=True, kw_only=True)
class CropBounds:
    """Whole pixels of a picture, `right` and `bottom` not included."""

    left: int
    top: int
    right: int
    bottom: int


def fit_similarity(points: Sequence[complex], targets: Sequence[complex]) -> Similarity:
    """Return the similarity that takes `points` to `targets` with the least sum of squares.

    In complex numbers the least squares has a closed form; it is Umeyama's solution in two dimensions.

    Raises:
        PictureError: The points coincide or are not finite.

    Source: Umeyama, Least-squares estimation of transformation parameters, 1991.
    """
    n = len(points)
    if not all(math.isfinite(p.real) and math.isfinite(p.imag) for p in points):
        raise PictureError("the points of the face are not finite")
    mean, target_mean = sum(points) / n, sum(targets) / n
    spread = sum(abs(p - mean) ** 2 for p in points)
    turned = sum((p - mean).conjugate() * (t - target_mean) for p, t in zip(points, targets, strict=True))
    if spread < 1e-6 or abs(turned) < 1e-6:
        raise PictureError("the points of the face coincide")
    factor = turned / spread
    return Similarity(factor=factor, shift=target_mean - factor * mean)


def crop_bounds(to_picture: Similarity, chip_px: int, width_px: int, height_px: int) -> CropBounds:
    """Return the part of a picture that a chip needs, clipped to the picture.

    The margin covers the neighbours that bilinear sampling reads; what is clipped away is read as 0 in the
    crop as it would be in the whole picture.

    Raises:
        PictureError: The chip lies outside the picture.
    """
    last = chip_px - 1
    corners = [to_picture.apply(c) for c in (0j, complex(last, 0), complex(0, last), complex(last, last))]
    left = max(0, math.floor(min(c.real for c in corners)) - _MARGIN_PX)
    top = max(0, math.floor(min(c.imag for c in corners)) - _MARGIN_PX)
    right = min(width_px, math.ceil(max(c.real for c in corners)) + _MARGIN_PX + 1)
    bottom = min(height_px, math.ceil(max(c.imag for c in corners)) + _MARGIN_PX + 1)
    if left >= right or top >= bottom:
        raise PictureError("the face lies outside the picture")
    return CropBounds(left=left, top=top, right=right, bottom=bottom)


def sampling_rows(to_picture: Similarity, bounds: CropBounds) -> tuple[tuple[float, float, float], ...]:
    """Return the two rows that take a chip's pixel (x, y, 1) to GridSample's coordinates of the crop.

    Pixel x of W has its centre at (2x + 1)/W - 1 (align_corners 0).
    """
    width, height = bounds.right - bounds.left, bounds.bottom - bounds.top
    factor, shift = to_picture.factor, to_picture.shift
    across = 2 / width
    down = 2 / height
    return (
        (factor.real * across, -factor.imag * across, (shift.real - bounds.left + 0.5) * across - 1),
        (factor.imag * down, factor.real * down, (shift.imag - bounds.top + 0.5) * down - 1),
    )
