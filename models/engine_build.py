"""Build a TensorRT engine from an ONNX graph, by what TensorRT 10 and 11 share. Blocks: minutes.

Precision is the graph's own (the network is strongly typed): models.half makes a graph of half precision.
Nothing here ran on a Jetson.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance.errors import EngineError
from models.engines import EngineProfile

WORKSPACE_BYTES = 1 << 30
OPTIMISATION_LEVEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """An engine, and what TensorRT measured on the way, which makes the next build shorter."""

    engine: bytes
    timing_cache: bytes


def build_engine(
    tensorrt: Any, model: bytes, profile: EngineProfile, *, timing_cache: bytes = b""
) -> BuiltEngine:
    """Build an engine for this machine's GPU.

    Args:
        tensorrt: The module.
        model: ONNX bytes that were checked, of the precision that is wanted.
        profile: What it is built for.
        timing_cache: Of an earlier build on this machine, in this run.

    Raises:
        EngineError: TensorRT cannot read the graph or build it for this profile.
    """
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    strongly_typed = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(model):
        reason = parser.get_error(0).desc() if parser.num_errors else "no reason given"
        raise EngineError(f"TensorRT cannot read the graph: {reason}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.builder_optimization_level = OPTIMISATION_LEVEL
    config.set_timing_cache(config.create_timing_cache(timing_cache), False)
    config.add_optimization_profile(_profile_of(builder, profile))
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise EngineError("TensorRT could not build the engine; its own messages say why")
    return BuiltEngine(engine=bytes(serialised), timing_cache=bytes(config.get_timing_cache().serialize()))


def _profile_of(builder: Any, profile: EngineProfile) -> Any:
    made = builder.create_optimization_profile()
    for bounds in profile.shapes:
        made.set_shape(bounds.name, bounds.least, bounds.usual, bounds.most)
    for bounds in profile.values:
        made.set_shape_input(bounds.name, bounds.least, bounds.usual, bounds.most)
    return made
