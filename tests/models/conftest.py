"""Models for the tests: the default pair is fetched once, the others are skipped where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from appliance.records.frames import Pixels
from models.evaluation import open_for_measuring, read_pixels
from models.fetch import entries_of, fetch_entries
from models.manifest import Manifest, load_manifest
from models.pairs import ModelPair

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / ".cache" / "models"
SHARED = REPOSITORY.parent / "shared" / "models"


def ignore_step(what: str, n_done: int, n_all: int) -> None:
    """Take a progress report and do nothing."""


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    return load_manifest()


@pytest.fixture(scope="session")
def model_folder(manifest: Manifest) -> Path:
    """Return the folder with the default pair and the pictures; fetches what is missing, once."""
    entries = entries_of(manifest, [], pictures=True)
    fetch_entries(entries, manifest=manifest, folder=FOLDER, source=None, on_step=ignore_step)
    return FOLDER


@pytest.fixture(scope="session")
def shared_models() -> Path:
    if not SHARED.is_dir():
        pytest.skip("no ../shared/models on this machine")
    return SHARED


@pytest.fixture(scope="session")
def better_folder(manifest: Manifest, shared_models: Path) -> Path:
    entries = entries_of(manifest, ["yunet-mobilefacenet", "yunet-n-mobilefacenet"], pictures=False)
    fetch_entries(entries, manifest=manifest, folder=FOLDER, source=shared_models, on_step=ignore_step)
    return FOLDER


def open_small(pair: str, folder: Path) -> ModelPair:
    """Open a pair with the detector's size that the stream uses."""
    return open_for_measuring(pair, folder, width_px=640, height_px=384, threads=1)


@pytest.fixture(scope="session")
def default_pair(model_folder: Path) -> ModelPair:
    return open_small("centerface-dlib", model_folder)


@pytest.fixture(scope="session")
def better_pair(better_folder: Path) -> ModelPair:
    return open_small("yunet-mobilefacenet", better_folder)


@pytest.fixture(scope="session")
def portraits(model_folder: Path) -> tuple[Pixels, Pixels]:
    """Return the astronaut's and Grace Hopper's picture."""
    return read_pixels(model_folder / "astronaut.png"), read_pixels(model_folder / "grace_hopper.jpg")


def embed_main_face(pair: ModelPair, pixels: Pixels) -> np.typing.NDArray[np.float32]:
    """Return the template of the best face of a picture."""
    template = np.zeros(pair.embedder.template_length, np.float32)
    pair.embedder.embed(pixels, pair.detector.detect(pixels)[0].points, template)
    return template
