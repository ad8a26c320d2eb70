"""Open a detector and an embedder that belong together."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import TypeAdapter

from appliance.ports import Region
from appliance.records.deployment import OperatingPoint
from models.detector import OnnxDetector, detector_bytes
from models.embedder import OnnxEmbedder, embedder_bytes
from models.manifest import load_manifest
from models.runner_choice import EngineSettings, RunnerName, open_runners


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelPair:
    """What the vision worker and enrolment share; `is_production` False is refused in production."""

    pair_id: str
    detector: OnnxDetector
    embedder: OnnxEmbedder
    is_production: bool
    operating_points: tuple[OperatingPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBytes:
    """What a pair takes from its two regions."""

    detector_bytes: int
    embedder_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPoints:
    """The operating points of one pair, and how they were measured."""

    command: str
    note: str
    points: tuple[OperatingPoint, ...]


def open_pair(
    pair: str,
    folder: Path,
    *,
    detector_region: Region,
    embedder_region: Region,
    detector_width_px: int,
    detector_height_px: int,
    largest_frame_bytes: int,
    threads: int,
    runner: RunnerName = "onnx",
    engines: EngineSettings | None = None,
) -> ModelPair:
    """Check, load and bind both models of a pair.

    Args:
        pair: Its id in the manifest, such as "centerface-dlib".
        folder: The models folder that `models fetch` filled.
        detector_region, embedder_region: Two different regions, for these models alone.
        detector_width_px, detector_height_px: What the detector sees, multiples of 32.
        largest_frame_bytes: H * W * 3 of the largest picture that will come.
        threads: Threads of each network.
        runner: The library that runs both.
        engines: Where TensorRT's engines lie; only for it.

    Blocks: 0.2 to 0.5 s.

    Raises:
        UsageError: No such pair, or TensorRT without `engines`.
        ModelMissingError: Not fetched, or no file of it for this runner.
        ModelIntegrityError: A file is not the manifest's.
        EngineError, DependencyError: TensorRT, without an engine or on a machine without it.
        ConfigError: The detector's size.
        ProcessSettingsError: The runtime's telemetry is not switched off.
    """
    manifest = load_manifest()
    entry = manifest.pair(pair)
    detector, embedder = manifest.model(entry.detector), manifest.model(entry.embedder)
    runners = open_runners(runner, (detector, embedder), folder, threads=threads, engines=engines)
    return ModelPair(
        pair_id=entry.id,
        detector=OnnxDetector(
            detector,
            runners[0],
            region=detector_region,
            width_px=detector_width_px,
            height_px=detector_height_px,
            largest_frame_bytes=largest_frame_bytes,
        ),
        embedder=OnnxEmbedder(
            embedder,
            runners[1],
            region=embedder_region,
            largest_frame_bytes=largest_frame_bytes,
        ),
        is_production=entry.is_production,
        operating_points=operating_points_of(entry.id),
    )


def pair_bytes(
    pair: str, *, detector_width_px: int, detector_height_px: int, largest_frame_bytes: int
) -> PairBytes:
    """Return how large the two regions of `open_pair` must be, without opening anything."""
    manifest = load_manifest()
    entry = manifest.pair(pair)
    return PairBytes(
        detector_bytes=detector_bytes(
            manifest.model(entry.detector),
            width_px=detector_width_px,
            height_px=detector_height_px,
            largest_frame_bytes=largest_frame_bytes,
        ),
        embedder_bytes=embedder_bytes(
            manifest.model(entry.embedder), largest_frame_bytes=largest_frame_bytes
        ),
    )


def operating_points_of(pair: str) -> tuple[OperatingPoint, ...]:
    """Return what was measured for a pair (models/operating_points.json); empty when nothing was."""
    data = (resources.files("models") / "operating_points.json").read_bytes()
    measured = TypeAdapter(dict[str, MeasuredPoints]).validate_json(data, extra="forbid")
    return measured[pair].points if pair in measured else ()
