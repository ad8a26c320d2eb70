"""Run a .tflite network with LiteRT on the CPU, and leave nothing of the picture in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.errors import DependencyError, ModelIntegrityError, ModelMismatchError
from models.runner import check_all_bound, check_memory


class LiteRtRunner:
    """Implement the Runner port on LiteRT.

    LiteRT keeps its tensors and every activation until the next invocation (0.6 to 2.1 MB were measured), and
    has no way to clear them. So each run is followed by one on zeros, which overwrites them all: it costs the
    same time again. Tensors are reached by `tensor(i)()`, whose view is let go at once; `get_tensor` copies.
    """

    def __init__(self, model: bytes, *, threads: int) -> None:
        """Load the network.

        Args:
            model: The .tflite bytes that were checked against the manifest.
            threads: Threads within an operator, 1 or more.

        Raises:
            DependencyError: ai-edge-litert is not installed.
            ModelIntegrityError: LiteRT cannot load the bytes.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as err:
            raise DependencyError("a .tflite network needs LiteRT: pip install ai-edge-litert") from err
        try:
            self._interpreter: Any = Interpreter(model_content=model, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as err:
            raise ModelIntegrityError(f"LiteRT cannot load the model: {type(err).__name__}") from err
        self._inputs = {str(d["name"]): d for d in self._interpreter.get_input_details()}
        self._outputs = {str(d["name"]): d for d in self._interpreter.get_output_details()}
        self._bound: dict[str, npt.NDArray[np.generic]] = {}

    @property
    def input_names(self) -> tuple[str, ...]:
        """Return the network's inputs."""
        return tuple(self._inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the network's outputs."""
        return tuple(self._outputs)

    def bind_input(self, name: str, array: npt.NDArray[np.generic]) -> None:
        """Copy an input from this memory at every run; see models.runner.Runner."""
        check_memory(name, array, self.input_names, is_output=False)
        self._bound[name] = array

    def bind_output(self, name: str, array: npt.NDArray[np.generic]) -> None:
        """Copy an output into this memory at every run; see models.runner.Runner."""
        check_memory(name, array, self.output_names, is_output=True)
        self._bound[name] = array

    def run(self) -> None:
        """Run once with what is bound, then once on zeros.

        Raises:
            ModelMismatchError: A name is not bound, or an array has another shape or type than its tensor.
        """
        check_all_bound((*self.input_names, *self.output_names), self._bound)
        self._fit_inputs()
        for name, details in self._outputs.items():
            self._check_type(name, details)
        try:
            for name, details in self._inputs.items():
                np.copyto(self._view(details), self._bound[name], casting="no")
            self._invoke()
            for name, details in self._outputs.items():
                self._take_output(name, details)
        finally:
            self._clear()

    def _fit_inputs(self) -> None:
        """Give inputs the shapes that are bound, where the network leaves them free."""
        resized = False
        for name, details in self._inputs.items():
            self._check_type(name, details)
            shape = self._bound[name].shape
            if shape == self._view(details).shape:
                continue
            signature = tuple(int(side) for side in details["shape_signature"])
            fits = len(signature) == len(shape) and all(
                free in (-1, side) for free, side in zip(signature, shape, strict=True)
            )
            if not fits:
                raise ModelMismatchError(f"{name} is {shape}, the network takes {signature}")
            self._interpreter.resize_tensor_input(details["index"], shape, strict=True)
            resized = True
        if resized:
            self._interpreter.allocate_tensors()

    def _check_type(self, name: str, details: dict[str, Any]) -> None:
        if self._bound[name].dtype != details["dtype"]:
            wanted = np.dtype(details["dtype"])
            raise ModelMismatchError(f"{name} is {self._bound[name].dtype}, the network's is {wanted}")

    def _take_output(self, name: str, details: dict[str, Any]) -> None:
        # No variable for the view: a trace would hold it, and LiteRT would then refuse the run on zeros.
        shape = self._view(details).shape
        if shape != self._bound[name].shape:
            raise ModelMismatchError(f"{name} is {shape}, {self._bound[name].shape} is bound")
        np.copyto(self._bound[name], self._view(details))

    def _clear(self) -> None:
        for details in self._inputs.values():
            self._view(details).fill(0)
        self._invoke()

    def _invoke(self) -> None:
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as err:
            raise ModelMismatchError(f"the model did not run: {type(err).__name__}") from err

    def _view(self, details: dict[str, Any]) -> npt.NDArray[Any]:
        """Return a tensor in place; LiteRT refuses to run while such a view is held."""
        view: npt.NDArray[Any] = self._interpreter.tensor(details["index"])()
        return view
