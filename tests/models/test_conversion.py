"""The converted networks are the networks, and their preprocessing is the reference's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from appliance.errors import ModelIntegrityError
from appliance.records.frames import Pixels
from models.alignment import CHIP_POINTS
from models.convert import convert_unchecked
from models.convert_dlib import convert_dlib
from models.convert_networks import convert_centerface, convert_chip_network, convert_yunet
from models.manifest import Manifest, ModelEntry
from models.pairs import ModelPair
from models.runner_onnx import OnnxRunner
from models.sources import take_from_package
from models.synthetic import synthetic_face, synthetic_points

FIXTURE = json.loads((Path(__file__).parent / "templates.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def dlib_entry(manifest: Manifest) -> ModelEntry:
    return manifest.model("dlib-resnet29-1")


@pytest.fixture(scope="session")
def dlib_data(dlib_entry: ModelEntry, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return take_from_package(dlib_entry, tmp_path_factory.mktemp("package"))


def seeded_picture() -> Pixels:
    """Return noise that is the same everywhere: bytes of the Philox generator."""
    return np.random.Generator(np.random.Philox(7)).integers(0, 256, (170, 190, 3), dtype=np.uint8)


def seeded_points(model: str) -> npt.NDArray[np.float32]:
    """Return points that turn, scale and shift the chip."""
    places = np.array(CHIP_POINTS[model]) * complex(0.9, 0.12) + complex(25, 11)
    return np.stack([places.real, places.imag], axis=-1).astype(np.float32)


def embed_seeded(pair: ModelPair, chip_points: str) -> npt.NDArray[np.float32]:
    template = np.zeros(pair.embedder.template_length, np.float32)
    pair.embedder.embed(seeded_picture(), seeded_points(chip_points), template)
    return template


def test_dlib_template_is_as_stored(default_pair: ModelPair) -> None:
    found = embed_seeded(default_pair, "dlib-150")
    np.testing.assert_allclose(found[:8], FIXTURE["dlib-resnet29-1"], atol=2e-5)


def test_mobilefacenet_template_is_as_stored(better_pair: ModelPair) -> None:
    found = embed_seeded(better_pair, "arcface-112")
    np.testing.assert_allclose(found[:8], FIXTURE["mobilefacenet-arcface-1"], atol=2e-5)


def test_wrong_normalisation_changes_the_template(
    manifest: Manifest, shared_models: Path, better_pair: ModelPair
) -> None:
    """Pairs score the same with (x - 127.5) / 128, so only the template itself can tell."""
    entry = manifest.model("mobilefacenet-arcface-1")
    wrong = dataclasses.replace(entry.preprocessing, mean=(127.5,) * 3, deviation=(128.0,) * 3)
    original = (shared_models / entry.file_name).read_bytes()
    template = _embed_with(convert_chip_network(original, wrong, 128), synthetic_face())
    right = np.zeros(128, np.float32)
    better_pair.embedder.embed(synthetic_face(), synthetic_points(), right)
    assert float(template @ right) < 0.999
    assert entry.preprocessing.mean == (123.675, 116.28, 103.53)
    assert entry.preprocessing.deviation == (58.395, 57.12, 57.375)


def _embed_with(model: bytes, pixels: Pixels) -> npt.NDArray[np.float32]:
    from models.embedder import OnnxEmbedder
    from models.manifest import load_manifest
    from tests.fakes.region import FakeRegion

    embedder = OnnxEmbedder(
        load_manifest().model("mobilefacenet-arcface-1"),
        OnnxRunner(model, threads=1),
        region=FakeRegion(),
        largest_frame_bytes=1 << 20,
    )
    template = np.zeros(128, np.float32)
    embedder.embed(pixels, synthetic_points(), template)
    return template


@pytest.mark.timeout(60)
def test_truncated_dlib_file_is_refused(dlib_entry: ModelEntry, dlib_data: bytes) -> None:
    for length_bytes in (0, 1, 40, 200, 100_000, len(dlib_data) // 2, len(dlib_data) - 1):
        with pytest.raises(ModelIntegrityError, match="dlib network"):
            convert_dlib(dlib_data[:length_bytes], dlib_entry.preprocessing, 128)


@pytest.mark.timeout(60)
def test_longer_dlib_file_is_refused(dlib_entry: ModelEntry, dlib_data: bytes) -> None:
    with pytest.raises(ModelIntegrityError, match="1 bytes too many"):
        convert_dlib(dlib_data + b"\0", dlib_entry.preprocessing, 128)


@pytest.mark.timeout(60)
def test_other_dlib_network_is_refused(dlib_entry: ModelEntry, dlib_data: bytes) -> None:
    changed = {
        "another loss": dlib_data.replace(b"loss_metric_2", b"loss_metric_9", 1),
        "another layer": dlib_data.replace(b"max_pool_2", b"max_pool_3", 1),
        "another version": b"\x01\x02" + dlib_data[2:],
        "not an integer": b"\x7f" + dlib_data[1:],
    }
    for data in changed.values():
        with pytest.raises(ModelIntegrityError, match="dlib network"):
            convert_dlib(data, dlib_entry.preprocessing, 128)


@pytest.mark.timeout(60)
def test_dlib_conversion_gives_the_pinned_bytes(dlib_entry: ModelEntry, dlib_data: bytes) -> None:
    from models.files import sha256_of

    assert sha256_of(convert_unchecked(dlib_entry, dlib_data)) == dlib_entry.converted_sha256


@pytest.mark.parametrize("model_id", ["centerface-1", "yunet-s-1", "mobilefacenet-arcface-1"])
def test_bytes_that_are_no_network_are_refused(manifest: Manifest, model_id: str) -> None:
    for data in (b"not a network", b""):
        with pytest.raises(ModelIntegrityError):
            convert_unchecked(manifest.model(model_id), data)


def test_another_network_than_the_converter_s_is_refused(manifest: Manifest, shared_models: Path) -> None:
    yunet = (shared_models / "yunet_s_640_640.onnx").read_bytes()
    chip = (shared_models / "mobilefacenet_arcface.onnx").read_bytes()
    raw = manifest.model("yunet-s-1").preprocessing
    with pytest.raises(ModelIntegrityError, match="number of inputs"):
        convert_centerface(yunet, manifest.model("centerface-1").preprocessing)
    with pytest.raises(ModelIntegrityError, match="number of inputs"):
        convert_yunet(chip, raw)
    others = (
        dataclasses.replace(raw, mean=(1.0, 0.0, 0.0)),
        dataclasses.replace(raw, deviation=(2.0, 1.0, 1.0)),
        dataclasses.replace(raw, channels="RGB"),
    )
    for other in others:
        with pytest.raises(ModelIntegrityError, match=r"BGR, 0\.\.255"):
            convert_yunet(yunet, other)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_templates_are_dlib_s_own(
    dlib_data: bytes, default_pair: ModelPair, portraits: tuple[Pixels, Pixels], tmp_path: Path
) -> None:
    dlib = pytest.importorskip("dlib")
    path = tmp_path / "network.dat"
    path.write_bytes(dlib_data)
    network = dlib.face_recognition_model_v1(str(path))
    for pixels in portraits:
        chip = np.ascontiguousarray(pixels[100:250, 150:300])
        theirs = np.array(network.compute_face_descriptor(chip))
        places = np.array(CHIP_POINTS["dlib-150"])
        points = np.stack([places.real, places.imag], axis=-1).astype(np.float32)
        ours = np.zeros(128, np.float32)
        default_pair.embedder.embed(chip, points, ours)
        np.testing.assert_allclose(ours, theirs / np.linalg.norm(theirs), atol=1e-4)
