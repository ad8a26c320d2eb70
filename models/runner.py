"""What a network is run by, whatever the library: the port that detector and embedder are written against."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from appliance.errors import ModelMismatchError


class Runner(Protocol):
    """Run one network on memory that its caller owns.

    Where a name's memory lives: what is bound is the caller's, in the process (in the vision worker: its
    arena), and no implementation keeps values of it past `run`. OnnxRunner reads and writes it in place.
    LiteRtRunner and TensorRtRunner copy into tensors of their own (LiteRT's on the heap, TensorRT's in
    mapped CUDA memory, its activations in device memory) and clear those before `run` returns.

    Thread: one at a time. An implementation does not inherit from this; tests/contracts/runner.py holds it.
    """

    @property
    def input_names(self) -> tuple[str, ...]:
        """Return the network's inputs."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the network's outputs."""

    def bind_input(self, name: str, array: npt.NDArray[np.generic]) -> None:
        """Read an input from this memory at every run, until it is bound again.

        Raises:
            ModelMismatchError: No input has this name, or the array is not C-contiguous.
        """

    def bind_output(self, name: str, array: npt.NDArray[np.generic]) -> None:
        """Write an output into this memory at every run; its shape is the output's.

        Raises:
            ModelMismatchError: No output has this name, or the array is read-only or not C-contiguous.
        """

    def run(self) -> None:
        """Run once with what is bound; blocks until the outputs are written.

        Raises:
            ModelMismatchError: A name is not bound, or an array has another shape or type than its tensor.
        """


def check_memory(
    name: str, array: npt.NDArray[np.generic], names: tuple[str, ...], *, is_output: bool
) -> None:
    """Raise ModelMismatchError unless `name` is one of `names` and the array can be bound to it."""
    if name not in names:
        raise ModelMismatchError(f"the network has no {name}; it has {', '.join(names)}")
    if not array.flags.c_contiguous:
        raise ModelMismatchError(f"{name}: only C-contiguous memory can be bound")
    if is_output and not array.flags.writeable:
        raise ModelMismatchError(f"{name}: read-only memory cannot take an output")


def check_all_bound(names: tuple[str, ...], bound: dict[str, npt.NDArray[np.generic]]) -> None:
    """Raise ModelMismatchError when a name has no memory yet."""
    missing = [name for name in names if name not in bound]
    if missing:
        raise ModelMismatchError(f"nothing is bound to {', '.join(missing)}")
