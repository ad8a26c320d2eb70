"""Run the networks on a drawn face before any camera: a cold first frame leaves most behind."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

import numpy as np

from appliance.ports import Detector, Embedder, PictureCodec, Region
from appliance.records.frames import Box, Pixels, Points

N_FRAMES = 9  # measured: from nine on, what a frame leaves no longer depends on how many went before


def warm_up(
    detector: Detector,
    embedder: Embedder,
    codec: PictureCodec,
    *,
    pixels: Pixels,
    points: Points,
    network_regions: Iterable[Region],
    own_region: Region,
) -> None:
    """Detect, embed and encode a drawn face `N_FRAMES` times. Thread: main.

    Args:
        pixels: (H, W, 3) uint8, a drawing that the detector takes for a face; nothing of a person.
        points: Its five points.
        network_regions: What the networks hold of it; zeroed at the end.
    """
    template = own_region.take((embedder.template_length,), np.float32).view(np.float32)
    height, width = pixels.shape[:2]
    box = Box(x_px=width / 4, y_px=height / 4, width_px=width / 2, height_px=height / 2)
    with own_region, ExitStack() as scopes:
        for region in network_regions:
            scopes.enter_context(region)
        for _ in range(N_FRAMES):
            detector.detect(pixels)
            embedder.embed(pixels, points, template)
            codec.encode_portrait(pixels, box)
