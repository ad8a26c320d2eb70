"""Put preprocessing in front of networks that are ONNX already, and free their sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from appliance.errors import ModelIntegrityError
from models.decode import CENTERFACE_OUTPUTS, YUNET_OUTPUTS, YUNET_STRIDES_PX
from models.graph import (
    OPSET,
    letterbox_inputs,
    letterbox_nodes,
    parse_network,
    serialise,
    template_output,
    tensor,
    warp_constants,
    warp_inputs,
    warp_nodes,
)
from models.manifest import Preprocessing

if TYPE_CHECKING:
    import onnx

_OLDEST_OPSET = 9
_UNCHANGED_SINCE_9 = frozenset(
    {"Add", "BatchNormalization", "Clip", "Constant", "Conv", "ConvTranspose", "Flatten", "Gemm", "MaxPool"}
    | {"Mul", "PRelu", "Relu", "Reshape", "Resize", "Sigmoid", "Sub", "Transpose"}
)
"""Operators of these networks that mean the same in every opset from theirs to ours."""
_SIZE_ARITHMETIC = frozenset({"Shape", "Gather", "Unsqueeze", "Concat"})
"""What some files compute their reshapes' sizes with; a constant does, the batch being 1."""


def convert_centerface(data: bytes, spec: Preprocessing) -> bytes:
    """Return CenterFace with letterbox, named outputs and free sizes (the file declares 10x3x32x32).

    Raises:
        ModelIntegrityError: Another network.
    """
    from onnx import TensorProto, helper

    network = _read_network(data, n_inputs=1, n_outputs=len(CENTERFACE_OUTPUTS))
    _require_raw(spec, "RGB")
    outputs = []
    renamed = {_real_inputs(network)[0]: "picture"}
    for output in network.graph.output:
        if output.name not in CENTERFACE_OUTPUTS:
            raise ModelIntegrityError(f"CenterFace: unknown output {output.name}")
        name, n_channels = CENTERFACE_OUTPUTS[output.name]
        renamed[output.name] = name
        shape: list[str | int | None] = [1, n_channels, "rows", "columns"]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    nodes = [*letterbox_nodes("picture"), *_renamed(network, renamed)]
    return serialise(nodes, letterbox_inputs(), outputs, list(network.graph.initializer))


def convert_yunet(data: bytes, spec: Preprocessing) -> bytes:
    """Return YuNet with letterbox and a free size (the file declares 640x640, its reshapes do not).

    YuNet was trained on BGR: the first convolution's input channels are turned round instead of the picture.

    Raises:
        ModelIntegrityError: Another network.
    """
    from onnx import TensorProto, helper

    known = _UNCHANGED_SINCE_9 | _SIZE_ARITHMETIC
    network = _read_network(
        data, n_inputs=1, n_outputs=len(YUNET_OUTPUTS) * len(YUNET_STRIDES_PX), known=known
    )
    _require_raw(spec, "BGR")
    picture = _real_inputs(network)[0]
    outputs = []
    for kind, length in YUNET_OUTPUTS.items():
        for stride in YUNET_STRIDES_PX:
            shape: list[str | int | None] = [1, f"cells_{stride}", length]
            outputs.append(helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, shape))
    if {o.name for o in outputs} != {o.name for o in network.graph.output}:
        raise ModelIntegrityError("YuNet: other outputs than YuNet's")
    lengths = _fix_reshapes(network)
    constants = [*_turn_channels_round(network, picture), *lengths]
    nodes = [*letterbox_nodes("picture"), *_renamed(network, {picture: "picture"})]
    return serialise(nodes, letterbox_inputs(), outputs, constants)


def convert_chip_network(data: bytes, spec: Preprocessing, template_length: int) -> bytes:
    """Return a network of aligned chips with the warp before it and L2 normalisation after it.

    Raises:
        ModelIntegrityError: Not a network with one picture in and one vector out.
    """
    from onnx import helper

    network = _read_network(data, n_inputs=1, n_outputs=1)
    renamed = {_real_inputs(network)[0]: "chip", network.graph.output[0].name: "template_raw"}
    nodes = [
        *warp_nodes(spec, "chip"),
        *_renamed(network, renamed),
        helper.make_node("LpNormalization", ["template_raw"], ["template"], axis=1, p=2),
    ]
    constants = [*warp_constants(spec), *network.graph.initializer]
    opset = max(OPSET, *(o.version for o in network.opset_import))
    return serialise(nodes, warp_inputs(), [template_output(template_length)], constants, opset=opset)


def _read_network(
    data: bytes, *, n_inputs: int, n_outputs: int, known: frozenset[str] = _UNCHANGED_SINCE_9
) -> onnx.ModelProto:
    network = parse_network(data)
    if len(_real_inputs(network)) != n_inputs or len(network.graph.output) != n_outputs:
        raise ModelIntegrityError("another number of inputs or outputs than the network's")
    versions = {o.domain: o.version for o in network.opset_import}
    if set(versions) != {""} or not _OLDEST_OPSET <= versions[""] <= 18:
        raise ModelIntegrityError(f"operator sets {versions} are not handled")
    unknown = {n.op_type for n in network.graph.node} - known
    if unknown:
        raise ModelIntegrityError(f"operators not handled: {', '.join(sorted(unknown))}")
    return network


def _real_inputs(network: onnx.ModelProto) -> list[str]:
    """Return the inputs that are not constants; old files list those too."""
    constants = {c.name for c in network.graph.initializer}
    return [i.name for i in network.graph.input if i.name not in constants]


def _require_raw(spec: Preprocessing, channels: str) -> None:
    """Hold the manifest against what the converter does: values 0..255 in this order of channels."""
    if spec.channels != channels or any(spec.mean) or any(v - 1 for v in spec.deviation):
        raise ModelIntegrityError(f"the network's preprocessing must be {channels}, 0..255")


def _renamed(network: onnx.ModelProto, names: dict[str, str]) -> list[onnx.NodeProto]:
    nodes = list(network.graph.node)
    for node in nodes:
        for part in (node.input, node.output):
            for i, name in enumerate(part):
                part[i] = names.get(name, name)
    return nodes


def _fix_reshapes(network: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Give every reshape before an output the constant shape (1, -1, length) and drop the arithmetic."""
    kept = [n for n in network.graph.node if n.op_type not in _SIZE_ARITHMETIC]
    after = {n.input[0]: n.output[0] for n in kept if n.op_type == "Sigmoid"}
    for node in kept:
        if node.op_type == "Reshape":
            output = after.get(node.output[0], node.output[0])
            node.input[1] = f"shape_{output.partition('_')[0]}"
    del network.graph.node[:]
    network.graph.node.extend(kept)
    return [tensor(f"shape_{kind}", np.array([1, -1, n], np.int64)) for kind, n in YUNET_OUTPUTS.items()]


def _turn_channels_round(network: onnx.ModelProto, picture: str) -> list[onnx.TensorProto]:
    from onnx import numpy_helper

    first = [n for n in network.graph.node if picture in n.input]
    if len(first) != 1 or first[0].op_type != "Conv":
        raise ModelIntegrityError("the network does not begin with one convolution")
    constants = []
    for constant in network.graph.initializer:
        if constant.name == first[0].input[1]:
            constant = tensor(constant.name, np.flip(numpy_helper.to_array(constant), axis=1))
        constants.append(constant)
    return constants
