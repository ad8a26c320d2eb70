"""Paint the demonstration's street: a backdrop, people cut out of portraits, light, and a sensor's noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from appliance.errors import PictureError
from appliance.records.frames import Box, PictureSize, Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST_SHAKE_PX = 6
WALL_TOP = 0.64
"""The people walk behind a low wall, which begins here; a part of the height."""
_NOISE_LEVEL = 4.0
_NOISE_STEP_PX = 64
_Canvas = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortraitShape:
    """Where the face and the outline lie in a portrait, in its pixels.

    `face` is what YuNet n finds in the portrait; the outlines of head and shoulders are polygons drawn by
    eye, as x, y, x, y... `repeat_row` is repeated downwards, where
    the wall hides it, because a person far away shows more than the portrait has.
    """

    size: PictureSize
    face: Box
    head: tuple[int, ...]
    shoulders: tuple[int, ...]
    repeat_row: int


# fmt: off
PORTRAIT_SHAPES = {
    "astronaut": PortraitShape(
        size=PictureSize(width_px=512, height_px=512),
        face=Box(x_px=178, y_px=65, width_px=91, height_px=111),
        head=(154, 62, 172, 32, 205, 16, 245, 14, 280, 34, 299, 66, 301, 100, 286, 126, 268, 150, 258, 186,
              188, 186, 186, 154, 172, 120, 155, 98),
        shoulders=(118, 168, 160, 150, 190, 152, 255, 172, 292, 200, 306, 252, 350, 290, 364, 420, 300, 511,
                   20, 511, 36, 290, 112, 232),
        repeat_row=330,
    ),
    "grace_hopper": PortraitShape(
        size=PictureSize(width_px=512, height_px=600),
        face=Box(x_px=177, y_px=123, width_px=178, height_px=212),
        head=(146, 98, 172, 60, 215, 30, 258, 22, 300, 30, 348, 58, 372, 92, 370, 160, 376, 200, 366, 262,
              350, 306, 330, 340, 195, 340, 190, 300, 160, 260, 154, 200, 146, 150),
        shoulders=(200, 300, 330, 300, 338, 325, 450, 372, 500, 410, 511, 599, 14, 599, 34, 400, 60, 372,
                   190, 330),
        repeat_row=560,
    ),
}
# fmt: on
_EXTRA_ROWS = 450


@dataclass(frozen=True, slots=True, kw_only=True)
class Walker:
    """Where a person is in one frame: the middle and width of the face, and how far it moves meanwhile."""

    cut_out: CutOut
    x_px: float
    y_px: float
    face_width_px: float
    blur_px: float

    def face_box(self) -> Box:
        """Return the box of the face, which may reach outside the frame."""
        face = self.cut_out.shape.face
        height_px = self.face_width_px * face.height_px / face.width_px
        return Box(
            x_px=self.x_px - self.face_width_px / 2,
            y_px=self.y_px - height_px / 2,
            width_px=self.face_width_px,
            height_px=height_px,
        )


class CutOut:
    """A person without the portrait's background, ready to be pasted at any size.

    Args:
        path: One of the demonstration's portraits; its file name says which.

    Raises:
        PictureError: Another picture, or one that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        from PIL import Image, UnidentifiedImageError

        shape = PORTRAIT_SHAPES.get(path.stem)
        if shape is None:
            raise PictureError(f"{path.name} is none of the demonstration's portraits")
        try:
            with Image.open(path) as portrait:
                picture = portrait.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as err:
            raise PictureError(f"{path} cannot be read: {err}") from err
        if picture.size != (shape.size.width_px, shape.size.height_px):
            raise PictureError(f"{path} is not the portrait that it is called")
        self.shape = shape
        self._picture, self._mask = _lengthen(picture, shape), _outline(shape)

    def paste(self, canvas: Image, walker: Walker, bottom_px: int) -> None:
        """Paste the person; what is outside the canvas or below `bottom_px` is left out."""
        from PIL import Image, ImageFilter

        face, scale = self.shape.face, walker.face_width_px / self.shape.face.width_px
        left_px = walker.x_px - (face.x_px + face.width_px / 2) * scale
        top_px = walker.y_px - (face.y_px + face.height_px / 2) * scale
        visible = _visible_part((left_px, top_px), scale, self._picture, (canvas.width, bottom_px))
        if visible is None:
            return
        area, place = visible
        size = (place[2] - place[0], place[3] - place[1])
        blur = ImageFilter.BoxBlur((walker.blur_px / 2, 0))
        person, mask = (
            picture.resize(size, Image.Resampling.BILINEAR, box=area).filter(blur)
            for picture in (self._picture, self._mask)
        )
        canvas.paste(person, place[:2], mask)


class Stage:
    """The backdrop, the wall in front of the people, and the noise, painted once.

    Args:
        size: Of the frames.
        seed: The same seed paints the same stage.
    """

    def __init__(self, size: PictureSize, seed: int) -> None:
        from PIL import Image

        self._size = size
        random = np.random.default_rng(seed)
        margin_px = 2 * LONGEST_SHAKE_PX
        height_px, width_px = size.height_px + margin_px, size.width_px + margin_px
        backdrop = _paint_backdrop(height_px, width_px, random)
        self._wall_top_px = round(size.height_px * WALL_TOP) + LONGEST_SHAKE_PX
        wall = _paint_wall(height_px - self._wall_top_px, width_px, random)
        self._backdrop, self._wall = (
            Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)) for canvas in (backdrop, wall)
        )
        noise = random.normal(128, _NOISE_LEVEL, (height_px + _NOISE_STEP_PX, width_px + _NOISE_STEP_PX, 3))
        self._noise = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))

    def paint(
        self, walkers: list[Walker], shake_px: tuple[int, int], gain: float, noise_at_px: tuple[int, int]
    ) -> Pixels:
        """Return a frame.

        Args:
            walkers: From the back to the front; their places hold before the shake.
            shake_px: How far the camera is off, x and y.
            gain: Of the light; 1 is the usual.
            noise_at_px: Which part of the noise, 0..63 each.
        """
        from PIL import ImageChops

        canvas = self._backdrop.copy()
        for walker in walkers:
            walker.cut_out.paste(canvas, _moved(walker, LONGEST_SHAKE_PX), self._wall_top_px)
        canvas.paste(self._wall, (0, self._wall_top_px))
        left_px, top_px = LONGEST_SHAKE_PX - shake_px[0], LONGEST_SHAKE_PX - shake_px[1]
        width_px, height_px = self._size.width_px, self._size.height_px
        frame = canvas.crop((left_px, top_px, left_px + width_px, top_px + height_px))
        frame = frame.point([min(255, round(value * gain)) for value in range(256)] * 3)
        x_px, y_px = noise_at_px
        noise = self._noise.crop((x_px, y_px, x_px + width_px, y_px + height_px))
        return np.asarray(ImageChops.add(frame, noise, 1.0, -128))


def _moved(walker: Walker, by_px: int) -> Walker:
    return Walker(
        cut_out=walker.cut_out,
        x_px=walker.x_px + by_px,
        y_px=walker.y_px + by_px,
        face_width_px=walker.face_width_px,
        blur_px=walker.blur_px,
    )


def _lengthen(picture: Image, shape: PortraitShape) -> Image:
    """Repeat a row downwards below the portrait, darker and darker."""
    from PIL import Image

    pixels = np.asarray(picture)
    row = pixels[shape.repeat_row].astype(np.float32)
    shade = np.linspace(0.9, 0.4, _EXTRA_ROWS, dtype=np.float32)[:, None, None]
    return Image.fromarray(np.vstack([pixels, (row[None] * shade).astype(np.uint8)]))


def _outline(shape: PortraitShape) -> Image:
    from PIL import Image, ImageDraw, ImageFilter

    width_px, height_px = shape.size.width_px, shape.size.height_px + _EXTRA_ROWS
    mask = Image.new("L", (width_px, height_px))
    draw = ImageDraw.Draw(mask)
    draw.polygon(shape.head, fill=255)
    draw.polygon(shape.shoulders, fill=255)
    corners = zip(shape.shoulders[::2], shape.shoulders[1::2], strict=True)
    lowest = [x for x, y in corners if y == shape.size.height_px - 1]
    draw.rectangle((min(lowest), shape.size.height_px - 1, max(lowest), height_px), fill=255)
    return mask.filter(ImageFilter.GaussianBlur(4))


def _visible_part(
    corner_px: tuple[float, float], scale: float, picture: Image, limits_px: tuple[int, int]
) -> tuple[tuple[float, float, float, float], tuple[int, int, int, int]] | None:
    """Return the part of the picture that is seen, and the whole pixels of the canvas that it covers."""
    left_px, top_px = corner_px
    place = (
        max(0, int(np.ceil(left_px))),
        max(0, int(np.ceil(top_px))),
        min(limits_px[0], int(np.floor(left_px + picture.width * scale))),
        min(limits_px[1], int(np.floor(top_px + picture.height * scale))),
    )
    if place[2] <= place[0] or place[3] <= place[1]:
        return None
    area = (
        (place[0] - left_px) / scale,
        (place[1] - top_px) / scale,
        min(float(picture.width), (place[2] - left_px) / scale),
        min(float(picture.height), (place[3] - top_px) / scale),
    )
    return area, place


def _paint_backdrop(height_px: int, width_px: int, random: np.random.Generator) -> _Canvas:
    """Return a brick house front with windows, lighter towards one side, under uneven light."""
    canvas = _bricks(height_px, width_px, random)
    light = np.linspace(1.12, 0.82, width_px, dtype=np.float32)[None, :, None]
    for number in range(3):
        left = round(width_px * (0.08 + 0.33 * number))
        right, top, bottom = left + width_px // 7, height_px // 20, height_px // 2
        glass = np.linspace(150, 70, bottom - top, dtype=np.float32)[:, None, None] * np.array(
            [0.75, 0.9, 1.0], dtype=np.float32
        )
        canvas[top - 8 : bottom + 8, left - 8 : right + 8] = (205, 200, 188)
        canvas[top:bottom, left:right] = glass
        canvas[top:bottom, (left + right) // 2 - 3 : (left + right) // 2 + 3] = (205, 200, 188)
    return canvas * light * (0.85 + 0.3 * _clouds(height_px, width_px, 160, random))[..., None]


def _paint_wall(height_px: int, width_px: int, random: np.random.Generator) -> _Canvas:
    """Return the low concrete wall with its coping."""
    grain = 0.7 * _clouds(height_px, width_px, 90, random) + 0.3 * _clouds(height_px, width_px, 4, random)
    canvas = (105 + 70 * grain)[..., None] * np.array([1.0, 0.98, 0.93], dtype=np.float32)
    canvas *= np.linspace(1.0, 0.6, height_px, dtype=np.float32)[:, None, None]
    canvas[:14] *= 1.25
    canvas[14:20] *= 0.6
    canvas[:, :: width_px // 6] *= 0.55
    return canvas.astype(np.float32)


def _bricks(height_px: int, width_px: int, random: np.random.Generator) -> _Canvas:
    brick_height_px, brick_width_px, joint_px = 18, 52, 3
    rows, columns = np.arange(height_px), np.arange(width_px)
    row = rows // brick_height_px
    shifted = columns[None, :] + (row[:, None] % 2) * (brick_width_px // 2)
    tones = random.normal(1.0, 0.1, (row.max() + 1, width_px // brick_width_px + 2)).astype(np.float32)
    tone = tones[row[:, None], shifted // brick_width_px]
    is_joint = (rows % brick_height_px < joint_px)[:, None] | (shifted % brick_width_px < joint_px)
    grain = random.normal(0, 6, (height_px, width_px, 1)).astype(np.float32)
    brick = tone[..., None] * np.array([146, 92, 76], dtype=np.float32)
    wall: _Canvas = np.where(is_joint[..., None], np.array([152, 146, 136], dtype=np.float32), brick) + grain
    return wall


def _clouds(height_px: int, width_px: int, cell_px: int, random: np.random.Generator) -> _Canvas:
    """Return smooth noise, 0..1."""
    from PIL import Image

    cells = random.random((height_px // cell_px + 2, width_px // cell_px + 2)).astype(np.float32)
    smooth = Image.fromarray(cells).resize((width_px, height_px), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth, dtype=np.float32), 0, 1)
