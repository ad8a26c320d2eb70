"""The picture that the demonstration enrols: of the same portrait as the film's, but not the same picture."""

from __future__ import annotations

from pathlib import Path

from appliance.errors import PictureError

_CROP = (0.18, 0.02, 0.80, 0.76)
"""Left, upper, right and lower edge, as parts of the portrait."""
_SCALE = 1.3
_JPEG_QUALITY = 72
_BRIGHTNESS = 0.92


def make_enrolment_picture(portrait: Path, out: Path) -> None:
    """Write another crop, size, brightness and compression of a portrait; PictureError otherwise."""
    from PIL import Image, ImageEnhance

    try:
        with Image.open(portrait) as opened:
            picture = opened.convert("RGB")
        left, upper, right, lower = _CROP
        box = (
            round(left * picture.width),
            round(upper * picture.height),
            round(right * picture.width),
            round(lower * picture.height),
        )
        cut = picture.crop(box)
        size = (round(cut.width * _SCALE), round(cut.height * _SCALE))
        resized = cut.resize(size, Image.Resampling.BICUBIC)
        ImageEnhance.Brightness(resized).enhance(_BRIGHTNESS).save(out, "JPEG", quality=_JPEG_QUALITY)
    except OSError as err:
        raise PictureError(f"{portrait.name}: {err}") from err
