"""`appliance engines`: build TensorRT's engines for this machine, ahead of the first start."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from appliance.config import Config, load_config, resolve_path
from appliance.errors import EngineError, ModelIntegrityError
from models.engine_build import build_engine
from models.engines import EngineKey, Precision, read_engine, write_engine
from models.jetson_memory import JetsonDevice, open_device
from models.manifest import ModelEntry, load_manifest
from models.runner_choice import EngineSettings
from models.runner_tensorrt import load_tensorrt
from models.store import load_model

ENGINES_FOLDER = "engines"
"""Within the models folder."""
OnStep = Callable[[str, int, int], None]
_N_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """One engine: where it lies, and whether it was built now or was there."""

    model_id: str
    path: str
    is_built: bool
    tensorrt: str
    compute_capability: str
    precision: str


def build_engines(config_path: Path, *, precision: Precision, as_json: bool, driver: Any = None) -> None:
    """Build what is missing for the configuration's pair, and say what there is.

    Args:
        config_path: The configuration file.
        precision: Of the networks; their preprocessing is single in any case.
        as_json: One JSON object on standard output.
        driver: The CUDA driver, for tests.

    Blocks: minutes an engine.

    Raises:
        DependencyError: No TensorRT, no jetson_utils or no onnx package.
        ModelMissingError, ModelIntegrityError: A model is not there, or not the manifest's.
        EngineError: TensorRT could not build one.
    """
    config = load_config(config_path)
    settings = engine_settings(config, config_path, precision=precision, driver=driver)
    tensorrt, device = load_tensorrt(), open_device(driver)
    folder = resolve_path(config_path, config.models.folder)
    pair = load_manifest().pair(config.models.pair)
    entries = [load_manifest().model(name) for name in (pair.detector, pair.embedder)]
    columns = (TextColumn("{task.description:<44}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("engines", total=len(entries) * _N_STEPS)

        def on_step(what: str, n_done: int, n_all: int) -> None:
            progress.update(task, description=what, completed=n_done, total=n_all)

        reports = build_missing(tensorrt, device, entries, folder, settings, on_step)
    console = Console()
    if as_json:
        rows = [asdict(report) for report in reports]
        console.print(json.dumps({"engines": rows}), soft_wrap=True, highlight=False, markup=False)
        return
    for report in reports:
        state = "built" if report.is_built else "present"
        console.print(f"{state} {report.path}", soft_wrap=True, highlight=False, markup=False)


def engine_settings(
    config: Config, config_path: Path, *, precision: Precision, driver: Any = None
) -> EngineSettings:
    """Return what the engines of a configuration are built for; the vision worker must say the same."""
    return EngineSettings(
        folder=resolve_path(config_path, config.models.folder) / ENGINES_FOLDER,
        detector_width_px=config.models.detector_width_px,
        detector_height_px=config.models.detector_height_px,
        largest_width_px=max(camera.largest_width_px for camera in config.cameras),
        largest_height_px=max(camera.largest_height_px for camera in config.cameras),
        precision=precision,
        driver=driver,
    )


def build_missing(
    tensorrt: Any,
    device: JetsonDevice,
    entries: list[ModelEntry],
    folder: Path,
    settings: EngineSettings,
    on_step: OnStep,
) -> list[EngineReport]:
    """Build the engines that are missing, damaged or for something else; the errors of `build_engines`."""
    reports, timing_cache, n_all = [], b"", len(entries) * _N_STEPS
    for number, entry in enumerate(entries):
        n_done = number * _N_STEPS
        on_step(f"{entry.id}: read", n_done, n_all)
        key = settings.key_of(entry, tensorrt, device)
        model = load_model(folder, entry)
        path = settings.folder / key.file_name
        is_there = _is_usable(settings, key)
        if not is_there:
            on_step(f"{entry.id}: build, some minutes", n_done + 1, n_all)
            graph = settings.graph_of(entry, model)
            built = build_engine(tensorrt, graph, key.profile, timing_cache=timing_cache)
            timing_cache = built.timing_cache
            on_step(f"{entry.id}: write", n_done + 2, n_all)
            path = write_engine(settings.folder, key, built.engine)
        on_step(f"{entry.id}: done", n_done + _N_STEPS, n_all)
        reports.append(
            EngineReport(
                model_id=entry.id,
                path=str(path),
                is_built=not is_there,
                tensorrt=key.tensorrt,
                compute_capability=key.compute_capability,
                precision=settings.precision,
            )
        )
    return reports


def _is_usable(settings: EngineSettings, key: EngineKey) -> bool:
    try:
        read_engine(settings.folder, key)
    except (EngineError, ModelIntegrityError):
        return False
    return True
