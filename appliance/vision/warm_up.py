"""Run the networks on a drawn face before any camera: a cold first frame leaves most behind."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

import numpy as np

from appliance.ports import Detector, Embedder, PictureCodec, Region
from appliance.records.frames import Box, Pixels, Points

N_FRAMES = 9  # measured: from nine on, what a frame leaves no longer depends on how many went before
SIDE_PX = 320


def warm_up(
    detector: Detector,
    embedder: Embedder,
    codec: PictureCodec,
    network_regions: Iterable[Region],
    own_region: Region,
) -> None:
    """Detect, embed and encode a drawn face `N_FRAMES` times; nothing of a person is in it. Thread: main."""
    pixels = draw_face(own_region)
    points = face_points()
    template = own_region.take((embedder.template_length,), np.float32).view(np.float32)
    with own_region, ExitStack() as scopes:
        for region in network_regions:
            scopes.enter_context(region)
        for _ in range(N_FRAMES):
            detector.detect(pixels)
            embedder.embed(pixels, points, template)
            codec.encode_portrait(pixels, Box(x_px=88, y_px=72, width_px=144, height_px=192))


def face_points() -> Points:
    """Return the five points of the drawn face, (5, 2) float32."""
    return np.array([[128, 140], [192, 140], [160, 178], [135, 214], [185, 214]], dtype=np.float32)


def draw_face(region: Region) -> Pixels:
    """Return a drawn face of 320 x 320 px: an oval with eyes, nose and mouth."""
    pixels = region.take((SIDE_PX, SIDE_PX, 3), np.uint8).view(np.uint8)
    pixels[:] = 90
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    _fill(pixels, ((columns - 160) / 72) ** 2 + ((rows - 168) / 96) ** 2 <= 1, (205, 165, 140))
    for x, y in face_points()[:2]:
        _fill(pixels, ((columns - x) / 15) ** 2 + ((rows - y) / 8) ** 2 <= 1, (245, 245, 245))
        _fill(pixels, (columns - x) ** 2 + (rows - y) ** 2 <= 36, (40, 30, 25))
    _fill(pixels, (abs(columns - 160) <= 8) & (abs(rows - 172) <= 14), (180, 135, 112))
    _fill(pixels, ((columns - 160) / 27) ** 2 + ((rows - 214) / 8) ** 2 <= 1, (150, 70, 70))
    return pixels


def _fill(pixels: Pixels, mask: np.typing.NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    pixels[mask] = colour
