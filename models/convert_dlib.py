"""Turn dlib's face recognition network (.dat) into ONNX; dlib itself is not needed.

The file is dlib's own serialisation of a network whose shape is compiled into the program that reads it, so
the shape stands here, and every name and size in the file is held against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from appliance.errors import ModelIntegrityError
from models.graph import serialise, template_output, tensor, warp_constants, warp_inputs, warp_nodes
from models.manifest import Preprocessing

if TYPE_CHECKING:
    import onnx

Floats = npt.NDArray[np.float32]
_BLOCKS = (
    *[(32, False)] * 3,
    *[(64, True)],
    *[(64, False)] * 3,
    *[(128, True)],
    *[(128, False)] * 2,
    *[(256, True)],
    *[(256, False)] * 2,
    *[(256, True)],
)
"""The residual blocks, first to last: channels, and whether the block halves the picture."""


@dataclass
class _Graph:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, values: npt.NDArray[np.generic]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(tensor(name, values))
        return name


def convert_dlib(data: bytes, spec: Preprocessing, template_length: int) -> bytes:
    """Return the ONNX bytes for dlib_face_recognition_resnet_model_v1.dat.

    Raises:
        ModelIntegrityError: Truncated, longer than the network, or another network.
    """
    reader = _Reader(data)
    _read_header(reader)
    graph = _Graph()
    x = _convolution(reader, graph, "chip", 32, 7)
    x = _activation(reader, graph, x)
    reader.expect_name("max_pool_2")
    reader.expect_integers((3, 3, 2, 2, 0, 0), "max_pool")
    reader.end_layer()
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2])
    side = 35
    for n_channels, is_down in _BLOCKS:
        x, side = _block(reader, graph, x, n_channels, is_down, side)
    _head(reader, graph, x, template_length)
    reader.expect_end()
    graph.nodes[-1].output[0] = "template"
    nodes = [*warp_nodes(spec, "chip"), *graph.nodes]
    return serialise(
        nodes, warp_inputs(), [template_output(template_length)], [*warp_constants(spec), *graph.constants]
    )


class _Reader:
    """Read dlib's serialised values; every one is checked against what the network must have."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def take(self, length_bytes: int) -> memoryview:
        part = self._data[self._at : self._at + length_bytes]
        if length_bytes < 0 or len(part) != length_bytes:
            raise ModelIntegrityError("dlib network: truncated")
        self._at += length_bytes
        return part

    def integer(self) -> int:
        control = self.take(1)[0]
        length_bytes = control & 0x0F
        if not 1 <= length_bytes <= 8 or control & 0x70:
            raise ModelIntegrityError("dlib network: not an integer where one must be")
        value = int.from_bytes(self.take(length_bytes), "little")
        return -value if control & 0x80 else value

    def number(self) -> float:
        mantissa, exponent = self.integer(), self.integer()
        if abs(exponent) > 1100:
            raise ModelIntegrityError("dlib network: number out of range")
        return float(mantissa) * 2.0**exponent

    def expect_integers(self, wanted: tuple[int, ...], what: str) -> None:
        found = tuple(self.integer() for _ in wanted)
        if found != wanted:
            raise ModelIntegrityError(f"dlib network: {what} is {found}, must be {wanted}")

    def expect_name(self, name: str) -> None:
        length_bytes = self.integer()
        if length_bytes != len(name) or bytes(self.take(length_bytes)) != name.encode():
            raise ModelIntegrityError(f"dlib network: {name} is not where it must be")

    def tensor(self, n_wanted: int) -> Floats:
        self.expect_integers((2,), "tensor")
        n_found = 1
        for _ in range(4):
            n_found *= self.integer()
        if n_found != n_wanted:
            raise ModelIntegrityError(f"dlib network: {n_found} values, must be {n_wanted}")
        return np.frombuffer(self.take(4 * n_wanted), "<f4").astype(np.float32)

    def alias(self) -> None:
        self.expect_integers((1,), "alias tensor")
        for _ in range(4):
            self.integer()

    def end_layer(self) -> None:
        if not set(bytes(self.take(3))) <= set(b"01"):
            raise ModelIntegrityError("dlib network: not a boolean where one must be")
        for _ in range(3):
            self.tensor(0)

    def expect_end(self) -> None:
        if self._at != len(self._data):
            raise ModelIntegrityError(f"dlib network: {len(self._data) - self._at} bytes too many")


def _read_header(reader: _Reader) -> None:
    reader.expect_integers((1,), "version")
    reader.expect_name("loss_metric_2")
    reader.number()
    reader.number()
    reader.expect_integers(tuple(_layer_versions()), "layer versions")
    reader.expect_name("input_rgb_image_sized")
    for _ in range(3):
        reader.number()
    reader.expect_integers((150, 150), "input size")


def _layer_versions() -> Iterator[int]:
    """Yield the version number of every layer, outermost first: 2, of tags and skips 1, the innermost 3."""
    yield from (2, 2)  # fully connected, average over everything
    for _, is_down in reversed(_BLOCKS):
        yield from (2, 2, 2, 1, 1) if is_down else (2, 2)  # relu, add (average pool, skip, tag)
        yield from (2, 2, 2, 2, 2, 1)  # affine, convolution, relu, affine, convolution, tag
    yield from (2, 2, 2, 3)  # max_pool, relu, affine, convolution


def _convolution(
    reader: _Reader, graph: _Graph, x: str, n_channels: int, kernel: int, stride: int = 2, n_inputs: int = 3
) -> str:
    """Read a convolution and the affine layer after it; the affine is folded into the weights."""
    is_innermost = x == "chip"
    pad = 0 if stride == 2 else kernel // 2
    n_weights = n_channels * n_inputs * kernel * kernel
    reader.expect_name("con_4")
    values = reader.tensor(n_weights + n_channels)
    reader.expect_integers((n_channels, kernel, kernel, stride, stride, pad, pad), "convolution")
    reader.alias()
    reader.alias()
    for _ in range(4):
        reader.number()
    reader.end_layer()
    if is_innermost:
        reader.expect_integers((1,), "innermost layer")
    reader.expect_name("affine_")
    scales = reader.tensor(2 * n_channels)
    reader.alias()
    reader.alias()
    reader.integer()
    reader.end_layer()
    gamma, beta = scales[:n_channels], scales[n_channels:]
    weights = values[:n_weights].reshape(n_channels, n_inputs, kernel, kernel) * gamma[:, None, None, None]
    bias = values[n_weights:] * gamma + beta
    inputs = [x, graph.constant(weights), graph.constant(bias)]
    return graph.add("Conv", inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)


def _activation(reader: _Reader, graph: _Graph, x: str) -> str:
    reader.expect_name("relu_")
    reader.end_layer()
    return graph.add("Relu", [x])


def _block(
    reader: _Reader, graph: _Graph, x: str, n_channels: int, is_down: bool, side: int
) -> tuple[str, int]:
    n_inputs = {64: 32, 128: 64}.get(n_channels, 128 if side == 8 else 256) if is_down else n_channels
    stride = 2 if is_down else 1
    y = _convolution(reader, graph, x, n_channels, 3, stride, n_inputs)
    y = _convolution(reader, graph, _activation(reader, graph, y), n_channels, 3, 1, n_channels)
    if is_down:
        reader.expect_name("avg_pool_2")
        reader.expect_integers((2, 2, 2, 2, 0, 0), "avg_pool")
        reader.end_layer()
        x = graph.add("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
        # add_prev pads the smaller one with zeros at the end: channels, rows and columns.
        side_y, side = (side - 3) // 2 + 1, side // 2
        y = _zeros_at_end(graph, y, 0, side - side_y)
        x = _zeros_at_end(graph, x, n_channels - n_inputs, 0)
        reader.expect_name("add_prev_")
    else:
        reader.expect_name("add_prev_")
    reader.end_layer()
    return _activation(reader, graph, graph.add("Add", [y, x])), side


def _zeros_at_end(graph: _Graph, x: str, n_channels: int, n_pixels: int) -> str:
    if not n_channels and not n_pixels:
        return x
    pads = np.array([0, 0, 0, 0, 0, n_channels, n_pixels, n_pixels], np.int64)
    return graph.add("Pad", [x, graph.constant(pads)])


def _head(reader: _Reader, graph: _Graph, x: str, template_length: int) -> None:
    reader.expect_name("avg_pool_2")
    reader.expect_integers((0, 0, 1, 1, 0, 0), "avg_pool over everything")
    reader.end_layer()
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    reader.expect_name("fc_2")
    reader.expect_integers((template_length, 256), "fully connected")
    weights = reader.tensor(256 * template_length).reshape(256, template_length)
    reader.alias()
    reader.alias()
    reader.integer()
    for _ in range(4):
        reader.number()
    reader.end_layer()
    x = graph.add("MatMul", [x, graph.constant(weights)])
    graph.add("LpNormalization", [x], axis=1, p=2)
