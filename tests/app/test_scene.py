"""The demonstration's film and its truth, with drawn portraits in place of the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from appliance.app.demo.scene import (
    TOLERANCE_S,
    Truth,
    TruthFace,
    TruthScene,
    load_truth,
    make_scene_video,
)
from appliance.app.demo.scene_video import PORTRAIT_SHAPES, CutOut
from appliance.errors import EndOfStreamError, PictureError, RecordError, StorageError, UsageError
from appliance.records.frames import Box, PictureSize
from drivers.cameras.file_camera import FileCamera
from tests.fakes.clock import FakeClock

SIZE = PictureSize(width_px=640, height_px=360)
N_FRAMES = 40
FACE = Box(x_px=100, y_px=50, width_px=40, height_px=50)


def draw_portrait(path: Path, colour: tuple[int, int, int]) -> Path:
    """Draw a grey portrait whose face box is of one colour."""
    from PIL import Image, ImageDraw

    shape = PORTRAIT_SHAPES[path.stem]
    picture = Image.new("RGB", (shape.size.width_px, shape.size.height_px), (90, 90, 90))
    face = shape.face
    corners = (face.x_px, face.y_px, face.x_px + face.width_px, face.y_px + face.height_px)
    ImageDraw.Draw(picture).rectangle(corners, fill=colour)
    picture.save(path)
    return path


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("portraits")
    return {
        "Ada": draw_portrait(folder / "astronaut.png", (0, 250, 0)),
        "Grace": draw_portrait(folder / "grace_hopper.jpg", (0, 0, 250)),
    }


def make(folder: Path, portraits: dict[str, Path], seed: int = 1) -> tuple[Path, Truth]:
    film, truth = folder / "film.mp4", folder / "truth.jsonl"
    make_scene_video(
        film, portraits, truth, seed=seed, seconds=4, width=640, height=360, fps=10, progress=lambda _: None
    )
    return film, load_truth(truth)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, portraits: dict[str, Path]) -> tuple[Path, Truth]:
    return make(tmp_path_factory.mktemp("film"), portraits)


def frames_of(film: Path) -> list[npt.NDArray[np.uint8]]:
    camera = FileCamera(film, "fast", FakeClock())
    camera.open()
    frames = []
    slot = np.zeros(640 * 360 * 3, np.uint8)
    try:
        while camera.read_into(slot, 1.0):
            frames.append(slot.reshape(360, 640, 3).copy())
    except EndOfStreamError:
        camera.close()
    return frames


def truth_of(*faces: TruthFace) -> Truth:
    scene = TruthScene(width_px=640, height_px=360, fps=25, n_frames=300)
    return Truth(scene=scene, faces=faces)


def test_face_is_where_the_truth_says(film: tuple[Path, Truth]) -> None:
    frames = frames_of(film[0])
    assert len(frames) == N_FRAMES == film[1].scene.n_frames
    colours = {"Ada": 1, "Grace": 2}
    n_checked = 0
    for face in film[1].faces:
        frame, box = frames[face.frame_number], face.box
        for x, y in ((0.5, 0.5), (0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8)):
            column, row = round(box.x_px + x * box.width_px), round(box.y_px + y * box.height_px)
            if 0 <= column < 640:
                assert frame[row, column].argmax() == colours[face.name], (face, x, y)
                n_checked += 1
    assert n_checked > 100


def test_people_come_near_and_are_seen_together_on_different_sides(film: tuple[Path, Truth]) -> None:
    faces = film[1].faces
    widths = [face.box.width_px for face in faces]
    assert min(widths) <= 60 / 2  # the film has half of 720 lines
    assert max(widths) >= 145 / 2
    together = [
        (left.box.x_px, right.box.x_px)
        for left in faces
        for right in faces
        if left.name == "Grace" and right.name == "Ada" and left.frame_number == right.frame_number
    ]
    assert together
    assert all(left < 320 < right for left, right in together)


def test_nobody_is_there_at_the_beginning_and_at_the_end(film: tuple[Path, Truth]) -> None:
    numbers = {face.frame_number for face in film[1].faces}
    assert 0 not in numbers
    assert N_FRAMES - 1 not in numbers


def test_light_and_noise_change(film: tuple[Path, Truth]) -> None:
    corners = [frame[-40:, :40].astype(np.float64) for frame in frames_of(film[0])]
    assert max(corner.mean() for corner in corners) > 1.2 * min(corner.mean() for corner in corners)
    assert np.abs(corners[0] - corners[1]).mean() > 0.5


def test_same_seed_makes_the_same_film(
    film: tuple[Path, Truth], tmp_path: Path, portraits: dict[str, Path]
) -> None:
    again, truth = make(tmp_path, portraits)
    assert again.read_bytes() == film[0].read_bytes()
    assert truth == film[1]
    other, _ = make(tmp_path, portraits, seed=2)
    assert other.read_bytes() != film[0].read_bytes()


def test_one_person_is_enough_and_progress_is_told(tmp_path: Path, portraits: dict[str, Path]) -> None:
    told: list[float] = []
    make_scene_video(
        tmp_path / "film.mp4",
        {"Grace": portraits["Grace"]},
        tmp_path / "truth.jsonl",
        seed=1,
        seconds=1,
        width=128,
        height=128,
        fps=5,
        progress=told.append,
    )
    assert told == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert {face.name for face in load_truth(tmp_path / "truth.jsonl").faces} == {"Grace"}


def test_person_is_found_by_place_and_time() -> None:
    truth = truth_of(TruthFace(frame_number=25, media_time_s=1.0, name="Ada", box=FACE))
    assert truth.person_at(1.0, FACE, SIZE) == "Ada"
    assert truth.person_at(1.0 + TOLERANCE_S, FACE, SIZE) == "Ada"
    assert truth.person_at(1.0 + TOLERANCE_S + 0.01, FACE, SIZE) is None
    assert truth.person_at(1.0 - TOLERANCE_S - 0.01, FACE, SIZE) is None
    elsewhere = Box(x_px=400, y_px=50, width_px=40, height_px=50)
    assert truth.person_at(1.0, elsewhere, SIZE) is None
    assert truth.person_at(1.0, Box(x_px=0, y_px=0, width_px=640, height_px=360), SIZE) is None
    assert truth.person_at(1.0, Box(x_px=100, y_px=50, width_px=0, height_px=0), SIZE) is None


def test_highest_overlap_wins() -> None:
    beside = Box(x_px=120, y_px=50, width_px=40, height_px=50)
    truth = truth_of(
        TruthFace(frame_number=25, media_time_s=1.0, name="Grace", box=beside),
        TruthFace(frame_number=25, media_time_s=1.0, name="Ada", box=FACE),
    )
    near_first = Box(x_px=105, y_px=50, width_px=40, height_px=50)
    near_second = Box(x_px=116, y_px=50, width_px=40, height_px=50)
    assert truth.person_at(1.0, near_first, SIZE) == "Ada"
    assert truth.person_at(1.0, near_second, SIZE) == "Grace"


def test_box_of_a_reduced_frame_is_scaled() -> None:
    truth = truth_of(TruthFace(frame_number=25, media_time_s=1.0, name="Ada", box=FACE))
    half = Box(x_px=50, y_px=25, width_px=20, height_px=25)
    assert truth.person_at(1.0, half, PictureSize(width_px=320, height_px=180)) == "Ada"
    assert truth.person_at(1.0, half, SIZE) is None


def test_portrait_that_is_not_the_demonstrations_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (512, 512)).save(tmp_path / "somebody.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "astronaut.png")
    (tmp_path / "grace_hopper.jpg").write_text("not a picture")
    for name, reason in (
        ("somebody.png", "none of the demonstration's"),
        ("astronaut.png", "not the portrait"),
        ("grace_hopper.jpg", "cannot be read"),
        ("missing/astronaut.png", "cannot be read"),
    ):
        with pytest.raises(PictureError, match=reason):
            CutOut(tmp_path / name)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"width": 641}, "even"),
        ({"height": 64}, "from 128 on"),
        ({"seconds": 0}, "0 frames"),
        ({"portraits": {}}, "one or two"),
        ({"portraits": {"a": Path("a"), "b": Path("b"), "c": Path("c")}}, "one or two"),
    ],
)
def test_film_that_cannot_be_made_is_refused(
    tmp_path: Path, portraits: dict[str, Path], changed: dict[str, object], reason: str
) -> None:
    usual: dict[str, object] = {"portraits": portraits, "seed": 1, "seconds": 1, "width": 640, "height": 360}
    with pytest.raises(UsageError, match=reason):
        make_scene_video(
            tmp_path / "film.mp4",
            truth_path=tmp_path / "truth.jsonl",
            **{**usual, **changed},  # type: ignore[arg-type]  # of mixed types
        )
    assert not (tmp_path / "film.mp4").exists()


def test_film_that_cannot_be_written_is_told(tmp_path: Path, portraits: dict[str, Path]) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        make(tmp_path / "missing", portraits)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage\n",
        b'{"width_px":640,"height_px":360,"fps":25}\n',
        b'{"width_px":0,"height_px":360,"fps":25,"n_frames":1}\n',
        b'{"width_px":640,"height_px":360,"fps":25,"n_frames":1}\n{"frame_number":"x"}\n',
        b'{"width_px":640,"height_px":360,"fps":25,"n_frames":1}\n' + b"x" * 2000,
    ],
)
def test_damaged_truth_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "truth.jsonl").write_bytes(content)
    with pytest.raises(RecordError):
        load_truth(tmp_path / "truth.jsonl")


def test_missing_truth_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        load_truth(tmp_path / "truth.jsonl")
