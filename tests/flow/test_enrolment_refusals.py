"""Pictures that cannot be enrolled, as central ops meets them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.flow.conftest import LISTED, MODELS, World, refused

pytestmark = pytest.mark.timeout(60)


def enrol(world: World) -> str:
    result = world.run(
        "ops", "enrol", "people", "--ops", "ops", "--pair", "centerface-dlib", "--models", str(MODELS),
        "--enroller", "E. Enroller", "--reviewer", "R. Reviewer",
    )  # fmt: skip
    return refused(result, "enrolment.refused")


def picture_path(world: World) -> Path:
    return world.path / "people" / LISTED / "portrait.jpg"


def test_a_picture_without_a_face_is_refused(world: World) -> None:
    from PIL import Image

    noise = np.random.default_rng(3).integers(90, 160, (400, 400, 3)).astype(np.uint8)
    Image.fromarray(noise).save(picture_path(world))
    assert "no face" in enrol(world)


def test_a_picture_with_two_faces_is_refused(world: World) -> None:
    from PIL import Image

    pair = Image.new("RGB", (1024, 512))
    with Image.open(MODELS / "astronaut.png") as portrait:
        for x in (0, 512):
            pair.paste(portrait.convert("RGB"), (x, 0))
    pair.save(picture_path(world))
    assert "2 faces" in enrol(world)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0 truncated"])
def test_what_is_no_picture_is_refused(world: World, data: bytes) -> None:
    picture_path(world).write_bytes(data)
    assert "portrait.jpg" in enrol(world)
