"""Which faces may be embedded at all: small ones cannot be told apart, so they are never searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.records.frames import Face


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeGate:
    """Let faces pass that are at least so wide."""

    least_face_width_px: int

    def choose(self, faces: Sequence[Face], *, most: int) -> tuple[list[int], int]:
        """Return the positions of the faces to embed, widest first, and how many were too small."""
        wide = [n for n, face in enumerate(faces) if face.box.width_px >= self.least_face_width_px]
        wide.sort(key=lambda n: -faces[n].box.width_px)
        return wide[:most], len(faces) - len(wide)
