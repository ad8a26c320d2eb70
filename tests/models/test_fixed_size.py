"""A detector's graph of fixed size gives what the free one gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from appliance.errors import ModelIntegrityError
from models.fixed_size import fix_size
from models.letterbox import fit_letterbox
from models.manifest import Manifest
from models.runner_onnx import OnnxRunner
from models.store import load_model
from tests.fakes.small_network import small_onnx

SIZE_PX = (320, 192)


@pytest.mark.parametrize("sides", [(360, 640), (96, 40), (720, 300), (1, 1), (192, 320)], ids=str)
def test_fixed_graph_finds_what_the_free_one_finds(
    model_folder: Path, manifest: Manifest, sides: tuple[int, int]
) -> None:
    model = load_model(model_folder, manifest.model("centerface-1"))
    width_px, height_px = SIZE_PX
    box = fit_letterbox(sides[1], sides[0], width_px, height_px)
    frame = np.random.default_rng(1).integers(0, 255, (1, *sides, 3), np.uint8)
    resized = np.array([1, box.resized_height_px, box.resized_width_px, 3], np.int64)
    down, right = height_px - box.resized_height_px, width_px - box.resized_width_px
    results = []
    for graph in (model, fix_size(model, width_px=width_px, height_px=height_px)):
        runner = OnnxRunner(graph, threads=1)
        runner.bind_input("frame", frame)
        runner.bind_input("resized", resized)
        if "pads" in runner.input_names:
            runner.bind_input("pads", np.array([0, 0, 0, 0, 0, down, right, 0], np.int64))
        maps = {n: np.zeros((1, c, height_px // 4, width_px // 4), np.float32) for n, c in channels(runner)}
        for name, values in maps.items():
            runner.bind_output(name, values)
        runner.run()
        results.append(maps)
    for name, values in results[0].items():
        np.testing.assert_array_equal(results[1][name], values)


def channels(runner: OnnxRunner) -> list[tuple[str, int]]:
    return [(o.name, o.shape[1]) for o in runner._session.get_outputs()]


def test_everything_after_the_letterbox_has_a_fixed_size(model_folder: Path, manifest: Manifest) -> None:
    import onnx

    model = load_model(model_folder, manifest.model("centerface-1"))
    fixed = onnx.load_model_from_string(fix_size(model, width_px=320, height_px=192))
    onnx.checker.check_model(fixed)
    shapes = {
        v.name: v.type.tensor_type.shape for v in onnx.shape_inference.infer_shapes(fixed).graph.value_info
    }
    assert [d.dim_value for d in shapes["picture"].dim] == [1, 3, 192, 320]
    assert [i.name for i in fixed.graph.input] == ["frame", "resized"]


def test_graph_without_a_letterbox_is_refused() -> None:
    with pytest.raises(ModelIntegrityError, match="no letterbox"):
        fix_size(small_onnx(), width_px=320, height_px=192)
