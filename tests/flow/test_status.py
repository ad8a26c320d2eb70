"""Readiness and health as a technician meets them, on the real processes."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from appliance.app.demo.steps import command_of
from tests.flow.conftest import World, refused

pytestmark = pytest.mark.timeout(90)


def wait_until_ready(world: World) -> dict[str, object]:
    for _ in range(60):
        result = world.run("appliance", "status", "--config", "appliance.toml", "--json")
        if result.returncode == 0:
            health: dict[str, object] = json.loads(result.stdout)
            if health["is_ready"]:
                return health
        time.sleep(0.2)
    raise AssertionError("never ready")


def test_it_is_ready_without_a_broker_and_says_what_is_wrong(world: World) -> None:
    running = subprocess.Popen(
        command_of("appliance", "run", "--config", "appliance.toml"),
        cwd=world.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        health = wait_until_ready(world)
    finally:
        running.terminate()
        running.wait(20)
    assert health["is_armed"]
    reasons = health["reasons"]
    assert isinstance(reasons, list)
    assert "broker_unreachable" in reasons
    assert not {"not_ready", "not_armed", "camera_lost", "task_failing"} & set(reasons)


def test_nobody_there_is_one_line(world: World) -> None:
    result = world.run("appliance", "status", "--config", "appliance.toml")
    assert "is `appliance run` running?" in refused(result, "status.unreachable")
