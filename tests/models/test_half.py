"""Graphs of half precision: what becomes half, what stays single, and that the results agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from appliance.errors import ModelIntegrityError
from appliance.records.frames import Pixels
from models.embedder import OnnxEmbedder
from models.evaluation import LARGEST_PICTURE_BYTES, HeapRegion
from models.half import to_half
from models.manifest import Manifest
from models.pairs import ModelPair
from models.runner_onnx import OnnxRunner
from models.store import load_model
from tests.fakes.small_network import small_onnx


def test_embedder_of_half_precision_agrees_with_the_single(
    default_pair: ModelPair, model_folder: Path, manifest: Manifest, portraits: tuple[Pixels, Pixels]
) -> None:
    single, half = np.zeros(128, np.float32), np.zeros(128, np.float32)
    points = default_pair.detector.detect(portraits[0])[0].points
    default_pair.embedder.embed(portraits[0], points, single)
    entry = manifest.model("dlib-resnet29-1")
    runner = OnnxRunner(to_half(load_model(model_folder, entry)), threads=1)
    embedder = OnnxEmbedder(entry, runner, region=HeapRegion(), largest_frame_bytes=LARGEST_PICTURE_BYTES)
    embedder.embed(portraits[0], points, half)
    assert float(half @ single) > 0.999 * float(np.linalg.norm(half) * np.linalg.norm(single))


def test_half_file_is_half_as_large_and_always_the_same(model_folder: Path, manifest: Manifest) -> None:
    model = load_model(model_folder, manifest.model("dlib-resnet29-1"))
    half = to_half(model)
    assert len(half) < 0.52 * len(model)
    assert to_half(model) == half


@pytest.mark.parametrize("model_id", ["centerface-1", "dlib-resnet29-1"])
def test_inputs_and_outputs_keep_their_types(model_folder: Path, manifest: Manifest, model_id: str) -> None:
    import onnx

    model = load_model(model_folder, manifest.model(model_id))
    before, after = (onnx.load_model_from_string(data).graph for data in (model, to_half(model)))
    onnx.checker.check_model(onnx.load_model_from_string(to_half(model)), full_check=True)
    assert list(before.input) == list(after.input)
    assert list(before.output) == list(after.output)


def test_preprocessing_stays_single(model_folder: Path, manifest: Manifest) -> None:
    import onnx

    half = onnx.load_model_from_string(to_half(load_model(model_folder, manifest.model("dlib-resnet29-1"))))
    kinds = {c.name: c.data_type for c in half.graph.initializer}
    assert {kinds[name] for name in ("chip_pixels", "chip_mean", "chip_factor")} == {onnx.TensorProto.FLOAT}
    assert list(kinds.values()).count(onnx.TensorProto.FLOAT16) > 50


def test_graph_of_somebody_else_is_refused() -> None:
    with pytest.raises(ModelIntegrityError, match="not converted here"):
        to_half(small_onnx())


def test_values_beyond_half_precision_are_refused() -> None:
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["crop"], ["chip"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["chip", "large"], ["template"]),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("crop", TensorProto.UINT8, [1, 4])],
        [helper.make_tensor_value_info("template", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.array([70_000], np.float32), "large")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelIntegrityError, match="cannot hold"):
        to_half(model.SerializeToString())
