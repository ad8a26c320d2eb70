"""Fix the size that a detector's graph works at, as TensorRT needs it.

How much is padded depends on how large the picture was resized to; a profile bounds the two apart, and a
network of, say, twice or a hundredth of its size is not one that TensorRT can build. So the engine's graph
pads by a whole picture and cuts the same zeros off again: everything after the letterbox is of fixed size.
"""

from __future__ import annotations

import numpy as np

from appliance.errors import ModelIntegrityError
from models.graph import parse_network, require_onnx, tensor


def fix_size(model: bytes, *, width_px: int, height_px: int) -> bytes:
    """Return a detector's graph without its input `pads`, with the same results at this size.

    Raises:
        DependencyError: The onnx package is not installed.
        ModelIntegrityError: Not a detector that the converters of this package made.
    """
    require_onnx()
    from onnx import helper

    network = parse_network(model)
    graph = network.graph
    places = [i for i, node in enumerate(graph.node) if node.op_type == "Pad" and "pads" in node.input]
    if len(places) != 1:
        raise ModelIntegrityError("the graph has no letterbox: it was not converted here")
    pad = graph.node[places[0]]
    size = np.array([1, height_px, width_px, 3], np.int64)
    nodes = [
        helper.make_node("Pad", [pad.input[0], "whole_pads"], ["frame_large"]),
        helper.make_node("Slice", ["frame_large", "cut_from", "cut_to"], ["frame_cut"]),
        helper.make_node("Reshape", ["frame_cut", "cut_to"], [pad.output[0]]),
    ]
    after = [*graph.node[: places[0]], *nodes, *graph.node[places[0] + 1 :]]
    inputs = [i for i in graph.input if i.name != "pads"]
    del graph.node[:], graph.input[:]
    graph.node.extend(after)
    graph.input.extend(inputs)
    whole = np.array([0, 0, 0, 0, 0, height_px, width_px, 0], np.int64)
    graph.initializer.extend(
        [tensor("whole_pads", whole), tensor("cut_from", np.zeros(4, np.int64)), tensor("cut_to", size)]
    )
    return bytes(network.SerializeToString(deterministic=True))
