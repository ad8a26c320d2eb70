from __future__ import annotations

import asyncio
import json
import socket

import pytest

from appliance.errors import ConfigError
from appliance.health import judge_health
from appliance.records.health import HealthRecord
from appliance.records.wire import prepare_records
from drivers.mosquitto import free_port
from drivers.status_server import StatusServer, StatusUnreachableError, fetch_health, render_metrics
from tests.test_health import observed


@pytest.fixture(autouse=True, scope="module")
def parsers() -> None:
    prepare_records([HealthRecord])


async def test_health_and_metrics_are_served_on_loopback() -> None:
    port = await asyncio.to_thread(free_port)
    record = judge_health(observed())
    async with StatusServer(port, lambda: record):
        body = await asyncio.to_thread(fetch_health, port)
    assert json.loads(body)["appliance_id"] == "box"


async def test_before_the_first_look_it_says_so() -> None:
    port = await asyncio.to_thread(free_port)
    async with StatusServer(port, lambda: None):
        with pytest.raises(StatusUnreachableError, match="still starting"):
            await asyncio.to_thread(fetch_health, port)


async def test_a_taken_port_is_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match=r"health\.port"):
            async with StatusServer(other.getsockname()[1], lambda: None):
                pass


def test_nobody_there_is_one_line() -> None:
    with pytest.raises(StatusUnreachableError, match="no appliance answers"):
        fetch_health(free_port())


def test_metrics_have_every_reason_and_no_place() -> None:
    text = render_metrics(judge_health(observed(is_armed=False))).decode()
    assert 'appliance_reason{reason="not_armed"} 1.0' in text
    assert 'appliance_reason{reason="camera_lost"} 0.0' in text
    assert "appliance_armed 0.0" in text
