"""`appliance engines`: builds what is missing, leaves what is there, and one clear line without TensorRT."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from appliance.app.demo.steps import DemoFolder
from appliance.app.engines import build_engines
from appliance.errors import DependencyError, EngineError
from tests.fakes.jetson_memory import FakeDriver, FakeJetsonMemory
from tests.fakes.tensorrt import FakeTensorRt
from tests.models.conftest import manifest, model_folder

__all__ = ["manifest", "model_folder"]


@pytest.fixture
def config(tmp_path: Path, model_folder: Path) -> Path:
    """Return a configuration whose models folder is its own, with links to the models."""
    models = tmp_path / "models"
    models.mkdir()
    for path in model_folder.glob("*.onnx"):
        (models / path.name).symlink_to(path)
    DemoFolder(path=tmp_path, console=Console(quiet=True)).write_config(
        models=Path("models"),
        port=1,
        trust_sha256="0" * 64,
        source="street.mp4",
        password_file="broker.password",
    )
    return tmp_path / "appliance.toml"


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    jetson = FakeJetsonMemory()
    fake = FakeTensorRt(jetson)
    monkeypatch.setitem(sys.modules, "jetson_utils", jetson)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    yield fake
    gc.collect()
    assert (fake.violations, jetson.violations) == ([], [])


def built(config: Path, capsys: pytest.CaptureFixture[str], **more: Any) -> list[dict[str, Any]]:
    options = {"precision": "half", "driver": FakeDriver(), **more}
    build_engines(config, as_json=True, **options)
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["engines"]
    return rows


def test_both_engines_are_built_once(
    config: Path, tensorrt: FakeTensorRt, capsys: pytest.CaptureFixture[str]
) -> None:
    first = built(config, capsys)
    assert [row["model_id"] for row in first] == ["centerface-1", "dlib-resnet29-1"]
    assert [row["is_built"] for row in first] == [True, True]
    assert all(Path(row["path"]).stat().st_mode & 0o777 == 0o600 for row in first)
    assert {(row["tensorrt"], row["compute_capability"], row["precision"]) for row in first} == {
        ("10.3.0", "8.7", "half")
    }
    assert [row["is_built"] for row in built(config, capsys)] == [False, False]
    assert tensorrt.n_builds == 2


def test_damaged_engine_is_built_again(
    config: Path, tensorrt: FakeTensorRt, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(built(config, capsys)[0]["path"])
    path.write_bytes(path.read_bytes()[:-1])
    assert [row["is_built"] for row in built(config, capsys)] == [True, False]
    assert [row["is_built"] for row in built(config, capsys)] == [False, False]


@pytest.mark.parametrize("more", [{"precision": "single"}, {"driver": FakeDriver(11, 0)}], ids=str)
def test_another_gpu_or_precision_is_another_engine(
    config: Path, tensorrt: FakeTensorRt, capsys: pytest.CaptureFixture[str], more: dict[str, Any]
) -> None:
    first = {row["path"] for row in built(config, capsys)}
    second = built(config, capsys, **more)
    assert all(row["is_built"] for row in second)
    assert not first & {row["path"] for row in second}


def test_build_that_fails_writes_nothing(
    config: Path, tensorrt: FakeTensorRt, capsys: pytest.CaptureFixture[str]
) -> None:
    tensorrt.fails.add("build")
    with pytest.raises(EngineError, match="could not build"):
        built(config, capsys)
    assert not (config.parent / "models" / "engines").exists()


def test_person_sees_one_line_an_engine(
    config: Path, tensorrt: FakeTensorRt, capsys: pytest.CaptureFixture[str]
) -> None:
    build_engines(config, precision="half", as_json=False, driver=FakeDriver())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["built", "built"]


def test_machine_without_tensorrt_gets_one_clear_line(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DependencyError, match="no TensorRT"):
        build_engines(config, precision="half", as_json=False)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="this machine has TensorRT")
def test_command_on_a_machine_without_tensorrt_ends_with_3_and_one_line(config: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "engines", "--config", str(config), "--json"],
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error[dependency.missing]: this machine has no TensorRT")
    assert len(done.stderr.splitlines()) == 1
