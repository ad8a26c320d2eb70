"""Which faces may be embedded at all: those in the zone of recognition and wide enough to be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.records.frames import Face, PictureSize
from appliance.vision.zone import Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedFaces:
    """The faces of a frame, told apart: `inside` are in the zone, `wide` may be embedded, widest first.

    Both are positions in the list of faces; `wide` is a part of `inside`.
    """

    inside: tuple[int, ...]
    wide: tuple[int, ...]
    n_outside: int
    n_too_small: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeGate:
    """Let faces pass whose centre lies in the zone and that are at least so wide."""

    least_face_width_px: int
    zone: Zone = field(default_factory=Zone)

    def choose(self, faces: Sequence[Face], size: PictureSize) -> GatedFaces:
        """Return which faces of a frame to follow and which of them may be embedded."""
        inside = [n for n, face in enumerate(faces) if self.zone.has_centre_of(face.box, size)]
        wide = [n for n in inside if faces[n].box.width_px >= self.least_face_width_px]
        n_too_small = len(inside) - len(wide)
        wide.sort(key=lambda n: -faces[n].box.width_px)
        return GatedFaces(
            inside=tuple(inside),
            wide=tuple(wide),
            n_outside=len(faces) - len(inside),
            n_too_small=n_too_small,
        )
