"""Run a TensorRT engine by what TensorRT 10 and 11 share, in memory that is ours and is cleared.

Nothing here ran on a Jetson: it was written from NVIDIA's documentation, and the tests run it on a fake that
checks the order of calls, shapes and lifetimes.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.errors import CudaError, DependencyError, EngineError, ModelIntegrityError, ModelMismatchError
from models.engines import EngineProfile
from models.jetson_memory import DeviceMemory, JetsonDevice, MappedMemory
from models.runner import check_all_bound, check_memory

_TYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT64": np.int64,
    "INT32": np.int32,
    "INT8": np.int8,
    "UINT8": np.uint8,
}


def load_tensorrt() -> Any:
    """Return the module tensorrt, which JetPack brings; DependencyError when it is not there or too old."""
    try:
        import tensorrt
    except ImportError as err:
        raise DependencyError("this machine has no TensorRT: it comes with JetPack, not from pip") from err
    if int(tensorrt.__version__.partition(".")[0]) < 10:
        raise DependencyError(f"TensorRT {tensorrt.__version__} is too old: 10 or newer")
    return tensorrt


@dataclass(eq=False)
class _Held:
    """What must be let go in order: a context before its engine, that before its runtime, memory after all.

    Nothing else keeps a reference to any of it, not even a local variable, which an error would keep alive.
    """

    device: JetsonDevice
    runtime: Any
    engine: Any = None
    context: Any = None
    stream: int = 0
    memory: DeviceMemory | None = None
    buffers: dict[str, MappedMemory] = field(default_factory=dict)

    def clear(self) -> None:
        """Wait for the stream, then leave nothing of the last picture; CudaError when the GPU failed."""
        try:
            if self.memory is not None:
                self.memory.clear(self.stream)
            self.device.synchronise(self.stream)
        finally:
            for buffer in self.buffers.values():
                buffer.view.fill(0)

    def release(self) -> None:
        try:
            if self.stream:
                self.clear()
        finally:
            self.context = None
            self.engine = None
            self.runtime = None
            self.memory = None
            self.buffers.clear()
            if self.stream:
                self.device.destroy_stream(self.stream)
            self.stream = 0


class TensorRtRunner:
    """Implement the Runner port on TensorRT.

    Inputs and outputs are copied through mapped memory, which the processor and the GPU share: on a Jetson a
    frame crosses once. Activations lie in device memory that is ours. After every run, whatever became of
    it, both are zeroed on the same stream before `run` returns. Thread: gpu, for all methods.
    """

    def __init__(self, engine: bytes, *, tensorrt: Any, device: JetsonDevice, profile: EngineProfile) -> None:
        """Load an engine and take its memory.

        Args:
            engine: Bytes that `read_engine` returned; they are code, nothing else may be given.
            tensorrt: The module, of `load_tensorrt`.
            device: Where it runs.
            profile: What the engine was built for.

        Raises:
            ModelIntegrityError: TensorRT does not take the bytes.
            EngineError: An input or output has a type that is not handled.
            CudaError: Not enough memory.
        """
        self._tensorrt, self._profile = tensorrt, profile
        self._held = _Held(device, tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR)))
        self.close = weakref.finalize(self, self._held.release)
        """Clear and give back everything; it happens by itself when the runner goes."""
        self._open(engine)
        self._read_tensors()
        self._bound: dict[str, npt.NDArray[np.generic]] = {}

    @property
    def input_names(self) -> tuple[str, ...]:
        """Return the network's inputs."""
        return self._inputs

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the network's outputs."""
        return self._outputs

    def bind_input(self, name: str, array: npt.NDArray[np.generic]) -> None:
        """Copy an input from this memory at every run; see models.runner.Runner.

        An input of the model that its engine does without (the profile's `unused`) is taken and ignored.
        """
        check_memory(name, array, (*self._inputs, *self._profile.unused), is_output=False)
        self._bound[name] = array

    def bind_output(self, name: str, array: npt.NDArray[np.generic]) -> None:
        """Copy an output into this memory at every run; see models.runner.Runner."""
        check_memory(name, array, self._outputs, is_output=True)
        self._check_type(name, array)
        self._fit_output(name, array)
        self._bound[name] = array

    def run(self) -> None:
        """Run once with what is bound, and clear.

        Raises:
            ModelMismatchError: A name is not bound, or an array has another shape or type than its tensor.
            CudaError: The GPU failed; only a new process helps.
        """
        check_all_bound((*self._inputs, *self._outputs), self._bound)
        for name in self._inputs:
            self._check_type(name, self._bound[name])
            self._check_bounds(name, self._bound[name].shape)
        try:
            self._execute()
        finally:
            self._held.clear()

    def _execute(self) -> None:
        held = self._held
        for name in self._inputs:
            array = self._bound[name]
            np.copyto(_part(held.buffers[name], array), array)
            # The address first: a tensor that says a shape is read when shapes are set.
            self._require(held.context.set_tensor_address(name, held.buffers[name].address), name)
            self._require(held.context.set_input_shape(name, array.shape), name)
        for allocator in self._allocators.values():
            allocator.shape = None
        if not held.context.execute_async_v3(held.stream):
            raise ModelMismatchError(f"the engine did not run: {self._wanted()}")
        held.device.synchronise(held.stream)
        for name in self._outputs:
            array, shape = self._bound[name], self._allocators[name].shape
            if shape != array.shape:
                raise ModelMismatchError(f"{name} is {shape}, {array.shape} is bound")
            np.copyto(array, _part(held.buffers[name], array))

    def _open(self, data: bytes) -> None:
        held, strategy = self._held, self._tensorrt.ExecutionContextAllocationStrategy
        held.engine = held.runtime.deserialize_cuda_engine(data)
        if held.engine is None:
            raise ModelIntegrityError("TensorRT does not take the engine; build it again: appliance engines")
        held.context = held.engine.create_execution_context(strategy.USER_MANAGED)
        if held.context is None:
            raise CudaError("TensorRT cannot make a context")
        held.stream = held.device.create_stream()
        size_bytes = int(held.engine.device_memory_size_v2)
        if size_bytes:
            held.memory = held.device.device(size_bytes)
            held.context.set_device_memory(held.memory.address, size_bytes)

    def _read_tensors(self) -> None:
        engine, mode = self._held.engine, self._tensorrt.TensorIOMode
        names = [str(engine.get_tensor_name(i)) for i in range(engine.num_io_tensors)]
        self._inputs = tuple(n for n in names if engine.get_tensor_mode(n) == mode.INPUT)
        self._outputs = tuple(n for n in names if engine.get_tensor_mode(n) == mode.OUTPUT)
        self._types = {name: self._type_of(name) for name in names}
        self._bounds = {bounds.name: bounds for bounds in self._profile.shapes}
        for name in self._inputs:
            bounds = self._bounds.get(name)
            shape = bounds.most if bounds else tuple(int(side) for side in engine.get_tensor_shape(name))
            size_bytes = math.prod(shape) * self._types[name].itemsize
            self._held.buffers[name] = self._held.device.mapped(size_bytes)
        self._allocators: dict[str, Any] = {}

    def _type_of(self, name: str) -> np.dtype[Any]:
        found = self._held.engine.get_tensor_dtype(name)
        for label, kind in _TYPES.items():
            if found == getattr(self._tensorrt.DataType, label):
                return np.dtype(kind)
        raise EngineError(f"{name}: its type is not handled")

    def _check_type(self, name: str, array: npt.NDArray[np.generic]) -> None:
        if array.dtype != self._types[name]:
            raise ModelMismatchError(f"{name} is {array.dtype}, the network's is {self._types[name]}")

    def _check_bounds(self, name: str, shape: tuple[int, ...]) -> None:
        bounds = self._bounds.get(name)
        if bounds is None:
            wanted = tuple(int(side) for side in self._held.engine.get_tensor_shape(name))
            if shape != wanted:
                raise ModelMismatchError(f"{name} is {shape}, the network takes {wanted}")
            return
        fits = len(shape) == len(bounds.most) and all(
            least <= side <= most for least, side, most in zip(bounds.least, shape, bounds.most, strict=True)
        )
        if not fits:
            raise ModelMismatchError(
                f"{name} is {shape}, the engine was built for {bounds.least} to {bounds.most}"
            )

    def _fit_output(self, name: str, array: npt.NDArray[np.generic]) -> None:
        known = self._held.buffers.get(name)
        if known is None or known.size_bytes < array.nbytes:
            # The new one is there before the old one goes, which the context may still name.
            buffer = self._held.device.mapped(max(1, array.nbytes))
            allocator = _make_allocator(self._tensorrt, buffer)
            self._require(self._held.context.set_output_allocator(name, allocator), name)
            self._allocators[name] = allocator
            self._held.buffers[name] = buffer

    def _require(self, is_done: bool, name: str) -> None:
        if not is_done:
            raise ModelMismatchError(f"{name}: the engine does not take it")

    def _wanted(self) -> str:
        sizes = {name: allocator.wanted_bytes for name, allocator in self._allocators.items()}
        return ", ".join(f"{name} needs {size} bytes" for name, size in sizes.items() if size) or "no reason"


def _part(buffer: MappedMemory, array: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
    """Return the beginning of a buffer as an array like this one."""
    return buffer.view[: array.nbytes].view(array.dtype).reshape(array.shape)


def _make_allocator(tensorrt: Any, buffer: MappedMemory) -> Any:
    """Return what TensorRT asks for an output's memory and tells its shape: it gets ours or none."""
    # Its class is made here because its base is the library's.

    class Allocator(tensorrt.IOutputAllocator):  # type: ignore[misc]  # the base is not known to the checker
        def __init__(self) -> None:
            tensorrt.IOutputAllocator.__init__(self)
            self.shape: tuple[int, ...] | None = None
            self.wanted_bytes = 0

        def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int | None:
            self.wanted_bytes = 0 if size <= buffer.size_bytes else size
            return None if self.wanted_bytes else buffer.address

        def reallocate_output_async(
            self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
        ) -> int | None:
            return self.reallocate_output(tensor_name, memory, size, alignment)

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            self.shape = tuple(int(side) for side in shape)

    return Allocator()
