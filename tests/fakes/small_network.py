"""The network of the runners' contract, z = 2x + y, as ONNX and as .tflite; made without TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SHAPE = (1, 32)


def small_onnx() -> bytes:
    """Return it as ONNX bytes."""
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE)

    nodes = [helper.make_node("Mul", ["x", "two"], ["xx"]), helper.make_node("Add", ["xx", "y"], ["z"])]
    two = numpy_helper.from_array(np.array([2], np.float32), "two")
    graph = helper.make_graph(nodes, "small", [value("x"), value("y")], [value("z")], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def small_tflite(*, is_free: bool = False) -> bytes:
    """Return it as .tflite bytes, built with LiteRT's own schema; `is_free` leaves the width free."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version = 3
    model.operatorCodes = [_code(schema, "MUL"), _code(schema, "ADD")]
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(np.array([2], np.float32).tobytes(), np.uint8)
    names = ("x", "y", "two", "xx", "z")
    graph.tensors = [_tensor(schema, name, is_free=is_free) for name in names]
    graph.inputs, graph.outputs = np.array([0, 1], np.int32), np.array([4], np.int32)
    graph.operators = [_operator(schema, "Mul", 0, [0, 2], 3), _operator(schema, "Add", 1, [3, 1], 4)]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(schema: Any, name: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
    code.version = 1
    return code


def _tensor(schema: Any, name: str, *, is_free: bool) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.type = name, schema.TensorType.FLOAT32
    tensor.buffer = 1 if name == "two" else 0
    tensor.shape = _sides((1,) if name == "two" else SHAPE)
    if is_free and name != "two":
        tensor.shapeSignature = _sides((1, -1))
    return tensor


def _operator(schema: Any, kind: str, at: int, inputs: list[int], output: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs = at, np.array(inputs, np.int32)
    operator.outputs = np.array([output], np.int32)
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
    operator.builtinOptions = getattr(schema, f"{kind}OptionsT")()
    return operator


def _sides(shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    return np.array(shape, np.int32)
