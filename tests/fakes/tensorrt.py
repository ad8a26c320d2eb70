"""TensorRT as its documentation says it behaves, and no more of it than versions 10 and 11 share.

Engines run their graph with ONNX Runtime, so results are real. What a real one would answer with a crash or
wrong results raises AssertionError: use before `set_tensor_address`, memory that is gone or too small, an
engine that outlives its runtime, an input changed while a stream reads it. In a destructor it is noted in
`violations`. Activations are left in the context's memory, as a real one leaves them.
"""

from __future__ import annotations

import enum
import json
import math
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.fakes.jetson_memory import FakeJetsonMemory

CONTEXT_BYTES = 4096
_MAGIC = b"fake engine "


class DataType(enum.Enum):
    FLOAT = "tensor(float)"
    HALF = "tensor(float16)"
    INT32 = "tensor(int32)"
    INT64 = "tensor(int64)"
    INT8 = "tensor(int8)"
    UINT8 = "tensor(uint8)"
    BOOL = "tensor(bool)"


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    USER_MANAGED = 2


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class Logger:
    ERROR = 1

    def __init__(self, severity: int) -> None:
        assert severity == self.ERROR


class IOutputAllocator:
    def __init__(self) -> None:
        self.is_initialised = True


NUMPY_TYPES: dict[DataType, Any] = {
    DataType.FLOAT: np.float32,
    DataType.HALF: np.float16,
    DataType.INT32: np.int32,
    DataType.INT64: np.int64,
    DataType.INT8: np.int8,
    DataType.UINT8: np.uint8,
    DataType.BOOL: np.bool_,
}


class FakeTensorRt:
    """Stand in sys.modules for the library.

    Args:
        jetson: Whose memory and streams its addresses and handles are.
        version: What it calls itself.
    """

    DataType, TensorIOMode, MemoryPoolType = DataType, TensorIOMode, MemoryPoolType
    NetworkDefinitionCreationFlag = NetworkDefinitionCreationFlag
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
    Logger, IOutputAllocator = Logger, IOutputAllocator

    def __init__(self, jetson: FakeJetsonMemory, version: str = "10.3.0") -> None:
        self.__version__ = version
        self.jetson = jetson
        self.violations: list[str] = []
        self.fails: set[str] = set()
        self.n_builds = 0

    def Runtime(self, logger: object) -> FakeRuntime:  # noqa: N802
        return FakeRuntime(self)

    def Builder(self, logger: object) -> FakeBuilder:  # noqa: N802
        return FakeBuilder(self)

    def OnnxParser(self, network: FakeNetwork, logger: object) -> FakeParser:  # noqa: N802
        return FakeParser(network)


class FakeNetwork:
    model = b""


class FakeParser:
    num_errors = 1

    def __init__(self, network: FakeNetwork) -> None:
        self._network = network

    def parse(self, model: bytes) -> bool:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it has no types

        try:
            found = onnx.load_model_from_string(model)
        except DecodeError:
            return False
        self._network.model = model
        return bool(found.graph.node) and all(o.version <= 18 for o in found.opset_import)

    def get_error(self, at: int) -> Any:
        class Error:
            @staticmethod
            def desc() -> str:
                return "no graph"

        return Error()


class FakeTimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data + b"t"


class FakeProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}
        self.values: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, *bounds: tuple[int, ...]) -> None:
        self.shapes[name] = [list(b) for b in _ordered(bounds)]

    def set_shape_input(self, name: str, *bounds: tuple[int, ...]) -> None:
        self.values[name] = [list(b) for b in _ordered(bounds)]


class FakeConfig:
    builder_optimization_level = 3

    def __init__(self) -> None:
        self.profiles: list[FakeProfile] = []
        self.cache = FakeTimingCache(b"")

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE
        assert size > 0

    def create_timing_cache(self, data: bytes) -> FakeTimingCache:
        return FakeTimingCache(data)

    def set_timing_cache(self, cache: FakeTimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> FakeTimingCache:
        return self.cache

    def add_optimization_profile(self, profile: FakeProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class FakeBuilder:
    def __init__(self, module: FakeTensorRt) -> None:
        self._module = module

    def create_network(self, flags: int) -> FakeNetwork:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return FakeNetwork()

    def create_builder_config(self) -> FakeConfig:
        return FakeConfig()

    def create_optimization_profile(self) -> FakeProfile:
        return FakeProfile()

    def build_serialized_network(self, network: FakeNetwork, config: FakeConfig) -> bytes | None:
        self._module.n_builds += 1
        if "build" in self._module.fails:
            return None
        (profile,) = config.profiles
        for tensor in _session(network.model).get_inputs():
            is_free = any(not isinstance(side, int) for side in tensor.shape)
            if is_free != (tensor.name in profile.shapes):
                return None
            if (tensor.type == "tensor(int64)") != (tensor.name in profile.values):
                return None
        header = json.dumps({"shapes": profile.shapes, "values": profile.values}).encode()
        return _MAGIC + len(header).to_bytes(4, "big") + header + network.model


class FakeRuntime:
    def __init__(self, module: FakeTensorRt) -> None:
        self._module = module
        self._engines: weakref.WeakSet[FakeEngine] = weakref.WeakSet()

    def deserialize_cuda_engine(self, data: bytes) -> FakeEngine | None:
        if not data.startswith(_MAGIC):
            return None
        engine = FakeEngine(self._module, self, data[len(_MAGIC) :])
        self._engines.add(engine)
        return engine

    def __del__(self) -> None:
        if len(self._engines):
            self._module.violations.append("an engine outlives its runtime")


class FakeEngine:
    device_memory_size_v2 = CONTEXT_BYTES

    def __init__(self, module: FakeTensorRt, runtime: FakeRuntime, data: bytes) -> None:
        length = int.from_bytes(data[:4], "big")
        self.module, self._runtime = module, weakref.ref(runtime)
        self.profile = json.loads(data[4 : 4 + length])
        self.session = _session(data[4 + length :])
        self.inputs = {t.name: t for t in self.session.get_inputs()}
        self.outputs = {t.name: t for t in self.session.get_outputs()}
        self._contexts: weakref.WeakSet[FakeContext] = weakref.WeakSet()

    @property
    def num_io_tensors(self) -> int:
        self.check()
        return len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, at: int) -> str:
        name: str = [*self.inputs, *self.outputs][at]
        return name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType({**self.inputs, **self.outputs}[name].type)

    def get_tensor_shape(self, name: str) -> list[int]:
        sides = {**self.inputs, **self.outputs}[name].shape
        return [side if isinstance(side, int) else -1 for side in sides]

    def create_execution_context(self, strategy: Any) -> FakeContext | None:
        self.check()
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        if "context" in self.module.fails:
            return None
        context = FakeContext(self)
        self._contexts.add(context)
        return context

    def check(self) -> None:
        assert self._runtime() is not None, "the engine outlives its runtime"

    def __del__(self) -> None:
        if len(self._contexts):
            self.module.violations.append("a context outlives its engine")


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = weakref.ref(engine)
        self._jetson, self._module = engine.module.jetson, engine.module
        self._memory = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}

    def set_device_memory(self, address: int, size: int) -> None:
        memory = self._jetson.memory_at(address)
        assert memory.size >= size >= CONTEXT_BYTES, "too little memory for the context"
        assert not memory.mapped, "activations belong into device memory"
        self._memory = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        engine = self._alive_engine()
        if name in engine.profile["values"]:
            assert name in self._addresses, "a tensor that says a shape is read before it has an address"
        least, _, most = engine.profile["shapes"].get(name, [engine.get_tensor_shape(name)] * 3)
        self._shapes[name] = tuple(shape)
        return len(shape) == len(most) and all(
            a <= b <= c for a, b, c in zip(least, shape, most, strict=True)
        )

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._jetson.memory_at(address)
        self._addresses[name] = address
        return name in self._alive_engine().inputs

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        assert isinstance(allocator, IOutputAllocator)
        assert allocator.is_initialised
        self._allocators[name] = allocator
        return name in self._alive_engine().outputs

    def execute_async_v3(self, stream: int) -> bool:
        engine = self._alive_engine()
        assert self._memory, "no device memory was set"
        self._jetson.calls.append("execute")
        values = {name: self._read(name) for name in engine.inputs}
        if "execute" in self._module.fails or not self._values_fit(engine, values):
            return False
        results = dict(zip(engine.outputs, engine.session.run(None, values), strict=True))
        places: dict[str, int] = {}
        for name, result in results.items():
            allocator = self._allocators[name]
            place = allocator.reallocate_output_async(name, 0, result.nbytes, 256, stream)
            if not place:
                return False
            places[name] = place
            allocator.notify_shape(name, list(result.shape))
        before = {name: value.tobytes() for name, value in values.items()}

        def work() -> None:
            for name, was in before.items():
                assert self._read(name).tobytes() == was, f"{name} was changed while the stream read it"
            for name, result in results.items():
                memory = self._jetson.memory_at(places[name])
                memory.bytes[: result.nbytes] = np.frombuffer(np.ascontiguousarray(result), np.uint8)
            residue = np.frombuffer(next(iter(before.values())), np.uint8)
            self._jetson.memory_at(self._memory).bytes[:] = np.resize(residue, CONTEXT_BYTES)

        used = [self._memory, *places.values(), *(self._addresses[name] for name in engine.inputs)]
        self._jetson.queue(stream, work, used)
        return True

    def _read(self, name: str) -> npt.NDArray[Any]:
        assert name in self._addresses, f"executed before set_tensor_address({name})"
        assert name in self._shapes, f"executed before set_input_shape({name})"
        memory = self._jetson.memory_at(self._addresses[name])
        kind = np.dtype(NUMPY_TYPES[self._alive_engine().get_tensor_dtype(name)])
        size = math.prod(self._shapes[name]) * kind.itemsize
        assert size <= memory.size, f"{name}: {size} bytes are read from {memory.size}"
        value: npt.NDArray[Any] = memory.bytes[:size].view(kind).reshape(self._shapes[name]).copy()
        return value

    def _values_fit(self, engine: FakeEngine, values: dict[str, npt.NDArray[Any]]) -> bool:
        return all(
            (np.array(least) <= values[name]).all() and (values[name] <= np.array(most)).all()
            for name, (least, _, most) in engine.profile["values"].items()
        )

    def _alive_engine(self) -> FakeEngine:
        engine = self._engine()
        assert engine is not None, "the context outlives its engine"
        engine.check()
        return engine


def _ordered(bounds: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    assert len(bounds) == 3
    for sides in zip(*bounds, strict=True):
        assert sorted(sides) == list(sides), "least, usual and most are not in order"
    return bounds


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
