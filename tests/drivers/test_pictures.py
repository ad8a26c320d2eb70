"""Pictures from files, and portraits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from appliance.errors import PictureError
from appliance.records.frames import Box, Pixels
from drivers.pictures import LARGEST_PORTRAIT_BYTES, PillowCodec, read_picture

RED, BLUE = (250, 5, 5), (5, 5, 250)


def two_halves(width_px: int = 80, height_px: int = 40) -> Image.Image:
    """Return a picture whose left half is red and whose right half is blue."""
    picture = Image.new("RGB", (width_px, height_px), RED)
    picture.paste(Image.new("RGB", (width_px // 2, height_px), BLUE), (width_px // 2, 0))
    return picture


def noise(height_px: int = 400, width_px: int = 400) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_picture_is_read_as_rgb(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture"
    two_halves().save(path, kind)
    pixels = read_picture(path)
    assert pixels.shape == (40, 80, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[20, 5].astype(int) - RED).max() < 12
    assert np.abs(pixels[20, 75].astype(int) - BLUE).max() < 12


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    two_halves().convert(mode).save(tmp_path / "picture", "TIFF")
    assert read_picture(tmp_path / "picture").shape == (40, 80, 3)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF 2.32, orientation: turn by 90 degrees
    two_halves().save(tmp_path / "turned.jpg", exif=exif)
    pixels = read_picture(tmp_path / "turned.jpg")
    assert pixels.shape == (80, 40, 3)
    assert np.abs(pixels[5, 20].astype(int) - RED).max() < 12


def test_large_picture_is_reduced_when_asked(tmp_path: Path) -> None:
    two_halves(400, 200).save(tmp_path / "large.png")
    assert read_picture(tmp_path / "large.png", longest_side_px=100).shape == (50, 100, 3)


@pytest.mark.parametrize("n_bytes", [0, 1, 100, 400])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_truncated_picture_is_refused(tmp_path: Path, kind: str, n_bytes: int) -> None:
    file = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(file, kind)
    (tmp_path / "cut").write_bytes(file.getvalue()[:n_bytes])
    with pytest.raises(PictureError):
        read_picture(tmp_path / "cut")


def test_text_is_not_a_picture(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture\n" * 100)
    with pytest.raises(PictureError, match="not a picture"):
        read_picture(tmp_path / "text.jpg")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.jpg", tmp_path):
        with pytest.raises(PictureError):
            read_picture(path)


def test_picture_above_40_million_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (8000, 5001)).save(tmp_path / "large.png")
    with pytest.raises(PictureError, match="40000000"):
        read_picture(tmp_path / "large.png")


def test_decompression_bomb_is_refused(tmp_path: Path) -> None:
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    with pytest.raises(PictureError, match="40000000"):
        read_picture(tmp_path / "bomb.png")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), kind=st.sampled_from(["JPEG", "PNG", "TIFF"]))
def test_damaged_picture_gives_pixels_or_our_error(tmp_path: Path, place: int, value: int, kind: str) -> None:
    file = io.BytesIO()
    two_halves(16, 16).save(file, kind)
    data = bytearray(file.getvalue())
    data[place % len(data)] = value
    (tmp_path / "damaged").write_bytes(data)
    try:
        pixels = read_picture(tmp_path / "damaged")
    except PictureError:
        return
    assert pixels.ndim == 3


def decode(portrait: bytes) -> Pixels:
    with Image.open(io.BytesIO(portrait), formats=("JPEG",)) as picture:
        assert not picture.getexif()
        return np.array(picture.convert("RGB"))


def test_portrait_is_240_by_320_and_shows_the_face() -> None:
    pixels = np.full((300, 300, 3), 200, dtype=np.uint8)
    pixels[120:180, 130:170] = RED
    portrait = decode(
        PillowCodec().encode_portrait(pixels, Box(x_px=130, y_px=120, width_px=40, height_px=60))
    )
    assert portrait.shape == (320, 240, 3)
    assert np.abs(portrait[160, 120].astype(int) - RED).max() < 12
    assert np.abs(portrait[5, 5].astype(int) - 200).max() < 12


def test_portrait_is_grey_outside_the_frame() -> None:
    pixels = np.full((60, 60, 3), 255, dtype=np.uint8)
    portrait = decode(PillowCodec().encode_portrait(pixels, Box(x_px=-30, y_px=0, width_px=60, height_px=60)))
    assert np.abs(portrait[160, 20].astype(int) - 128).max() < 12
    assert portrait[160, 200].min() > 240


def test_portrait_of_noise_still_fits_12_kib() -> None:
    portrait = PillowCodec().encode_portrait(noise(), Box(x_px=100, y_px=100, width_px=128, height_px=168))
    assert len(portrait) <= LARGEST_PORTRAIT_BYTES
    assert decode(portrait).shape == (320, 240, 3)


@pytest.mark.parametrize(
    "box",
    [
        Box(x_px=float("nan"), y_px=0, width_px=10, height_px=10),
        Box(x_px=0, y_px=0, width_px=float("inf"), height_px=10),
        Box(x_px=0, y_px=0, width_px=0, height_px=10),
        Box(x_px=5000, y_px=5000, width_px=10, height_px=10),
    ],
)
def test_box_that_cannot_be_drawn_is_refused(box: Box) -> None:
    with pytest.raises(PictureError):
        PillowCodec().encode_portrait(noise(50, 50), box)


@settings(max_examples=100, deadline=None)
@given(*(st.floats(-500, 500) for _ in range(2)), *(st.floats(1, 500) for _ in range(2)))
def test_any_box_gives_a_portrait_or_our_error(x: float, y: float, width: float, height: float) -> None:
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    try:
        portrait = PillowCodec().encode_portrait(
            pixels, Box(x_px=x, y_px=y, width_px=width, height_px=height)
        )
    except PictureError:
        return
    assert decode(portrait).shape == (320, 240, 3)
