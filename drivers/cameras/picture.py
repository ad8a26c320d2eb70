"""Bring a decoded picture into a ring slot as RGB, and leave no second copy of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from appliance.errors import CameraSourceError
from appliance.records.frames import PictureSize

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter

LEAST_SIDE_PX = 16
"""A picture with a shorter side holds no face; it is a mistake or a trap."""


class PictureWriter:
    """Convert pictures to RGB with libswscale. Thread: the process's own.

    libswscale cannot be told where to write: it converts into a frame of its own, whose rows are copied into
    the slot and which is zeroed before it is freed. (`to_ndarray` would leave a third copy behind.) The
    decoder's own picture stays as it is: later pictures refer to it.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter: VideoReformatter = VideoReformatter()

    def write(self, picture: VideoFrame, slot: npt.NDArray[np.uint8] | None) -> PictureSize:
        """Write the picture's rows into the first H*W*3 bytes of the slot, turned upright.

        Raises:
            CameraSourceError: The picture is larger than the slot, or too small to hold a face.
        """
        n_quarter_turns = (
            round(picture.rotation / 90) % 4
        )  # counter-clockwise, from the file's display matrix
        width_px, height_px = picture.width, picture.height
        if n_quarter_turns % 2:
            width_px, height_px = height_px, width_px
        size = PictureSize(width_px=width_px, height_px=height_px)
        check_room(size, slot)
        if slot is None:
            return size
        length_bytes = width_px * height_px * 3
        # One thread: libswscale's others would keep buffers of their own.
        converted = self._reformatter.reformat(picture, format="rgb24", threads=1)
        plane = np.frombuffer(memoryview(converted.planes[0]), dtype=np.uint8)
        rows = plane.reshape(picture.height, -1)[:, : picture.width * 3]
        upright = np.rot90(rows.reshape(picture.height, picture.width, 3), n_quarter_turns)
        np.copyto(slot[:length_bytes].reshape(height_px, width_px, 3), upright)
        if converted is not picture:  # a codec that is RGB already gives its own picture, which it may need
            plane.fill(0)
        return size


def check_room(size: PictureSize, slot: npt.NDArray[np.uint8] | None) -> None:
    """Refuse a picture that is larger than the slot, or too small to hold a face, as CameraSourceError."""
    shown = f"{size.width_px} x {size.height_px} px"
    if min(size.width_px, size.height_px) < LEAST_SIDE_PX:
        raise CameraSourceError(f"pictures of {shown} are too small to hold a face")
    length_bytes = size.width_px * size.height_px * 3
    if slot is not None and length_bytes > len(slot):
        raise CameraSourceError(f"pictures of {shown} need {length_bytes} bytes; a slot has {len(slot)}")
