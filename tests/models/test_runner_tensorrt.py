"""The contract of runners on TensorRT, by a fake that checks order, shapes and lifetimes; and clearing."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from appliance.errors import (
    CudaError,
    DependencyError,
    EngineError,
    ModelIntegrityError,
    ModelMismatchError,
)
from models.engine_build import build_engine
from models.engines import Bounds, EngineProfile
from models.jetson_memory import JetsonDevice, open_device
from models.runner_tensorrt import TensorRtRunner, load_tensorrt
from tests.contracts.runner import SHAPE, Floats, RunnerContract, seeded
from tests.fakes.jetson_memory import FakeDriver, FakeJetsonMemory
from tests.fakes.small_network import small_onnx
from tests.fakes.tensorrt import CONTEXT_BYTES, FakeTensorRt

FIXED = EngineProfile(shapes=(), values=(), precision="single")


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch) -> FakeJetsonMemory:
    fake = FakeJetsonMemory()
    monkeypatch.setitem(sys.modules, "jetson_utils", fake)
    return fake


@pytest.fixture
def tensorrt(jetson: FakeJetsonMemory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    fake = FakeTensorRt(jetson)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    yield fake
    gc.collect()
    assert (fake.violations, jetson.violations) == ([], [])


@pytest.fixture
def device(jetson: FakeJetsonMemory) -> JetsonDevice:
    return open_device(FakeDriver())


def open_runner(
    tensorrt: FakeTensorRt, device: JetsonDevice, *, model: bytes = b"", profile: EngineProfile = FIXED
) -> TensorRtRunner:
    built = build_engine(tensorrt, model or small_onnx(), profile)
    return TensorRtRunner(built.engine, tensorrt=tensorrt, device=device, profile=profile)


@pytest.fixture
def runner(tensorrt: FakeTensorRt, device: JetsonDevice) -> TensorRtRunner:
    return open_runner(tensorrt, device)


def bind(runner: TensorRtRunner) -> Floats:
    z = np.zeros(SHAPE, np.float32)
    runner.bind_input("x", seeded(1))
    runner.bind_input("y", seeded(2))
    runner.bind_output("z", z)
    return z


def is_all_clear(jetson: FakeJetsonMemory) -> bool:
    return not any(memory.any() for memory in jetson.contents())


class TestTensorRtRunner(RunnerContract):
    """The contract, by copies that are cleared."""


def test_no_memory_holds_anything_after_a_run(runner: TensorRtRunner, jetson: FakeJetsonMemory) -> None:
    bind(runner)
    runner.run()
    assert len(jetson.contents()) == 5  # two inputs, one output, the context's, and the zeros to clear it
    assert is_all_clear(jetson)


def test_context_is_cleared_on_the_stream_after_the_result_was_waited_for(
    runner: TensorRtRunner, jetson: FakeJetsonMemory
) -> None:
    bind(runner)
    runner.run()
    assert jetson.calls == ["execute", "synchronize", "copy", "synchronize"]


def test_no_memory_holds_anything_after_a_refused_run(
    runner: TensorRtRunner, jetson: FakeJetsonMemory
) -> None:
    bind(runner)
    runner.bind_output("z", np.zeros((1, 64), np.float32))
    with pytest.raises(ModelMismatchError, match="bound"):
        runner.run()
    assert is_all_clear(jetson)


def test_engine_that_does_not_run_is_one_clear_error_and_leaves_nothing(
    runner: TensorRtRunner, tensorrt: FakeTensorRt, jetson: FakeJetsonMemory
) -> None:
    bind(runner)
    tensorrt.fails.add("execute")
    with pytest.raises(ModelMismatchError, match="did not run"):
        runner.run()
    assert is_all_clear(jetson)


def test_output_that_is_too_small_is_named_with_its_size(runner: TensorRtRunner) -> None:
    runner.bind_input("x", seeded(1))
    runner.bind_input("y", seeded(2))
    runner.bind_output("z", np.zeros((1, 7), np.float32))
    with pytest.raises(ModelMismatchError, match="z needs 128 bytes"):
        runner.run()


def test_gpu_that_fails_is_reported(runner: TensorRtRunner, jetson: FakeJetsonMemory) -> None:
    bind(runner)
    jetson.fails.add("synchronize")
    with pytest.raises(CudaError):
        runner.run()
    jetson.fails.clear()


def test_runner_that_goes_clears_and_frees_everything(
    tensorrt: FakeTensorRt, device: JetsonDevice, jetson: FakeJetsonMemory
) -> None:
    runner = open_runner(tensorrt, device)
    bind(runner)
    runner.run()
    del runner
    gc.collect()
    assert (jetson.alive, jetson.streams, jetson.freed_dirty) == ({}, {}, 0)


def test_close_twice_is_once(runner: TensorRtRunner, jetson: FakeJetsonMemory) -> None:
    runner.close()
    runner.close()
    assert jetson.alive == {}


def test_device_memory_is_clear_before_it_is_freed_even_if_nothing_ran(
    tensorrt: FakeTensorRt, device: JetsonDevice, jetson: FakeJetsonMemory
) -> None:
    open_runner(tensorrt, device).close()
    assert jetson.freed_dirty == 0


def test_bytes_that_are_no_engine_are_refused(tensorrt: FakeTensorRt, device: JetsonDevice) -> None:
    with pytest.raises(ModelIntegrityError, match="build it again"):
        TensorRtRunner(b"no engine", tensorrt=tensorrt, device=device, profile=FIXED)


def test_context_that_cannot_be_made_is_reported(tensorrt: FakeTensorRt, device: JetsonDevice) -> None:
    tensorrt.fails.add("context")
    with pytest.raises(CudaError, match="context"):
        open_runner(tensorrt, device)


def test_gpu_without_memory_is_reported(
    tensorrt: FakeTensorRt, device: JetsonDevice, jetson: FakeJetsonMemory
) -> None:
    jetson.fails.add("allocate")
    with pytest.raises(CudaError, match=f"no {CONTEXT_BYTES} bytes"):
        open_runner(tensorrt, device)


@pytest.mark.parametrize("size_bytes", [0, -1, 1 << 31])
def test_sizes_that_the_library_cannot_say_are_refused(device: JetsonDevice, size_bytes: int) -> None:
    with pytest.raises(CudaError, match="cannot be asked for"):
        device.mapped(size_bytes)


def free_model() -> bytes:
    """Return z = x + x over uint8 pictures of any size, as a detector's first input is."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["f", "f"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "free",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, "h", "w", 3])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, "h", "w", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


FREE = EngineProfile(
    shapes=(Bounds(name="x", least=(1, 2, 2, 3), usual=(1, 4, 4, 3), most=(1, 8, 8, 3)),),
    values=(),
    precision="single",
)


@pytest.mark.parametrize("sides", [(2, 2), (8, 8), (3, 7)])
def test_shapes_within_the_profile_run(
    tensorrt: FakeTensorRt, device: JetsonDevice, sides: tuple[int, int]
) -> None:
    runner = open_runner(tensorrt, device, model=free_model(), profile=FREE)
    x = np.random.default_rng(1).integers(0, 255, (1, *sides, 3), np.uint8)
    z = np.zeros(x.shape, np.float32)
    runner.bind_input("x", x)
    runner.bind_output("z", z)
    runner.run()
    np.testing.assert_array_equal(z, 2 * x.astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 1, 2, 3), (1, 9, 8, 3), (2, 4, 4, 3), (4, 4, 3)], ids=str)
def test_shapes_outside_the_profile_are_refused(
    tensorrt: FakeTensorRt, device: JetsonDevice, shape: tuple[int, ...]
) -> None:
    runner = open_runner(tensorrt, device, model=free_model(), profile=FREE)
    runner.bind_input("x", np.zeros(shape, np.uint8))
    runner.bind_output("z", np.zeros(shape, np.float32))
    with pytest.raises(ModelMismatchError, match="built for"):
        runner.run()


def test_timing_cache_of_one_build_goes_into_the_next(tensorrt: FakeTensorRt) -> None:
    first = build_engine(tensorrt, small_onnx(), FIXED)
    second = build_engine(tensorrt, small_onnx(), FIXED, timing_cache=first.timing_cache)
    assert second.timing_cache == first.timing_cache + b"t"


def test_graph_that_tensorrt_cannot_read_is_refused(tensorrt: FakeTensorRt) -> None:
    with pytest.raises(EngineError, match="cannot read the graph"):
        build_engine(tensorrt, b"\xff\xff", FIXED)


def test_profile_that_leaves_a_size_open_is_refused(tensorrt: FakeTensorRt) -> None:
    with pytest.raises(EngineError, match="could not build"):
        build_engine(tensorrt, free_model(), FIXED)


def test_machine_without_tensorrt_gets_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DependencyError, match="no TensorRT"):
        load_tensorrt()


def test_tensorrt_before_10_is_refused(jetson: FakeJetsonMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt(jetson, version="8.6.2"))
    with pytest.raises(DependencyError, match="too old"):
        load_tensorrt()


def test_machine_without_jetson_utils_gets_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jetson_utils", None)
    with pytest.raises(DependencyError, match="needs jetson_utils"):
        open_device(FakeDriver())


def test_stranger_that_goes_by_the_name_of_jetson_utils_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jetson_utils", object())
    with pytest.raises(DependencyError, match="another package"):
        open_device(FakeDriver())


def test_jetson_utils_without_streams_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        videoSource = cudaMalloc = cudaAllocMapped = cudaMemcpy = None  # noqa: N815

    monkeypatch.setitem(sys.modules, "jetson_utils", Old())
    with pytest.raises(DependencyError, match="too old"):
        open_device(FakeDriver())


def test_compute_capability_is_the_driver_s(jetson: FakeJetsonMemory) -> None:
    assert open_device(FakeDriver(11, 0)).compute_capability == "11.0"


def test_driver_without_a_device_is_refused(jetson: FakeJetsonMemory) -> None:
    with pytest.raises(DependencyError, match="status 100"):
        open_device(FakeDriver(status=100))
