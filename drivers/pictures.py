"""Read pictures from files and make portraits, with Pillow; the only module that knows it for this."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from appliance.errors import PictureError
from appliance.records.frames import Box, Pixels

if TYPE_CHECKING:
    from PIL import Image

LARGEST_PICTURE_PX = 40_000_000
LARGEST_PICTURE_BYTES = 64 << 20
PORTRAIT_WIDTH_PX, PORTRAIT_HEIGHT_PX = 240, 320
LARGEST_PORTRAIT_BYTES = 12 * 1024
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
_GREY = (128, 128, 128)
_PORTRAIT_TO_FACE_WIDTH = 1.9
"""Head and a little of the shoulders: officers compare hair line and ears too."""
_QUALITIES = (88, 80, 70, 60, 50, 40, 30, 20, 10, 5)
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    struct.error,
    zlib.error,
    MemoryError,
)
"""What Pillow's decoders raise on damaged files; its documentation promises OSError alone."""


def read_picture(path: Path, *, longest_side_px: int | None = None) -> Pixels:
    """Return a picture as (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Args:
        path: JPEG, PNG, WebP, TIFF or BMP, at most 40 million pixels.
        longest_side_px: Reduce a larger picture to this.

    Raises:
        PictureError: Missing, empty, truncated, too large or not a picture; the message is one line.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        if path.stat().st_size == 0:
            raise PictureError(f"{path.name}: the file is empty")
        if path.stat().st_size > LARGEST_PICTURE_BYTES:
            raise PictureError(f"{path.name}: larger than {LARGEST_PICTURE_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF, bombs: the latter are refused below
            with Image.open(path, formats=_FORMATS) as picture:
                _check_size(picture, path)
                upright = ImageOps.exif_transpose(picture).convert("RGB")
    except Image.DecompressionBombError:
        raise PictureError(f"{path.name}: more than {LARGEST_PICTURE_PX} pixels") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path.name}: not a picture") from None
    except FileNotFoundError:
        raise PictureError(f"{path.name}: there is no such file") from None
    except _DECODER_ERRORS as err:
        raise PictureError(f"{path.name}: damaged or truncated") from err
    if longest_side_px is not None and max(upright.size) > longest_side_px:
        upright.thumbnail((longest_side_px, longest_side_px), Image.Resampling.LANCZOS)
    return np.array(upright, dtype=np.uint8)


class PillowCodec:
    """Implement the PictureCodec port. It keeps nothing; the JPEG encoder leaves traces on the heap."""

    def encode_portrait(self, pixels: Pixels, box: Box) -> bytes:
        """Return a JPEG of 240 x 320 px around the face, at most 12 KiB; outside the frame it is grey.

        Raises:
            PictureError: The box is not a rectangle, or lies outside the frame.
        """
        from PIL import Image

        portrait = Image.new("RGB", (PORTRAIT_WIDTH_PX, PORTRAIT_HEIGHT_PX), _GREY)
        left, top, scale = _place(box)
        height, width = pixels.shape[:2]
        # The part of the frame that is seen, in whole pixels of the frame.
        seen_left, seen_top = max(0, math.floor(left)), max(0, math.floor(top))
        seen_right = min(width, math.ceil(left + PORTRAIT_WIDTH_PX / scale))
        seen_bottom = min(height, math.ceil(top + PORTRAIT_HEIGHT_PX / scale))
        if seen_right <= seen_left or seen_bottom <= seen_top:
            raise PictureError("the face lies outside the frame")
        seen = Image.fromarray(np.ascontiguousarray(pixels[seen_top:seen_bottom, seen_left:seen_right]))
        size = (max(1, round(seen.width * scale)), max(1, round(seen.height * scale)))
        where = (round((seen_left - left) * scale), round((seen_top - top) * scale))
        portrait.paste(seen.resize(size, Image.Resampling.BICUBIC), where)
        return _encode(portrait)


def _check_size(picture: Image.Image, path: Path) -> None:
    if picture.width * picture.height > LARGEST_PICTURE_PX:
        raise PictureError(f"{path.name}: more than {LARGEST_PICTURE_PX} pixels")


def _place(box: Box) -> tuple[float, float, float]:
    """Return the portrait's upper left corner in the frame, and its pixels per pixel of the frame."""
    numbers = (box.x_px, box.y_px, box.width_px, box.height_px)
    if not all(math.isfinite(number) for number in numbers) or min(box.width_px, box.height_px) < 1:
        raise PictureError("the box of the face is not a rectangle")
    ratio = PORTRAIT_HEIGHT_PX / PORTRAIT_WIDTH_PX
    width = max(box.width_px, box.height_px / ratio) * _PORTRAIT_TO_FACE_WIDTH
    left = box.x_px + box.width_px / 2 - width / 2
    top = box.y_px + box.height_px / 2 - width * ratio / 2
    return left, top, PORTRAIT_WIDTH_PX / width


def _encode(portrait: Image.Image) -> bytes:
    for quality in _QUALITIES:
        file = io.BytesIO()
        portrait.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= LARGEST_PORTRAIT_BYTES:
            return file.getvalue()
    raise PictureError("the portrait does not fit 12 KiB")
