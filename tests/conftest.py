"""What every test needs: no telemetry, and a guard against blocking calls on the event loop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def loop_guard() -> Iterator[None]:
    """Fail a test whose event loop is blocked by a file, socket, sqlite or sleep call of our code."""
    from blockbuster import blockbuster_ctx

    with blockbuster_ctx(["appliance", "drivers"]):
        yield
