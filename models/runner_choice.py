"""Choose what runs the two networks of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from appliance.errors import ModelMissingError, UsageError
from models.engines import (
    EngineKey,
    EngineProfile,
    Precision,
    detector_profile,
    embedder_profile,
    read_engine,
)
from models.fixed_size import fix_size
from models.half import to_half
from models.jetson_memory import JetsonDevice, open_device
from models.manifest import ModelEntry
from models.runner import Runner
from models.runner_onnx import OnnxRunner
from models.runner_tensorrt import TensorRtRunner, load_tensorrt
from models.store import load_model

RunnerName = Literal["onnx", "tensorrt", "litert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Where a pair's engines lie and what they are built for.

    `largest_width_px` and `largest_height_px` are the most of any camera; `driver` is for tests.
    """

    folder: Path
    detector_width_px: int
    detector_height_px: int
    largest_width_px: int
    largest_height_px: int
    precision: Precision
    driver: Any = None

    def profile_of(self, entry: ModelEntry) -> EngineProfile:
        """Return what the engine of a model is built for."""
        if entry.role == "embedder":
            return embedder_profile(
                largest_width_px=self.largest_width_px,
                largest_height_px=self.largest_height_px,
                precision=self.precision,
            )
        return detector_profile(
            width_px=self.detector_width_px,
            height_px=self.detector_height_px,
            largest_width_px=self.largest_width_px,
            largest_height_px=self.largest_height_px,
            precision=self.precision,
        )

    def graph_of(self, entry: ModelEntry, model: bytes) -> bytes:
        """Return the graph that an engine is built from; ModelIntegrityError, DependencyError (onnx)."""
        if entry.role == "detector":
            model = fix_size(model, width_px=self.detector_width_px, height_px=self.detector_height_px)
        return to_half(model) if self.precision == "half" else model

    def key_of(self, entry: ModelEntry, tensorrt: Any, device: JetsonDevice) -> EngineKey:
        """Return the key of a model's engine on this machine."""
        return EngineKey(
            model_id=entry.id,
            model_sha256=entry.converted_sha256,
            tensorrt=str(tensorrt.__version__),
            compute_capability=device.compute_capability,
            profile=self.profile_of(entry),
        )


def open_runners(
    name: RunnerName,
    entries: tuple[ModelEntry, ModelEntry],
    folder: Path,
    *,
    threads: int,
    engines: EngineSettings | None,
) -> tuple[Runner, Runner]:
    """Return a runner of its own for each of two models.

    Args:
        name: The library.
        entries: Detector and embedder.
        folder: The models folder.
        threads: Threads of each network; TensorRT needs none.
        engines: For TensorRT, and nothing else.

    Raises:
        UsageError: No such runner, or TensorRT without `engines`.
        ModelMissingError: Not fetched; or LiteRT, for which no model is pinned.
        ModelIntegrityError: A file is not the manifest's, or an engine not the one that was built.
        EngineError: No engine for this machine.
        DependencyError: The machine lacks TensorRT or jetson_utils.
    """
    if name not in get_args(RunnerName):
        raise UsageError(f"no runner {name}; there are: {', '.join(get_args(RunnerName))}")
    match name:
        case "onnx":
            first, second = (load_model(folder, entry) for entry in entries)
            return OnnxRunner(first, threads=threads), OnnxRunner(second, threads=threads)
        case "litert":
            raise ModelMissingError(f"the manifest pins no .tflite of {entries[0].id} and {entries[1].id}")
        case "tensorrt":
            if engines is None:
                raise UsageError("TensorRT needs to be told where its engines lie")
            return _open_engines(entries, engines)


def _open_engines(entries: tuple[ModelEntry, ModelEntry], settings: EngineSettings) -> tuple[Runner, Runner]:
    tensorrt, device = load_tensorrt(), open_device(settings.driver)

    def opened(entry: ModelEntry) -> TensorRtRunner:
        key = settings.key_of(entry, tensorrt, device)
        engine = read_engine(settings.folder, key)
        return TensorRtRunner(engine, tensorrt=tensorrt, device=device, profile=key.profile)

    return opened(entries[0]), opened(entries[1])
