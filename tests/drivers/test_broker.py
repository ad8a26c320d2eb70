"""The link to a real Mosquitto, and the addresses and certificates that it refuses without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BrokerError, ConfigError
from appliance.records.alert_format import LARGEST_MESSAGE_BYTES
from appliance.records.broker import BrokerAccess
from drivers.broker import MqttBroker, parse_address
from drivers.mosquitto import BrokerIdentity, MosquittoProcess, start_mosquitto
from tests.fakes.mosquitto import access_of, require_mosquitto

APPLIANCE = BrokerIdentity(name="appliance-1", kind="appliance")
HANDSET = BrokerIdentity(name="handset-1", kind="handset")
TOPIC = "alerts/appliance-1/handset-1"
ACCESS = BrokerAccess(address="127.0.0.1:1883", identifier="a")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[MosquittoProcess]:
    program = require_mosquitto()
    with start_mosquitto(tmp_path / "mq", 0, program=program, identities=(APPLIANCE, HANDSET)) as process:
        yield process


async def take_one(link: MqttBroker, timeout_s: float = 5.0) -> tuple[str, bytes]:
    async def first() -> tuple[str, bytes]:
        async for message in link.messages():
            return message.topic, message.payload
        raise AssertionError("no message")

    return await asyncio.wait_for(first(), timeout_s)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("broker.example:8883", "broker.example", 8883),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_address_is_host_and_port(address: str, host: str, port: int) -> None:
    assert parse_address(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "broker",
        "broker:",
        ":1883",
        "broker:0",
        "broker:65536",
        "mqtt://broker:1883",
        "a b:1",
        "::1:1883",
        "h:1\n",
    ],
)
def test_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(address)
    with pytest.raises(ConfigError):
        MqttBroker(replace(ACCESS, address=address))


@pytest.mark.parametrize("identifier", ["", "a/b", "a b", "a" * 81])
def test_identifier_that_is_none_is_refused(identifier: str) -> None:
    with pytest.raises(ConfigError):
        MqttBroker(replace(ACCESS, identifier=identifier))


def test_certificate_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for access in (
        replace(ACCESS, ca_file=str(tmp_path / "missing.pem")),
        replace(ACCESS, ca_file=str(tmp_path / "ca.pem")),
        replace(ACCESS, certificate_file=str(tmp_path / "ca.pem")),
    ):
        with pytest.raises(ConfigError):
            MqttBroker(access)


async def test_nobody_there_is_a_broker_error() -> None:
    with pytest.raises(BrokerError):
        async with MqttBroker(replace(ACCESS, address="127.0.0.1:1")):
            raise AssertionError("connected to nobody")


async def test_link_that_is_not_open_raises() -> None:
    link = MqttBroker(ACCESS)
    with pytest.raises(BrokerError):
        await link.publish("a", b"", expiry_s=None)
    with pytest.raises(BrokerError):
        await link.subscribe("a")
    with pytest.raises(BrokerError):
        await take_one(link)


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a b", "\N{SNOWMAN}"])
async def test_topic_that_is_none_is_refused(topic: str) -> None:
    with pytest.raises(ConfigError):
        await MqttBroker(ACCESS).publish(topic, b"", expiry_s=None)


async def test_payload_that_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigError):
        await MqttBroker(ACCESS).publish("a", bytes(LARGEST_MESSAGE_BYTES + 1), expiry_s=None)


@pytest.mark.broker
@pytest.mark.timeout(120)
async def test_largest_message_goes_through(mosquitto: MosquittoProcess) -> None:
    async with (
        MqttBroker(access_of(mosquitto, APPLIANCE)) as appliance,
        MqttBroker(access_of(mosquitto, HANDSET)) as handset,
    ):
        await handset.subscribe(TOPIC)
        await appliance.publish(TOPIC, b"x" * LARGEST_MESSAGE_BYTES, expiry_s=60)
        assert await take_one(handset) == (TOPIC, b"x" * LARGEST_MESSAGE_BYTES)


@pytest.mark.broker
async def test_message_waits_for_a_handset_that_is_away(mosquitto: MosquittoProcess) -> None:
    async with MqttBroker(access_of(mosquitto, HANDSET)) as handset:
        await handset.subscribe(TOPIC)
    async with MqttBroker(access_of(mosquitto, APPLIANCE)) as appliance:
        await appliance.publish(TOPIC, b"waited", expiry_s=60)
    async with MqttBroker(access_of(mosquitto, HANDSET)) as handset:
        assert await take_one(handset) == (TOPIC, b"waited")


@pytest.mark.broker
async def test_message_past_its_expiry_is_not_passed_on(mosquitto: MosquittoProcess) -> None:
    async with MqttBroker(access_of(mosquitto, HANDSET)) as handset:
        await handset.subscribe(TOPIC)
    async with MqttBroker(access_of(mosquitto, APPLIANCE)) as appliance:
        await appliance.publish(TOPIC, b"old", expiry_s=1)
        await asyncio.sleep(2.1)  # the broker's clock, not ours
        await appliance.publish(TOPIC, b"new", expiry_s=60)
    async with MqttBroker(access_of(mosquitto, HANDSET)) as handset:
        assert await take_one(handset) == (TOPIC, b"new")


@pytest.mark.broker
async def test_killed_broker_ends_every_call(mosquitto: MosquittoProcess) -> None:
    async with MqttBroker(access_of(mosquitto, APPLIANCE), timeout_s=2.0) as link:
        mosquitto.kill()
        with pytest.raises(BrokerError):
            await take_one(link)
        with pytest.raises(BrokerError):
            await link.publish(TOPIC, b"", expiry_s=None)
        with pytest.raises(BrokerError):
            await link.subscribe("receipts/appliance-1/+")


@pytest.mark.broker
@pytest.mark.timeout(30)
async def test_cancelled_sender_ends_even_as_its_acknowledgement_comes(mosquitto: MosquittoProcess) -> None:
    async def send_for_ever(link: MqttBroker) -> None:
        while True:
            await link.publish(TOPIC, b"", expiry_s=None)

    for n_turns in range(6):  # of the event loop, between the acknowledgement and the cancellation
        async with MqttBroker(access_of(mosquitto, APPLIANCE)) as link:
            task = asyncio.ensure_future(send_for_ever(link))
            call_after_acknowledgement(link, task.cancel, n_turns)
            _, unfinished = await asyncio.wait({task}, timeout=1.0)
            task.cancel()
            assert not unfinished, f"a cancellation {n_turns} turns after the acknowledgement was swallowed"


def call_after_acknowledgement(link: MqttBroker, call: Callable[[], object], n_turns: int) -> None:
    """Have `call` run so many turns of the event loop after the first acknowledgement."""
    assert link._client is not None
    paho = link._client._client
    acknowledged = paho.on_publish

    def turn(left: int) -> None:
        if left == 0:
            call()
        else:
            asyncio.get_running_loop().call_soon(turn, left - 1)

    def on_publish(*arguments: Any) -> None:
        paho.on_publish = acknowledged
        assert acknowledged is not None
        acknowledged(*arguments)
        turn(n_turns)

    paho.on_publish = on_publish


@pytest.mark.broker
async def test_broker_that_accepts_and_says_nothing_is_a_broker_error() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side has closed
        writer.close()
        is_closed.set()

    is_closed = asyncio.Event()
    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(BrokerError, match="no answer"):
            async with MqttBroker(replace(ACCESS, address=f"127.0.0.1:{port}"), timeout_s=0.2):
                raise AssertionError("connected to a wall")
        await asyncio.wait_for(is_closed.wait(), 2.0)


@pytest.mark.broker
async def test_wrong_password_and_stranger_are_refused(mosquitto: MosquittoProcess) -> None:
    stranger = BrokerIdentity(name="stranger", kind="handset")
    for access in (
        access_of(mosquitto, HANDSET, password="wrong"),
        access_of(mosquitto, stranger),
        BrokerAccess(address=mosquitto.address, identifier="nobody"),
    ):
        with pytest.raises(BrokerError, match="uthor"):
            async with MqttBroker(access):
                raise AssertionError("let in")


@pytest.mark.broker
async def test_handset_does_not_get_what_is_for_another(mosquitto: MosquittoProcess) -> None:
    async with (
        MqttBroker(access_of(mosquitto, APPLIANCE)) as appliance,
        MqttBroker(access_of(mosquitto, HANDSET)) as handset,
    ):
        await handset.subscribe("alerts/#")
        await handset.publish(TOPIC, b"forged by a handset", expiry_s=None)
        await appliance.publish("alerts/appliance-1/handset-2", b"for another", expiry_s=None)
        await appliance.publish(TOPIC, b"for this one", expiry_s=None)
        assert await take_one(handset) == (TOPIC, b"for this one")
