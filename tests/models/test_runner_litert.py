"""The contract of runners, on LiteRT, and that a run leaves nothing of its inputs in the interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from appliance.errors import DependencyError, ModelIntegrityError, ModelMismatchError
from models.runner_litert import LiteRtRunner
from tests.contracts.runner import RunnerContract, seeded
from tests.fakes.small_network import SHAPE, small_tflite


@pytest.fixture
def runner() -> LiteRtRunner:
    return LiteRtRunner(small_tflite(), threads=1)


class TestLiteRtRunner(RunnerContract):
    """The contract, by copies that are cleared."""


def kept(runner: LiteRtRunner) -> set[str]:
    """Return which inputs and outputs hold anything but zeros; 2x + y of zeros is zeros."""
    details = [*runner._inputs.values(), *runner._outputs.values()]
    return {d["name"] for d in details if runner._interpreter.tensor(d["index"])().any()}


def bind(runner: LiteRtRunner) -> None:
    runner.bind_input("x", seeded(1))
    runner.bind_input("y", seeded(2))
    runner.bind_output("z", np.zeros(SHAPE, np.float32))


def test_nothing_of_the_inputs_stays_in_the_tensors(runner: LiteRtRunner) -> None:
    bind(runner)
    runner.run()
    assert kept(runner) == set()


def test_nothing_stays_after_a_run_that_is_refused_at_its_output(runner: LiteRtRunner) -> None:
    bind(runner)
    runner.bind_output("z", np.zeros((1, 31), np.float32))
    with pytest.raises(ModelMismatchError):
        runner.run()
    assert kept(runner) == set()


def test_free_sides_take_the_shape_that_is_bound() -> None:
    runner = LiteRtRunner(small_tflite(is_free=True), threads=1)
    x = np.arange(7, dtype=np.float32)[None]
    z = np.zeros((1, 7), np.float32)
    runner.bind_input("x", x)
    runner.bind_input("y", x)
    runner.bind_output("z", z)
    runner.run()
    np.testing.assert_array_equal(z, 3 * x)


def found(mode: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.litert_residue", mode],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def test_input_and_activations_are_nowhere_in_the_process_after_a_run() -> None:
    assert found("cleared") == {"input": 0, "activation": 0}


def test_control_without_the_run_on_zeros_finds_both() -> None:
    assert all(found("kept").values())


@pytest.mark.parametrize("data", [b"", b"no network", small_tflite()[:100]], ids=["none", "text", "cut"])
def test_bytes_that_are_no_network_are_refused(data: bytes) -> None:
    with pytest.raises(ModelIntegrityError):
        LiteRtRunner(data, threads=1)


def test_machine_without_litert_gets_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(DependencyError, match="ai-edge-litert"):
        LiteRtRunner(small_tflite(), threads=1)
