"""Preprocessing inside the graph equals a reference in float64 to one step of 255."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from appliance.errors import ConfigError, PictureError
from models.alignment import CHIP_POINTS, crop_bounds, fit_similarity, sampling_rows
from models.graph import (
    letterbox_inputs,
    letterbox_nodes,
    serialise,
    warp_constants,
    warp_inputs,
    warp_nodes,
)
from models.letterbox import check_detector_size, fit_letterbox
from models.manifest import Preprocessing
from models.runner_onnx import OnnxRunner

SPEC = Preprocessing(
    channels="RGB", mean=(0, 0, 0), deviation=(1, 1, 1), chip_px=112, chip_points="arcface-112"
)


def picture(height_px: int, width_px: int) -> npt.NDArray[np.uint8]:
    return np.random.Generator(np.random.Philox(3)).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def reference_warp(pixels: npt.NDArray[np.uint8], points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Fit by the textbook's singular value decomposition, sample bilinearly, 0 outside; all in float64."""
    targets = np.array([[t.real, t.imag] for t in CHIP_POINTS["arcface-112"]])
    mean, target_mean = points.mean(axis=0), targets.mean(axis=0)
    a, b = points - mean, targets - target_mean
    u, d, vt = np.linalg.svd(b.T @ a / 5)
    turn = u @ np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))]) @ vt
    scale = (d * [1, np.sign(np.linalg.det(u) * np.linalg.det(vt))]).sum() / a.var(axis=0).sum()
    rows, columns = np.mgrid[0:112, 0:112]
    places = np.stack([columns, rows], axis=-1) - target_mean
    places = places @ turn / scale + mean
    padded = np.pad(pixels.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    x = np.clip(places[..., 0] + 1, 0, padded.shape[1] - 1.000001)
    y = np.clip(places[..., 1] + 1, 0, padded.shape[0] - 1.000001)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    upper = padded[y0, x0] * (1 - fx) + padded[y0, x0 + 1] * fx
    lower = padded[y0 + 1, x0] * (1 - fx) + padded[y0 + 1, x0 + 1] * fx
    result: npt.NDArray[np.float64] = upper * (1 - fy) + lower * fy
    return result


def graph_warp(
    runner: OnnxRunner, pixels: npt.NDArray[np.uint8], points: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    places = [complex(x, y) for x, y in points]
    to_picture = fit_similarity(places, CHIP_POINTS["arcface-112"]).inverted()
    bounds = crop_bounds(to_picture, 112, pixels.shape[1], pixels.shape[0])
    crop = np.ascontiguousarray(pixels[bounds.top : bounds.bottom, bounds.left : bounds.right])
    chip = np.zeros((1, 3, 112, 112), np.float32)
    runner.bind_input("crop", crop[None])
    runner.bind_input("theta", np.array([sampling_rows(to_picture, bounds)], np.float32))
    runner.bind_output("chip", chip)
    runner.run()
    shown: npt.NDArray[np.float32] = chip[0].transpose(1, 2, 0)
    return shown


@pytest.fixture(scope="session")
def warp_runner() -> OnnxRunner:
    from onnx import TensorProto, helper

    output = helper.make_tensor_value_info("chip", TensorProto.FLOAT, [1, 3, 112, 112])
    return OnnxRunner(
        serialise(warp_nodes(SPEC, "chip"), warp_inputs(), [output], warp_constants(SPEC)), threads=1
    )


@pytest.mark.parametrize(
    ("scale", "degrees", "x_px", "y_px"),
    [(1, 0, 200, 150), (0.4, 10, 300, 90), (2.7, -35, 60, 20), (1, 180, 320, 260), (1.3, 5, -30, 140)],
    ids=["straight", "small", "large", "upside down", "half outside"],
)
def test_warp_equals_the_reference(
    warp_runner: OnnxRunner, scale: float, degrees: float, x_px: float, y_px: float
) -> None:
    pixels = picture(360, 480)
    turn = scale * np.exp(1j * np.radians(degrees))
    noise = np.array([1 + 1j, -2, 1j, 2 - 1j, -1 - 1j])
    places = np.array(CHIP_POINTS["arcface-112"]) * turn + complex(x_px, y_px) + noise
    points = np.stack([places.real, places.imag], axis=-1)
    difference = np.abs(graph_warp(warp_runner, pixels, points) - reference_warp(pixels, points))
    assert difference.max() < 1.0


def test_crop_is_no_larger_than_the_face_needs() -> None:
    places = [p + 1000 + 700j for p in CHIP_POINTS["arcface-112"]]
    bounds = crop_bounds(fit_similarity(places, CHIP_POINTS["arcface-112"]).inverted(), 112, 3840, 2160)
    assert 112 < bounds.right - bounds.left <= 118
    assert 112 < bounds.bottom - bounds.top <= 118


@pytest.mark.parametrize(
    "points", [[1 + 1j] * 5, [complex("nan")] * 5, [complex("inf"), 1, 2, 3, 4]], ids=["one", "nan", "inf"]
)
def test_degenerate_points_are_refused(points: list[complex]) -> None:
    with pytest.raises(PictureError):
        fit_similarity(points, CHIP_POINTS["arcface-112"])


def test_face_outside_the_picture_is_refused() -> None:
    places = [p + 5000 for p in CHIP_POINTS["arcface-112"]]
    with pytest.raises(PictureError, match="outside"):
        crop_bounds(fit_similarity(places, CHIP_POINTS["arcface-112"]).inverted(), 112, 640, 480)


@pytest.mark.parametrize(("height_px", "width_px"), [(360, 640), (96, 40), (33, 100)])
def test_letterbox_equals_the_reference(height_px: int, width_px: int) -> None:
    from onnx import TensorProto, helper

    output = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, "rows", "columns"])
    runner = OnnxRunner(serialise(letterbox_nodes("picture"), letterbox_inputs(), [output], []), threads=1)
    pixels = picture(height_px, width_px)
    box = fit_letterbox(width_px, height_px, 128, 96)
    result = np.full((1, 3, 96, 128), np.nan, np.float32)
    runner.bind_input("frame", pixels[None])
    runner.bind_input("resized", np.array([1, box.resized_height_px, box.resized_width_px, 3], np.int64))
    down, right = 96 - box.resized_height_px, 128 - box.resized_width_px
    runner.bind_input("pads", np.array([0, 0, 0, 0, 0, down, right, 0], np.int64))
    runner.bind_output("picture", result)
    runner.run()
    shown = result[0].transpose(1, 2, 0)
    wanted = reference_resize(pixels, box.resized_width_px, box.resized_height_px)
    assert np.abs(shown[: box.resized_height_px, : box.resized_width_px] - wanted).max() < 1.0
    assert not shown[box.resized_height_px :].any()
    assert not shown[:, box.resized_width_px :].any()


def reference_resize(pixels: npt.NDArray[np.uint8], width_px: int, height_px: int) -> npt.NDArray[np.float64]:
    x = np.clip((np.arange(width_px) + 0.5) * pixels.shape[1] / width_px - 0.5, 0, pixels.shape[1] - 1)
    y = np.clip((np.arange(height_px) + 0.5) * pixels.shape[0] / height_px - 0.5, 0, pixels.shape[0] - 1)
    across = np.apply_along_axis(lambda row: np.interp(x, np.arange(len(row)), row), 1, pixels.astype(float))
    result: npt.NDArray[np.float64] = np.apply_along_axis(
        lambda column: np.interp(y, np.arange(len(column)), column), 0, across
    )
    return result


@pytest.mark.parametrize("size", [(0, 32), (640, 360), (-32, 32), (8192, 32)])
def test_detector_size_that_is_no_multiple_of_32_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="detector_"):
        check_detector_size(*size)
