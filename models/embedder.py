"""Make templates with an ONNX network: the Embedder port."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from appliance.errors import ModelMismatchError, PictureError
from appliance.ports import Region
from appliance.records.frames import Pixels, Points, Template
from appliance.records.ids import ModelId
from models.alignment import CHIP_POINTS, crop_bounds, fit_similarity, sampling_rows
from models.detector import check_pixels
from models.manifest import ModelEntry
from models.runner import Runner

_ALIGNMENT_BYTES = 64


def embedder_bytes(entry: ModelEntry, *, largest_frame_bytes: int) -> int:
    """Return how much an embedder takes from its region, alignment included."""
    return largest_frame_bytes + 4 * (6 + entry.template_length) + 3 * _ALIGNMENT_BYTES


class OnnxEmbedder:
    """Implement the Embedder port. Thread: gpu."""

    def __init__(
        self, entry: ModelEntry, runner: Runner, *, region: Region, largest_frame_bytes: int
    ) -> None:
        """Take the buffers.

        Args:
            entry: What the manifest says of the model.
            runner: With the model loaded; this embedder's own.
            region: Given to this embedder alone: it is zeroed at the end of every `embed`.
            largest_frame_bytes: H * W * 3 of the largest picture: a face may fill it.
        """
        self._entry = entry
        self._runner = runner
        self._region = region
        self._targets = CHIP_POINTS[entry.preprocessing.chip_points]
        self._crop = cast(npt.NDArray[np.uint8], region.take((largest_frame_bytes,), np.uint8))
        self._theta = cast(npt.NDArray[np.float32], region.take((1, 2, 3), np.float32))
        self._template = cast(npt.NDArray[np.float32], region.take((1, entry.template_length), np.float32))
        runner.bind_input("theta", self._theta)
        runner.bind_output("template", self._template)

    @property
    def model_id(self) -> ModelId:
        """Name the model; templates of two models are never compared."""
        return ModelId(self._entry.id)

    @property
    def template_length(self) -> int:
        """Return D."""
        return self._entry.template_length

    def embed(self, pixels: Pixels, points: Points, out: Template) -> None:
        """Align the face at `points` and write its template into `out`.

        Only the part of the picture that the chip needs is copied, so the cost does not grow with the
        picture.

        Args:
            pixels: (H, W, 3) uint8 RGB, any strides.
            points: (5, 2) x, y in pixels, in the order of the Points type.
            out: (D,) float32, filled with unit L2 norm.

        Raises:
            PictureError: Larger than was said, or the points are degenerate or outside the picture.
            ModelMismatchError: `out` has another length or type.

        Blocks: 3 to 7 ms on one x86-64 thread; dlib takes a third longer than MobileFaceNet.
        """
        check_pixels(pixels, self._crop.nbytes)
        if out.shape != (self.template_length,) or out.dtype != np.float32:
            raise ModelMismatchError(f"a template of {self._entry.id} is ({self.template_length},) float32")
        if points.shape != (5, 2):
            raise PictureError("a face has five points")
        height_px, width_px = pixels.shape[:2]
        chip_px = self._entry.preprocessing.chip_px
        places = [complex(float(x), float(y)) for x, y in points]
        to_picture = fit_similarity(places, self._targets).inverted()
        bounds = crop_bounds(to_picture, chip_px, width_px, height_px)
        with self._region:
            part = pixels[bounds.top : bounds.bottom, bounds.left : bounds.right]
            crop = self._crop[: part.size].reshape(part.shape)
            np.copyto(crop, part)
            for i, row in enumerate(sampling_rows(to_picture, bounds)):
                for j, value in enumerate(row):
                    self._theta[0, i, j] = value
            self._runner.bind_input("crop", crop.reshape(1, *crop.shape))
            self._runner.run()
            np.copyto(out, self._template[0])
