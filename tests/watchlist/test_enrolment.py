"""From pictures to references."""

from __future__ import annotations

import numpy as np
import pytest

from appliance.errors import EnrolmentError, PictureError
from appliance.quality import FaceMeasures
from appliance.records.frames import Face, Pixels, Points, Template
from appliance.watchlist.enrolment import Enroller, PictureToEnrol
from appliance.watchlist.quality import OwnBuffers
from appliance.watchlist.rules import MOST_REFERENCES
from drivers.pictures import PillowCodec
from tests.fakes.networks import FakeDetector, FakeEmbedder, make_face, unit
from tests.fakes.region import FakeRegion

# Blotches: noise from pixel to pixel is no detail.
PICTURE: Pixels = (
    np.random.default_rng(7).integers(20, 235, (80, 80, 3), dtype=np.uint8).repeat(5, 0).repeat(5, 1)
)


def make_enroller(*faces: Face, template: Template | None = None) -> Enroller:
    def template_of(pixels: Pixels, points: Points) -> Template:
        return unit(1.0, 2.0) if template is None else template

    return Enroller(
        detector=FakeDetector(faces, FakeRegion()),
        embedder=FakeEmbedder(template_of, FakeRegion()),
        codec=PillowCodec(),
    )


def test_one_face_gives_a_reference() -> None:
    reference = make_enroller(make_face()).enrol_picture(PICTURE, "2026-11-01")
    np.testing.assert_array_equal(reference.template, unit(1.0, 2.0))
    assert reference.portrait_jpeg.startswith(b"\xff\xd8\xff")
    assert reference.captured_on == "2026-11-01"
    assert 0 <= reference.quality <= 100


def test_picture_without_a_face_is_refused() -> None:
    with pytest.raises(EnrolmentError, match="no face"):
        make_enroller().enrol_picture(PICTURE)


def test_picture_with_two_faces_is_refused() -> None:
    with pytest.raises(EnrolmentError, match="2 faces"):
        make_enroller(make_face(), make_face(x_px=300, width_px=41)).enrol_picture(PICTURE)


def test_face_below_40_px_is_refused() -> None:
    make_enroller(make_face(width_px=40)).enrol_picture(PICTURE)
    with pytest.raises(EnrolmentError, match="40 needed"):
        make_enroller(make_face(width_px=39.4)).enrol_picture(PICTURE)


def test_least_width_cannot_be_lowered() -> None:
    enroller = Enroller(
        detector=FakeDetector([make_face(width_px=30)], FakeRegion()),
        embedder=FakeEmbedder(lambda pixels, points: unit(1.0), FakeRegion()),
        codec=PillowCodec(),
        least_face_width_px=10,
    )
    with pytest.raises(EnrolmentError, match="40 needed"):
        enroller.enrol_picture(PICTURE)


@pytest.mark.parametrize("value", [0.0, float("nan"), 2.0])
def test_template_without_unit_length_is_refused(value: float) -> None:
    template = np.zeros(8, dtype=np.float32)
    template[0] = value
    with pytest.raises(EnrolmentError, match="template"):
        make_enroller(make_face(), template=template).enrol_picture(PICTURE)


def test_bad_picture_is_reported_and_the_others_stand() -> None:
    def broken() -> Pixels:
        raise PictureError("damaged")

    result = make_enroller(make_face()).enrol_pictures(
        [
            PictureToEnrol(label="one", read=lambda: PICTURE),
            PictureToEnrol(label="two", read=broken),
            PictureToEnrol(label="three", read=lambda: PICTURE),
        ]
    )
    assert len(result.references) == 2
    assert [(refused.label, refused.reason) for refused in result.refused] == [("two", "damaged")]


def test_pictures_above_the_limit_are_reported() -> None:
    pictures = [PictureToEnrol(label=str(n), read=lambda: PICTURE) for n in range(MOST_REFERENCES + 2)]
    result = make_enroller(make_face()).enrol_pictures(pictures)
    assert len(result.references) == MOST_REFERENCES
    assert [refused.label for refused in result.refused] == ["10", "11"]


def test_quality_rises_with_width_and_is_the_appliance_s_own() -> None:
    wide, narrow = make_face(width_px=140), make_face(width_px=45)
    qualities = [make_enroller(each).enrol_picture(PICTURE).quality for each in (wide, narrow)]
    assert qualities[0] > qualities[1]
    assert qualities[0] == FaceMeasures(FakeRegion()).assess(PICTURE, wide).score


def test_a_face_of_which_the_gate_would_make_nothing_is_refused_with_its_reason() -> None:
    with pytest.raises(EnrolmentError, match="quality is too poor: Sharpness"):
        make_enroller(make_face()).enrol_picture(np.full_like(PICTURE, 128))


def test_a_face_outside_the_picture_is_refused() -> None:
    with pytest.raises(EnrolmentError, match="FaceOcclusionPrevention"):
        make_enroller(make_face(x_px=900, y_px=900)).enrol_picture(PICTURE)


def test_a_picture_leaves_nothing_in_ops_buffers() -> None:
    buffers = OwnBuffers()
    FaceMeasures(buffers).assess(PICTURE, make_face())
    assert not any(array.any() for array in buffers._arrays)
