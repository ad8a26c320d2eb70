"""The same pair and the same pictures on every runner that has its models."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.errors import EngineError, ModelMismatchError, ModelMissingError, UsageError
from appliance.records.frames import Pixels
from models.engine_build import build_engine
from models.engines import Precision, write_engine
from models.evaluation import HeapRegion
from models.jetson_memory import open_device
from models.manifest import Manifest
from models.pairs import ModelPair, open_pair
from models.runner_choice import EngineSettings
from models.runner_tensorrt import load_tensorrt
from models.store import load_model
from tests.fakes.jetson_memory import FakeDriver, FakeJetsonMemory
from tests.fakes.tensorrt import FakeTensorRt
from tests.models.conftest import embed_main_face

PAIR = "centerface-dlib"


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    jetson = FakeJetsonMemory()
    fake = FakeTensorRt(jetson)
    monkeypatch.setitem(sys.modules, "jetson_utils", jetson)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    yield fake
    gc.collect()
    assert (fake.violations, jetson.violations) == ([], [])


def settings_in(folder: Path, precision: Precision = "single") -> EngineSettings:
    return EngineSettings(
        folder=folder / "engines",
        detector_width_px=640,
        detector_height_px=384,
        largest_width_px=1280,
        largest_height_px=720,
        precision=precision,
        driver=FakeDriver(),
    )


def build(settings: EngineSettings, manifest: Manifest, model_folder: Path) -> None:
    trt, device = load_tensorrt(), open_device(settings.driver)
    pair = manifest.pair(PAIR)
    for entry in (manifest.model(pair.detector), manifest.model(pair.embedder)):
        key = settings.key_of(entry, trt, device)
        graph = settings.graph_of(entry, load_model(model_folder, entry))
        write_engine(settings.folder, key, build_engine(trt, graph, key.profile).engine)


def opened(model_folder: Path, **more: Any) -> ModelPair:
    return open_pair(
        PAIR,
        model_folder,
        detector_region=HeapRegion(),
        embedder_region=HeapRegion(),
        detector_width_px=640,
        detector_height_px=384,
        largest_frame_bytes=1280 * 720 * 3,
        threads=1,
        **more,
    )


@pytest.mark.parametrize("precision", ["single", "half"])
def test_pair_on_tensorrt_agrees_with_onnx_runtime(
    tensorrt: FakeTensorRt,
    tmp_path: Path,
    manifest: Manifest,
    model_folder: Path,
    default_pair: ModelPair,
    portraits: tuple[Pixels, Pixels],
    precision: Precision,
) -> None:
    settings = settings_in(tmp_path, precision)
    build(settings, manifest, model_folder)
    pair = opened(model_folder, runner="tensorrt", engines=settings)
    for pixels in portraits:
        wanted, found = (p.detector.detect(pixels)[0] for p in (default_pair, pair))
        np.testing.assert_allclose(found.points, wanted.points, atol=0.5)
        first, second = (embed_main_face(p, pixels) for p in (default_pair, pair))
        assert float(first @ second) > 0.999 * float(np.linalg.norm(first) * np.linalg.norm(second))
    assert not any(memory.any() for memory in tensorrt.jetson.contents())


def test_picture_larger_than_the_engine_was_built_for_is_refused(
    tensorrt: FakeTensorRt, tmp_path: Path, manifest: Manifest, model_folder: Path
) -> None:
    settings = replace(settings_in(tmp_path), largest_width_px=200, largest_height_px=200)
    build(settings, manifest, model_folder)
    pair = opened(model_folder, runner="tensorrt", engines=settings)
    with pytest.raises(ModelMismatchError, match="built for"):
        pair.detector.detect(np.zeros((201, 200, 3), np.uint8))


def test_pair_without_its_engines_says_how_to_build_them(
    tensorrt: FakeTensorRt, tmp_path: Path, model_folder: Path
) -> None:
    with pytest.raises(EngineError, match="appliance engines"):
        opened(model_folder, runner="tensorrt", engines=settings_in(tmp_path))


def test_engine_of_another_tensorrt_is_not_used(
    tensorrt: FakeTensorRt, tmp_path: Path, manifest: Manifest, model_folder: Path
) -> None:
    build(settings_in(tmp_path), manifest, model_folder)
    tensorrt.__version__ = "10.4.0"
    with pytest.raises(EngineError):
        opened(model_folder, runner="tensorrt", engines=settings_in(tmp_path))


def test_tensorrt_without_settings_is_a_usage_error(model_folder: Path) -> None:
    with pytest.raises(UsageError, match="engines"):
        opened(model_folder, runner="tensorrt")


def test_unknown_runner_is_a_usage_error(model_folder: Path) -> None:
    with pytest.raises(UsageError, match="no runner"):
        opened(model_folder, runner="other")


def test_litert_runs_nothing_that_the_manifest_does_not_pin(model_folder: Path) -> None:
    with pytest.raises(ModelMissingError, match="tflite"):
        opened(model_folder, runner="litert")
