"""Build the graphs that are loaded: preprocessing in front of a network, and the same bytes every time.

Only models/convert_*.py use this, at fetch time; the appliance itself never needs the onnx package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from appliance.errors import DependencyError, ModelIntegrityError
from models.manifest import Preprocessing

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""TensorRT 10.13 reads GridSample of opset 20 wrongly; 18 is the most, 17 has all that is needed."""
IR_VERSION = 8


def require_onnx() -> None:
    """Raise DependencyError when the onnx package is not installed."""
    try:
        import onnx  # noqa: F401
    except ImportError as err:
        raise DependencyError(
            "converting models needs the onnx package: pip install 'appliance[build]'"
        ) from err


def parse_network(data: bytes) -> onnx.ModelProto:
    """Return the network that ONNX bytes hold; ModelIntegrityError when they hold none."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it has no types

    try:
        return onnx.load_model_from_string(data)
    except DecodeError as err:
        raise ModelIntegrityError("not an ONNX file") from err


def tensor(name: str, values: npt.NDArray[np.generic]) -> onnx.TensorProto:
    """Return a constant of the graph."""
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(values), name)


def letterbox_nodes(network_input: str) -> list[onnx.NodeProto]:
    """Return the nodes from `frame` (uint8, 1 H W 3) to the detector's input (float32, 1 3 h w).

    The two inputs `resized` and `pads` say how: a detector's size is a matter of configuration, its file is
    not. Resizing stands before the transposition: after it, ONNX Runtime takes 50 ms for a frame of
    1280x720, this way 3.4 ms (one thread, x86-64). uint8 leaves the graph at the first node because
    TensorRT takes it as an input only.
    """
    from onnx import helper

    return [
        helper.make_node("Cast", ["frame"], ["frame_float"], to=1),
        helper.make_node(
            "Resize",
            ["frame_float", "", "", "resized"],
            ["frame_resized"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
        helper.make_node("Pad", ["frame_resized", "pads"], ["frame_padded"]),
        helper.make_node("Transpose", ["frame_padded"], [network_input], perm=[0, 3, 1, 2]),
    ]


def letterbox_inputs() -> list[onnx.ValueInfoProto]:
    """Return the declarations of a detector's inputs."""
    from onnx import TensorProto, helper

    return [
        helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, "height", "width", 3]),
        helper.make_tensor_value_info("resized", TensorProto.INT64, [4]),
        helper.make_tensor_value_info("pads", TensorProto.INT64, [8]),
    ]


def warp_nodes(spec: Preprocessing, network_input: str) -> list[onnx.NodeProto]:
    """Return the nodes from `crop` (uint8, 1 H W 3) and `theta` (1 2 3) to the network's chip (1 3 P P).

    `theta` takes the chip's pixel (x, y, 1) to the crop in GridSample's coordinates, -1..1 from edge to
    edge; what lies outside the crop is 0.
    """
    from onnx import helper

    channels = [] if spec.channels == "RGB" else ["channel_order"]
    warped = "chip_rgb" if channels else "chip_raw"
    nodes = [
        helper.make_node("Cast", ["crop"], ["crop_float"], to=1),
        helper.make_node("Transpose", ["crop_float"], ["crop_planes"], perm=[0, 3, 1, 2]),
        helper.make_node("MatMul", ["theta", "chip_pixels"], ["grid_rows"]),
        helper.make_node("Transpose", ["grid_rows"], ["grid_points"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["grid_points", "grid_shape"], ["grid"]),
        helper.make_node(
            "GridSample",
            ["crop_planes", "grid"],
            [warped],
            mode="bilinear",
            padding_mode="zeros",
            align_corners=0,
        ),
    ]
    if channels:
        nodes.append(helper.make_node("Gather", [warped, *channels], ["chip_raw"], axis=1))
    nodes.append(helper.make_node("Sub", ["chip_raw", "chip_mean"], ["chip_centred"]))
    nodes.append(helper.make_node("Mul", ["chip_centred", "chip_factor"], [network_input]))
    return nodes


def warp_constants(spec: Preprocessing) -> list[onnx.TensorProto]:
    """Return the constants that `warp_nodes` names."""
    size = spec.chip_px
    rows, columns = np.divmod(np.arange(size * size, dtype=np.float32), np.float32(size))
    pixels = np.stack([columns, rows, np.ones_like(rows)])
    factor = (1.0 / np.array(spec.deviation, np.float64)).astype(np.float32)
    constants = [
        tensor("chip_pixels", pixels.astype(np.float32)),
        tensor("grid_shape", np.array([1, size, size, 2], np.int64)),
        tensor("chip_mean", np.array(spec.mean, np.float32).reshape(1, 3, 1, 1)),
        tensor("chip_factor", factor.reshape(1, 3, 1, 1)),
    ]
    if spec.channels == "BGR":
        constants.append(tensor("channel_order", np.array([2, 1, 0], np.int64)))
    return constants


def warp_inputs() -> list[onnx.ValueInfoProto]:
    """Return the declarations of an embedder's inputs."""
    from onnx import TensorProto, helper

    return [
        helper.make_tensor_value_info("crop", TensorProto.UINT8, [1, "height", "width", 3]),
        helper.make_tensor_value_info("theta", TensorProto.FLOAT, [1, 2, 3]),
    ]


def template_output(length: int) -> onnx.ValueInfoProto:
    """Return the declaration of an embedder's output."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info("template", TensorProto.FLOAT, [1, length])


def serialise(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto],
    *,
    opset: int = OPSET,
) -> bytes:
    """Return the checked graph as bytes that depend on its content only.

    What varies between versions of the onnx package (producer, version of the format, notes, names of
    nodes) is pinned or left out.

    Raises:
        ModelIntegrityError: The graph is not valid ONNX.
    """
    import onnx
    from onnx import helper

    for node in nodes:
        node.ClearField("name")
        node.ClearField("doc_string")
    used = {name for node in nodes for name in node.input}
    kept = [c for c in constants if c.name in used]
    graph = helper.make_graph(list(nodes), "appliance", list(inputs), list(outputs), kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    model.producer_name, model.producer_version = "appliance", ""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as err:
        raise ModelIntegrityError(f"the converted graph is not valid: {str(err).splitlines()[0]}") from err
    return bytes(model.SerializeToString(deterministic=True))
