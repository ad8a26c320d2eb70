"""Run a graph with ONNX Runtime on the CPU, in memory that can be wiped."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.errors import ModelIntegrityError, ModelMismatchError, ProcessSettingsError
from models.runner import check_all_bound, check_memory


class OnnxRunner:
    """Implement the Runner port on ONNX Runtime: what is bound is read and written in place, never copied.

    The runtime's own arena is off, so that what it needs in between is freed to the process's allocator,
    which clears it; patterns of memory are off, because they keep blocks; threads do not spin. One thread
    uses an instance at a time.
    """

    def __init__(self, model: bytes, *, threads: int) -> None:
        """Load the graph.

        Args:
            model: ONNX bytes that were checked against the manifest.
            threads: Threads within an operator, 1 or more; the calling thread is one of them.

        Raises:
            ProcessSettingsError: ORT_DISABLE_TELEMETRY is not 1 in the environment.
            ModelIntegrityError: The runtime cannot load the bytes.
        """
        if os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
            raise ProcessSettingsError("ORT_DISABLE_TELEMETRY=1 must be set before the process starts")
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        self._vendor_errors: tuple[type[Exception], ...] = (
            state.Fail,
            state.InvalidArgument,
            state.InvalidGraph,
            state.InvalidProtobuf,
            state.NotImplemented,
            state.RuntimeException,
            RuntimeError,  # what the binding layer raises for a wrong shape or type
        )
        try:
            self._session = onnxruntime.InferenceSession(
                model, _options(onnxruntime, threads), providers=["CPUExecutionProvider"]
            )
        except self._vendor_errors as err:
            raise ModelIntegrityError(f"the runtime cannot load the model: {type(err).__name__}") from err
        self._input_names = tuple(str(i.name) for i in self._session.get_inputs())
        self._output_names = tuple(str(o.name) for o in self._session.get_outputs())
        self._binding = self._session.io_binding()
        self._bound: dict[str, npt.NDArray[np.generic]] = {}

    @property
    def input_names(self) -> tuple[str, ...]:
        """Return the graph's inputs."""
        return self._input_names

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the graph's outputs."""
        return self._output_names

    def bind_input(self, name: str, array: npt.NDArray[np.generic]) -> None:
        """Read an input from this memory, in place; see models.runner.Runner."""
        check_memory(name, array, self.input_names, is_output=False)
        self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._bound[name] = array

    def bind_output(self, name: str, array: npt.NDArray[np.generic]) -> None:
        """Write an output into this memory, in place; see models.runner.Runner."""
        check_memory(name, array, self.output_names, is_output=True)
        self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._bound[name] = array

    def run(self) -> None:
        """Run once with what is bound.

        Raises:
            ModelMismatchError: A name is not bound, or an array has another shape or type than the graph's.
        """
        check_all_bound((*self.input_names, *self.output_names), self._bound)
        try:
            self._session.run_with_iobinding(self._binding)
        except self._vendor_errors as err:
            raise ModelMismatchError(f"the model did not run: {type(err).__name__}") from err


def _options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options
