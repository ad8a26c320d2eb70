"""What a pair finds and tells apart, and what it leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from appliance.errors import (
    ConfigError,
    ModelIntegrityError,
    ModelMismatchError,
    PictureError,
    ProcessSettingsError,
    UsageError,
)
from appliance.records.frames import Pixels
from models.manifest import Manifest
from models.pairs import ModelPair, open_pair, operating_points_of, pair_bytes
from models.runner_onnx import OnnxRunner
from models.store import load_model
from models.synthetic import synthetic_face, synthetic_points
from tests.fakes.region import FakeRegion
from tests.models.conftest import embed_main_face


def test_default_pair_finds_both_portraits(default_pair: ModelPair, portraits: tuple[Pixels, Pixels]) -> None:
    _assert_finds_both(default_pair, portraits)


def test_better_pair_finds_both_portraits(better_pair: ModelPair, portraits: tuple[Pixels, Pixels]) -> None:
    _assert_finds_both(better_pair, portraits)


def _assert_finds_both(pair: ModelPair, portraits: tuple[Pixels, Pixels]) -> None:
    eyes = ((np.array([202, 103]), np.array([247, 103])), (np.array([225, 195]), np.array([310, 195])))
    for pixels, (left_eye, right_eye) in zip(portraits, eyes, strict=True):
        faces = pair.detector.detect(pixels)
        assert len(faces) == 1
        assert np.linalg.norm(faces[0].points[0] - left_eye) < 10
        assert np.linalg.norm(faces[0].points[1] - right_eye) < 10
        box = faces[0].box
        inside = faces[0].points - [box.x_px, box.y_px]
        assert ((inside > 0) & (inside < [box.width_px, box.height_px])).all()


def test_picture_without_a_face_has_none(default_pair: ModelPair) -> None:
    assert default_pair.detector.detect(np.full((240, 320, 3), 127, np.uint8)) == []


def test_same_picture_twice_gives_the_same_template(
    default_pair: ModelPair, portraits: tuple[Pixels, Pixels]
) -> None:
    first, second = (embed_main_face(default_pair, portraits[0]) for _ in range(2))
    assert float(first @ second) > 0.9999
    assert abs(float(np.linalg.norm(first)) - 1) < 1e-5


def test_dlib_tells_the_portraits_apart(default_pair: ModelPair, portraits: tuple[Pixels, Pixels]) -> None:
    score = float(embed_main_face(default_pair, portraits[0]) @ embed_main_face(default_pair, portraits[1]))
    assert score == pytest.approx(0.8934, abs=0.005)
    assert score < min(p.threshold for p in default_pair.operating_points)


def test_mobilefacenet_tells_the_portraits_apart(
    better_pair: ModelPair, portraits: tuple[Pixels, Pixels]
) -> None:
    score = float(embed_main_face(better_pair, portraits[0]) @ embed_main_face(better_pair, portraits[1]))
    assert score == pytest.approx(0.126, abs=0.02)


def test_template_does_not_depend_on_the_rest_of_the_frame(
    default_pair: ModelPair, portraits: tuple[Pixels, Pixels]
) -> None:
    face = default_pair.detector.detect(portraits[0])[0]
    frame = np.zeros((720, 1280, 3), np.uint8)
    frame[100:612, 500:1012] = portraits[0]
    alone, within = np.zeros(128, np.float32), np.zeros(128, np.float32)
    default_pair.embedder.embed(portraits[0], face.points, alone)
    default_pair.embedder.embed(frame, face.points + np.array([500, 100], np.float32), within)
    assert float(alone @ within) > 0.99999


def test_view_with_strides_is_read_as_its_copy(
    better_pair: ModelPair, portraits: tuple[Pixels, Pixels]
) -> None:
    frame = np.zeros((600, 700, 3), np.uint8)
    frame[:512, 100:612] = portraits[0]
    view = frame[:512, 100:612]
    assert not view.flags.c_contiguous
    here, there = better_pair.detector.detect(view)[0], better_pair.detector.detect(portraits[0])[0]
    np.testing.assert_array_equal(here.points, there.points)


def test_read_only_frame_is_read_where_it_is(
    better_pair: ModelPair, portraits: tuple[Pixels, Pixels]
) -> None:
    frame = portraits[0].copy()
    frame.setflags(write=False)
    assert len(better_pair.detector.detect(frame)) == 1


def test_drawn_face_is_found(default_pair: ModelPair, better_pair: ModelPair) -> None:
    for pair in (default_pair, better_pair):
        faces = pair.detector.detect(synthetic_face())
        assert len(faces) == 1
        assert np.abs(faces[0].points - synthetic_points()).max() < 15


def test_regions_are_cleared_after_each_call(model_folder: Path, portraits: tuple[Pixels, Pixels]) -> None:
    regions = (FakeRegion(), FakeRegion())
    pair = _open(model_folder, regions)
    view = portraits[0][:, ::-1]
    faces = pair.detector.detect(view)
    assert regions[0].n_clears == 1
    embedded = np.zeros(128, np.float32)
    pair.embedder.embed(view, faces[0].points, embedded)
    assert regions[1].n_clears == 1
    assert embedded.any()
    assert not any(array.any() for region in regions for array in region.arrays)


def test_regions_are_cleared_when_a_face_is_refused(model_folder: Path) -> None:
    regions = (FakeRegion(), FakeRegion())
    pair = _open(model_folder, regions)
    out = np.zeros(128, np.float32)
    with pytest.raises(PictureError):
        pair.embedder.embed(np.full((99, 99, 3), 9, np.uint8), np.ones((5, 2), np.float32), out)
    assert not any(array.any() for array in regions[1].arrays)


def test_pair_takes_no_more_than_it_says(model_folder: Path, better_folder: Path) -> None:
    for name in ("centerface-dlib", "yunet-mobilefacenet"):
        regions = (FakeRegion(), FakeRegion())
        _open(model_folder, regions, name)
        said = pair_bytes(
            name, detector_width_px=640, detector_height_px=384, largest_frame_bytes=1280 * 720 * 3
        )
        for region, n_bytes in zip(regions, (said.detector_bytes, said.embedder_bytes), strict=True):
            taken = sum(-(-array.nbytes // 64) * 64 for array in region.arrays)
            assert 0.99 * n_bytes < taken <= n_bytes


def _open(folder: Path, regions: tuple[FakeRegion, FakeRegion], pair: str = "centerface-dlib") -> ModelPair:
    return open_pair(
        pair,
        folder,
        detector_region=regions[0],
        embedder_region=regions[1],
        detector_width_px=640,
        detector_height_px=384,
        largest_frame_bytes=1280 * 720 * 3,
        threads=1,
    )


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((4097, 4096, 3), np.uint8),
    ],
    ids=["flat", "four channels", "empty", "float", "too large"],
)
def test_what_is_no_picture_is_refused(default_pair: ModelPair, pixels: Pixels) -> None:
    with pytest.raises(PictureError):
        default_pair.detector.detect(pixels)
    with pytest.raises(PictureError):
        default_pair.embedder.embed(pixels, synthetic_points(), np.zeros(128, np.float32))


def test_template_of_another_length_or_type_is_refused(default_pair: ModelPair) -> None:
    for out in (np.zeros(127, np.float32), np.zeros(128, np.float64)):
        with pytest.raises(ModelMismatchError, match="128"):
            default_pair.embedder.embed(synthetic_face(), synthetic_points(), out)  # type: ignore[arg-type]  # on purpose


def test_other_than_five_points_are_refused(default_pair: ModelPair) -> None:
    with pytest.raises(PictureError, match="five"):
        default_pair.embedder.embed(synthetic_face(), synthetic_points()[:4], np.zeros(128, np.float32))


def test_unknown_pair_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pair"):
        _open(tmp_path, (FakeRegion(), FakeRegion()), "nothing")


def test_bad_detector_size_is_refused(model_folder: Path) -> None:
    with pytest.raises(ConfigError, match="detector_height_px"):
        open_pair(
            "centerface-dlib",
            model_folder,
            detector_region=FakeRegion(),
            embedder_region=FakeRegion(),
            detector_width_px=640,
            detector_height_px=360,
            largest_frame_bytes=1 << 20,
            threads=1,
        )


def test_default_pair_is_marked_for_development(default_pair: ModelPair) -> None:
    assert not default_pair.is_production
    assert default_pair.embedder.model_id == "dlib-resnet29-1"
    assert default_pair.detector.model_id == "centerface-1"


def test_operating_points_are_of_the_pair_s_embedder(manifest: Manifest) -> None:
    for pair in ("centerface-dlib", "yunet-mobilefacenet"):
        points = operating_points_of(pair)
        assert {p.model_id for p in points} == {manifest.pair(pair).embedder}
        assert {p.gallery_size for p in points} == {100, 450}
    assert operating_points_of("yunet-sface") == ()


def test_threshold_rises_with_the_list() -> None:
    for pair in ("centerface-dlib", "yunet-mobilefacenet"):
        small, large = (
            {round(p.fpir, 2): p.threshold for p in operating_points_of(pair) if p.gallery_size == size}
            for size in (100, 450)
        )
        assert large[0.01] > small[0.01]


def test_runner_refuses_a_process_that_reports_home(
    model_folder: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(model_folder, manifest.model("centerface-1"))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    with pytest.raises(ProcessSettingsError, match="ORT_DISABLE_TELEMETRY"):
        OnnxRunner(model, threads=1)
    assert "ORT_DISABLE_TELEMETRY" not in os.environ


def test_runner_refuses_bytes_that_are_no_graph() -> None:
    with pytest.raises(ModelIntegrityError, match="cannot load"):
        OnnxRunner(b"no graph", threads=1)


def test_runner_refuses_an_input_of_another_type(model_folder: Path, manifest: Manifest) -> None:
    runner = OnnxRunner(load_model(model_folder, manifest.model("centerface-1")), threads=1)
    runner.bind_input("frame", np.zeros((1, 8, 8, 3), np.float32))
    runner.bind_input("resized", np.array([1, 32, 32, 3], np.int64))
    runner.bind_input("pads", np.zeros(8, np.int64))
    for name in runner.output_names:
        runner.bind_output(name, np.zeros((1, 1, 8, 8), np.float32))
    with pytest.raises(ModelMismatchError):
        runner.run()


def test_runner_refuses_memory_with_gaps(model_folder: Path, manifest: Manifest) -> None:
    runner = OnnxRunner(load_model(model_folder, manifest.model("centerface-1")), threads=1)
    with pytest.raises(ModelMismatchError, match="contiguous"):
        runner.bind_input("frame", np.zeros((1, 8, 8, 3), np.uint8)[:, ::2])
