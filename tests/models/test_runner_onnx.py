"""The contract of runners, on ONNX Runtime."""

from __future__ import annotations

import pytest

from models.runner_onnx import OnnxRunner
from tests.contracts.runner import RunnerContract
from tests.fakes.small_network import small_onnx


@pytest.fixture
def runner() -> OnnxRunner:
    return OnnxRunner(small_onnx(), threads=1)


class TestOnnxRunner(RunnerContract):
    """The contract, in place."""
