"""From a picture to a reference: exactly one face, large enough, with its template and portrait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from appliance.errors import EnrolmentError, PictureError
from appliance.ports import Detector, Embedder, PictureCodec
from appliance.records.frames import Face, Pixels
from appliance.records.watchlist import EnrolledReference
from appliance.watchlist.quality import enrolment_measures
from appliance.watchlist.rules import MOST_REFERENCES, UNKNOWN_DATE

LEAST_FACE_WIDTH_PX = 40
"""Below this the error rates rise steeply: no reference is made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureToEnrol:
    """A picture of one person: what to call it in a report, when it was taken, how to read it."""

    label: str
    read: Callable[[], Pixels]
    captured_on: str = UNKNOWN_DATE


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedPicture:
    """A picture that gave no reference, and why."""

    label: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnrolledPictures:
    """What became of the pictures of one person; each picture is in exactly one of the two."""

    references: tuple[EnrolledReference, ...]
    refused: tuple[RefusedPicture, ...]


class Enroller:
    """Make references with one pair of networks. Thread: that of the networks.

    Args:
        detector: Finds the face.
        embedder: Makes the template; its model id goes into the list's header.
        codec: Makes the portrait that the officer will see.
        least_face_width_px: LEAST_FACE_WIDTH_PX or more.
    """

    def __init__(
        self,
        *,
        detector: Detector,
        embedder: Embedder,
        codec: PictureCodec,
        least_face_width_px: int = LEAST_FACE_WIDTH_PX,
    ) -> None:
        self._detector, self._embedder, self._codec = detector, embedder, codec
        self._measures = enrolment_measures()
        self._least_face_width_px = max(LEAST_FACE_WIDTH_PX, least_face_width_px)

    def enrol_picture(self, pixels: Pixels, captured_on: str = UNKNOWN_DATE) -> EnrolledReference:
        """Return the reference that a picture gives.

        Raises:
            EnrolmentError: No face, more than one, too small or too poor a one, or no template of it.
            PictureError: The portrait cannot be made.
        """
        face = self._only_face(pixels)
        quality = self._measures.assess(pixels, face)
        if quality.refused_for:  # what the gate on the stream would not let through either
            raise EnrolmentError(f"the face's quality is too poor: {', '.join(quality.refused_for)}")
        template = np.zeros(self._embedder.template_length, dtype=np.float32)
        self._embedder.embed(pixels, face.points, template)
        norm = float(np.linalg.norm(template))
        if not abs(norm - 1.0) <= 1e-3:  # written so that a NaN fails too
            raise EnrolmentError("no template can be made of this face")
        template.flags.writeable = False
        return EnrolledReference(
            template=template,
            portrait_jpeg=self._codec.encode_portrait(pixels, face.box),
            captured_on=captured_on,
            quality=quality.score,
        )

    def enrol_pictures(self, pictures: Sequence[PictureToEnrol]) -> EnrolledPictures:
        """Enrol each picture of one person; a bad one is refused with its reason, the others stand."""
        references: list[EnrolledReference] = []
        refused: list[RefusedPicture] = []
        for picture in pictures:
            if len(references) == MOST_REFERENCES:
                reason = f"the person has {MOST_REFERENCES} references already"
                refused.append(RefusedPicture(label=picture.label, reason=reason))
                continue
            try:
                references.append(self.enrol_picture(picture.read(), picture.captured_on))
            except (EnrolmentError, PictureError) as err:
                refused.append(RefusedPicture(label=picture.label, reason=str(err)))
        return EnrolledPictures(references=tuple(references), refused=tuple(refused))

    def _only_face(self, pixels: Pixels) -> Face:
        faces = self._detector.detect(pixels)
        if not faces:
            raise EnrolmentError("no face")
        if len(faces) > 1:
            raise EnrolmentError(f"{len(faces)} faces")
        width_px = faces[0].box.width_px
        if width_px < self._least_face_width_px:
            raise EnrolmentError(f"face {width_px:.0f} px wide, {self._least_face_width_px} needed")
        return faces[0]
