"""The command line says what is there and refuses what it must."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from appliance.errors import ApplianceError, UsageError
from appliance.records.deployment import OperatingPoint
from appliance.records.frames import Pixels
from appliance.records.wire import parse_record
from models.command import app
from models.synthetic import synthetic_face


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, ApplianceError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="session")
def eval_folder(tmp_path_factory: pytest.TempPathFactory, portraits: tuple[Pixels, Pixels]) -> Path:
    """Return two people with two pictures, one of them turned round."""
    folder = tmp_path_factory.mktemp("eval")
    for name, pixels in zip(("astronaut", "hopper"), portraits, strict=True):
        (folder / name).mkdir()
        Image.fromarray(pixels).save(folder / name / "1.png")
        Image.fromarray(pixels[:, ::-1].copy()).save(folder / name / "2.png")
    return folder


def test_list_tells_missing_from_present(model_folder: Path, tmp_path: Path) -> None:
    there = json.loads(run("list", "--json", "--folder", str(model_folder)))
    states = {row["id"]: row["state"] for row in there["models"]}
    assert states["centerface-1"] == states["dlib-resnet29-1"] == states["astronaut"] == "present"
    (tmp_path / "centerface-1.onnx").write_bytes(b"damaged")
    empty = {
        r["id"]: r["state"] for r in json.loads(run("list", "--json", "--folder", str(tmp_path)))["models"]
    }
    assert empty["centerface-1"] == "damaged"
    assert empty["yunet-s-1"] == "missing"


def test_list_is_a_table_for_people(model_folder: Path) -> None:
    assert "dlib" in run("list", "--folder", str(model_folder))


def test_second_fetch_says_all_present(model_folder: Path) -> None:
    assert run("fetch", "--pictures", "--folder", str(model_folder)).startswith("all present")


def test_unknown_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pair"):
        run("fetch", "arcface-r100", "--folder", str(tmp_path))


def test_evaluate_states_sizes_intervals_and_the_caveat(eval_folder: Path, model_folder: Path) -> None:
    common = ["evaluate", str(eval_folder), "--pair", "centerface-dlib", "--folder", str(model_folder)]
    found = json.loads(run(*common, "--list-size", "1", "--splits", "2", "--fpir", "0.5", "--json"))
    assert found["n_pictures"] == 4
    assert found["n_without_face"] == 0
    assert "LFW is celebrities" in found["caveat"]
    assert found["rates"][0]["list_size"] == 1
    assert found["rates"][0]["tpir_interval"]["low"] < 1
    assert "LFW is celebrities" in run(*common, "--list-size", "1", "--splits", "2", "--fpir", "0.5")


def test_calibrate_gives_an_operating_point(eval_folder: Path, model_folder: Path) -> None:
    output = run(*_calibrate(eval_folder, model_folder), "--fpir", "0.5", "--splits", "20")
    point = parse_record(OperatingPoint, output.strip().encode(), limit_bytes=1000)
    assert point.model_id == "dlib-resnet29-1"
    assert point.gallery_size == 1
    assert point.measured_on == "2026-11-23"
    assert point.test_set == eval_folder.name


def _calibrate(eval_folder: Path, model_folder: Path, day: str = "2026-11-23") -> list[str]:
    common = ["calibrate", str(eval_folder), "--pair", "centerface-dlib", "--folder", str(model_folder)]
    return [*common, "--list-size", "1", "--measured-on", day, "--json"]


def test_rate_that_the_set_cannot_show_is_refused(eval_folder: Path, model_folder: Path) -> None:
    with pytest.raises(UsageError, match="cannot be measured"):
        run(*_calibrate(eval_folder, model_folder), "--fpir", "0.001")


def test_day_that_is_none_is_refused(eval_folder: Path, model_folder: Path) -> None:
    with pytest.raises(UsageError, match="YYYY-MM-DD"):
        run(*_calibrate(eval_folder, model_folder, "yesterday"), "--fpir", "0.5")


def test_bad_evaluation_folders_are_refused(model_folder: Path, tmp_path: Path) -> None:
    def evaluate(folder: Path, *more: str) -> str:
        return run("evaluate", str(folder), "--pair", "centerface-dlib", "--folder", str(model_folder), *more)

    with pytest.raises(UsageError, match="not a folder"):
        evaluate(tmp_path / "none")
    with pytest.raises(UsageError, match="<person>"):
        evaluate(tmp_path)
    (tmp_path / "person").mkdir()
    (tmp_path / "person" / "1.jpg").write_bytes(b"not a picture")
    with pytest.raises(ApplianceError, match="cannot be decoded"):
        evaluate(tmp_path)
    Image.fromarray(synthetic_face()).save(tmp_path / "person" / "1.jpg")
    with pytest.raises(UsageError, match="640x384"):
        evaluate(tmp_path, "--detector-size", "large")
    with pytest.raises(UsageError, match="too few"):
        evaluate(tmp_path)
