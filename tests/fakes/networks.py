"""Networks that a test scripts: the detector finds what it is told, the embedder writes what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from appliance.ports import Region
from appliance.records.frames import Box, Face, Pixels, Points, Template
from appliance.records.ids import ModelId


def make_face(x_px: float = 100, y_px: float = 100, width_px: float = 60) -> Face:
    """Return a face with plausible points."""
    box = Box(x_px=x_px, y_px=y_px, width_px=width_px, height_px=width_px * 1.3)
    inside = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    points = inside * [box.width_px, box.height_px] + [x_px, y_px]
    return Face(box=box, points=points.astype(np.float32), detection_score=0.9)


def unit(*values: float, length: int = 8) -> Template:
    """Return a unit template whose first elements are these."""
    vector = np.zeros(length, dtype=np.float32)
    vector[: len(values)] = values
    template: Template = (vector / np.linalg.norm(vector)).astype(np.float32)
    return template


class FakeDetector:
    """Implement the Detector port; `region` stands for what a network keeps of the frame."""

    def __init__(self, faces: Sequence[Face] | Callable[[Pixels], list[Face]], region: Region) -> None:
        self._faces = faces
        self._memory = region.take((64,), np.uint8)

    @property
    def model_id(self) -> ModelId:
        return ModelId("fake-detector")

    def detect(self, pixels: Pixels) -> list[Face]:
        self._memory[:] = pixels.reshape(-1)[:64]
        return self._faces(pixels) if callable(self._faces) else list(self._faces)


class FakeEmbedder:
    """Implement the Embedder port with a template that the test chooses by the face's points."""

    def __init__(self, template_of: Callable[[Pixels, Points], Template], region: Region) -> None:
        self._template_of = template_of
        self._memory = region.take((64,), np.uint8)

    @property
    def model_id(self) -> ModelId:
        return ModelId("fake-embedder")

    @property
    def template_length(self) -> int:
        return 8

    def embed(self, pixels: Pixels, points: Points, out: Template) -> None:
        self._memory[:] = pixels.reshape(-1)[:64]
        out[:] = self._template_of(pixels, points)
