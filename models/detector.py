"""Find faces with an ONNX detector: the Detector port."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from appliance.errors import PictureError
from appliance.ports import Region
from appliance.records.frames import Box, Face, Pixels
from appliance.records.ids import ModelId
from models.decode import (
    CENTERFACE_OUTPUTS,
    YUNET_OUTPUTS,
    YUNET_STRIDES_PX,
    Detections,
    Floats,
    decode_centerface,
    decode_yunet,
)
from models.letterbox import Letterbox, check_detector_size, fit_letterbox
from models.manifest import ModelEntry
from models.runner import Runner

_ALIGNMENT_BYTES = 64


def detector_bytes(entry: ModelEntry, *, width_px: int, height_px: int, largest_frame_bytes: int) -> int:
    """Return how much a detector takes from its region, alignment included."""
    shapes = _output_shapes(entry, width_px, height_px).values()
    maps = sum(4 * int(np.prod(shape)) + _ALIGNMENT_BYTES for shape in shapes)
    return maps + largest_frame_bytes + _ALIGNMENT_BYTES


class OnnxDetector:
    """Implement the Detector port. Thread: gpu."""

    def __init__(
        self,
        entry: ModelEntry,
        runner: Runner,
        *,
        region: Region,
        width_px: int,
        height_px: int,
        largest_frame_bytes: int,
    ) -> None:
        """Take the buffers.

        Args:
            entry: What the manifest says of the model.
            runner: With the model loaded; this detector's own.
            region: Given to this detector alone: it is zeroed at the end of every `detect`.
            width_px, height_px: The picture that the network sees, multiples of 32.
            largest_frame_bytes: H * W * 3 of the largest picture that will come.

        Raises:
            ConfigError: The size is not a multiple of 32.
        """
        check_detector_size(width_px, height_px)
        self._entry = entry
        self._runner = runner
        self._region = region
        self._width_px = width_px
        self._height_px = height_px
        self._frame = cast(npt.NDArray[np.uint8], region.take((largest_frame_bytes,), np.uint8))
        self._maps: dict[str, Floats] = {}
        for name, shape in _output_shapes(entry, width_px, height_px).items():
            self._maps[name] = cast(Floats, region.take(shape, np.float32))
            runner.bind_output(name, self._maps[name])

    @property
    def model_id(self) -> ModelId:
        """Name the model."""
        return ModelId(self._entry.id)

    def detect(self, pixels: Pixels) -> list[Face]:
        """Return the faces, best first, in pixels of the picture given.

        Args:
            pixels: (H, W, 3) uint8 RGB; C-contiguous ones are read where they are, others are copied into
                the region first.

        Raises:
            PictureError: Not such an array, or larger than was said.

        Blocks: 25 to 40 ms (CenterFace) or 6 ms (YuNet s) at 640x384 on one x86-64 thread.
        """
        check_pixels(pixels, self._frame.nbytes)
        height_px, width_px = pixels.shape[:2]
        box = fit_letterbox(width_px, height_px, self._width_px, self._height_px)
        with self._region:
            if not pixels.flags.c_contiguous:
                copy = self._frame[: pixels.size].reshape(pixels.shape)
                np.copyto(copy, pixels)
                pixels = copy
            self._bind_frame(pixels, box)
            self._runner.run()
            found = self._decode()
        return _as_faces(found, box)

    def _bind_frame(self, pixels: Pixels, box: Letterbox) -> None:
        resized = np.array([1, box.resized_height_px, box.resized_width_px, 3], np.int64)
        down, right = self._height_px - box.resized_height_px, self._width_px - box.resized_width_px
        self._runner.bind_input("frame", pixels.reshape(1, *pixels.shape))
        self._runner.bind_input("resized", resized)
        self._runner.bind_input("pads", np.array([0, 0, 0, 0, 0, down, right, 0], np.int64))

    def _decode(self) -> Detections:
        threshold = self._entry.detection_threshold
        if self._entry.converter == "centerface":
            return decode_centerface(self._maps, threshold)
        return decode_yunet(self._maps, threshold, self._width_px)


def check_pixels(pixels: Pixels, largest_bytes: int) -> None:
    """Raise PictureError unless it is a (H, W, 3) uint8 picture of at most so many bytes."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise PictureError("a picture is (H, W, 3) uint8")
    if pixels.size > largest_bytes:
        raise PictureError(f"the picture has {pixels.size} bytes, {largest_bytes} were planned")


def _output_shapes(entry: ModelEntry, width_px: int, height_px: int) -> dict[str, tuple[int, ...]]:
    if entry.converter == "centerface":
        cells = (height_px // 4, width_px // 4)
        return {name: (1, n_channels, *cells) for name, n_channels in CENTERFACE_OUTPUTS.values()}
    return {
        f"{kind}_{stride}": (1, (height_px // stride) * (width_px // stride), length)
        for kind, length in YUNET_OUTPUTS.items()
        for stride in YUNET_STRIDES_PX
    }


def _as_faces(found: Detections, letterbox: Letterbox) -> list[Face]:
    scale = np.array([letterbox.scale_x, letterbox.scale_y], np.float32)
    points = found.points / scale
    points.setflags(write=False)
    faces = []
    for box, five, score in zip(found.boxes, points, found.scores, strict=True):
        x_px, y_px, width_px, height_px = (float(v) for v in box)
        faces.append(
            Face(
                box=Box(
                    x_px=x_px / letterbox.scale_x,
                    y_px=y_px / letterbox.scale_y,
                    width_px=width_px / letterbox.scale_x,
                    height_px=height_px / letterbox.scale_y,
                ),
                points=five,
                detection_score=float(score),
            )
        )
    return faces
