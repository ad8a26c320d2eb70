"""The networks that enrolment needs, and how it reads a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appliance.records.frames import Pixels
from appliance.records.ids import ModelId
from appliance.watchlist.enrolment import Enroller
from drivers.arena import Arena
from drivers.pictures import PillowCodec, read_picture
from models.pairs import open_pair, pair_bytes

LONGEST_SIDE_PX = 1600
"""Larger pictures are reduced to this; a face in them stays far above the width that is needed."""
DETECTOR_SIDE_PX = 640
_SPARE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnrolmentNetworks:
    """An enroller, and what the list's header says of the networks behind it."""

    enroller: Enroller
    model_id: ModelId
    template_length: int


def open_networks(pair: str, models_folder: Path) -> EnrolmentNetworks:
    """Load a pair for enrolment; errors as `models.pairs.open_pair`. Blocks for about half a second."""
    largest_frame_bytes = LONGEST_SIDE_PX * LONGEST_SIDE_PX * 3
    room = pair_bytes(
        pair,
        detector_width_px=DETECTOR_SIDE_PX,
        detector_height_px=DETECTOR_SIDE_PX,
        largest_frame_bytes=largest_frame_bytes,
    )
    arena = Arena(room.detector_bytes + room.embedder_bytes + _SPARE_BYTES)
    opened = open_pair(
        pair,
        models_folder,
        detector_region=arena.region(),
        embedder_region=arena.region(),
        detector_width_px=DETECTOR_SIDE_PX,
        detector_height_px=DETECTOR_SIDE_PX,
        largest_frame_bytes=largest_frame_bytes,
        threads=2,
    )
    return EnrolmentNetworks(
        enroller=Enroller(detector=opened.detector, embedder=opened.embedder, codec=PillowCodec()),
        model_id=opened.embedder.model_id,
        template_length=opened.embedder.template_length,
    )


def read_enrolment_picture(path: Path) -> Pixels:
    """Return a picture, reduced to what the networks take; PictureError otherwise."""
    return read_picture(path, longest_side_px=LONGEST_SIDE_PX)
