"""Turn a graph into one of half precision; preprocessing, normalisation and outputs stay single.

The network is what comes after `picture` (detectors) or `chip` (embedders): coordinates and pixels of a large
picture have more digits than half precision holds. It is done where engines are built, from the pinned bytes,
and is the same every time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from appliance.errors import ModelIntegrityError
from models.graph import parse_network, require_onnx, tensor

if TYPE_CHECKING:
    import onnx

_ENTRANCES = ("picture", "chip")
_SINGLE = frozenset({"LpNormalization"})
"""Operators that sum squares: half precision overflows at 65,504."""
_NOT_VALUES = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that are not values of the network and stay as they are, by operator."""


@dataclass
class _Half:
    constants: dict[str, onnx.TensorProto]
    halves: set[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    made: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def cast(self, source: str, target: str, kind: int) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node("Cast", [source], [target], to=kind))


def to_half(model: bytes) -> bytes:
    """Return the graph with its network in half precision.

    Raises:
        DependencyError: The onnx package is not installed.
        ModelIntegrityError: Not a graph that the converters of this package made.
    """
    require_onnx()
    from onnx import TensorProto

    network = parse_network(model)
    graph = network.graph
    entrance = next((n for node in graph.node for n in node.output if n in _ENTRANCES), None)
    if entrance is None:
        raise ModelIntegrityError("the graph has neither picture nor chip: it was not converted here")
    outputs = {output.name for output in graph.output}
    half = _Half(constants={c.name: c for c in graph.initializer}, halves=set())
    for node in list(graph.node):
        if _is_tensor(node):
            half.constants[node.output[0]] = _named(node)
        elif node.op_type in _SINGLE:
            _keep_single(half, node)
        elif half.halves.intersection(node.input):
            _convert(half, node, outputs)
        else:
            half.nodes.append(node)
        if entrance in node.output:
            half.cast(entrance, f"{entrance}_half", TensorProto.FLOAT16)
            half.halves |= {entrance, f"{entrance}_half"}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(half.nodes)
    used = {name for node in half.nodes for name in node.input}
    graph.initializer.extend(c for c in {**half.constants, **half.made}.values() if c.name in used)
    return bytes(network.SerializeToString(deterministic=True))


def _is_tensor(node: onnx.NodeProto) -> bool:
    return node.op_type == "Constant" and node.attribute[0].name == "value"


def _named(node: onnx.NodeProto) -> onnx.TensorProto:
    """Return a Constant node's tensor as the graph's other constants are."""
    constant: onnx.TensorProto = node.attribute[0].t
    constant.name = node.output[0]
    return constant


def _convert(half: _Half, node: onnx.NodeProto, outputs: set[str]) -> None:
    """Let a node work on halves; what leaves the graph is single again."""
    from onnx import TensorProto

    kept = _NOT_VALUES.get(node.op_type, ())
    for i, name in enumerate(node.input):
        if i not in kept:
            node.input[i] = _half_constant(half, name) if name in half.constants else _inner(name)
    leaving = [name for name in node.output if name in outputs]
    for i, name in enumerate(node.output):
        half.halves.add(name)
        if name in leaving:
            node.output[i] = f"{name}_half"
            half.halves.add(node.output[i])
    half.nodes.append(node)
    for name in leaving:
        half.cast(f"{name}_half", name, TensorProto.FLOAT)


def _keep_single(half: _Half, node: onnx.NodeProto) -> None:
    from onnx import TensorProto

    for i, name in enumerate(node.input):
        if name in half.halves:
            half.cast(name, f"{name}_single", TensorProto.FLOAT)
            node.input[i] = f"{name}_single"
    half.nodes.append(node)


def _inner(name: str) -> str:
    return f"{name}_half" if name in _ENTRANCES else name


def _half_constant(half: _Half, name: str) -> str:
    from onnx import numpy_helper

    values = numpy_helper.to_array(half.constants[name])
    if values.dtype != np.float32:
        return name
    if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
        raise ModelIntegrityError(f"{name} has values that half precision cannot hold")
    half.made[f"{name}_half"] = tensor(f"{name}_half", values.astype(np.float16))
    return f"{name}_half"
