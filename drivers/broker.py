"""The MQTT broker, over aiomqtt: MQTT 5, QoS 1, a session that the broker keeps."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from appliance.compat import Self, TimeoutErrors, timeout
from appliance.errors import BrokerError, ConfigError
from appliance.records.alert_format import LARGEST_MESSAGE_BYTES
from appliance.records.broker import BrokerAccess

if TYPE_CHECKING:
    from aiomqtt import Client
    from paho.mqtt.properties import Properties

ResultT = TypeVar("ResultT")
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]{1,253})):(?P<port>[0-9]{1,5})")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,80}")
_TOPIC = re.compile(r"[A-Za-z0-9_/-]{1,250}")
_FILTER = re.compile(r"[A-Za-z0-9_/+#-]{1,250}")
_LARGEST_PACKET_BYTES = LARGEST_MESSAGE_BYTES + 1024
_MOST_WAITING_MESSAGES = 256
"""What comes while as many wait is dropped; the sender sends it again until it has its receipt."""
_KEEPALIVE_S = 20
_GOODBYE_S = 0.05
_LARGEST_U32 = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """Implement the BrokerMessage port."""

    topic: str
    payload: bytes


class MqttBroker:
    """Implement the BrokerLink port; `async with` connects, and leaves the session to the broker.

    It does not reconnect: when the link is lost every call raises BrokerError, and a new one is made.
    Thread: the event loop. Each call ends within `timeout_s`; `messages` waits for as long as the link lives.
    """

    def __init__(self, access: BrokerAccess, *, timeout_s: float = 10.0) -> None:
        """Check the address and load the certificates.

        Raises:
            ConfigError: The address, the identifier or a certificate file cannot be used.
        """
        self._host, self._port = parse_address(access.address)
        if not _IDENTIFIER.fullmatch(access.identifier):
            raise ConfigError("broker: an identifier is letters, digits, - and _")
        self._access = access
        self._timeout_s = timeout_s
        self._tls = _tls_context(access)
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        """Connect; BrokerError when the broker is unreachable or refuses us."""
        from aiomqtt import Client, ProtocolVersion

        client = Client(
            self._host,
            self._port,
            username=self._access.username,
            password=self._access.password,
            identifier=self._access.identifier,
            protocol=ProtocolVersion.V5,
            timeout=math.inf,  # _call bounds it
            keepalive=_KEEPALIVE_S,
            clean_start=self._access.session_expiry_s == 0,
            max_queued_incoming_messages=_MOST_WAITING_MESSAGES,
            properties=_connect_properties(self._access.session_expiry_s),
            tls_context=self._tls,
            logger=_quiet_logger(),
        )
        try:
            await self._call(client.__aenter__(), f"no link to the broker at {self._access.address}")
        except BaseException:
            # aiomqtt renews this after its own time limit, not after ours; a cancelled one breaks its goodbye
            client._connected = asyncio.Future()  # noqa: SLF001
            # closes the socket at once, and then would wait for an answer from one that never gave any
            with suppress(BrokerError):
                await self._call(client.__aexit__(None, None, None), "no link", limit_s=_GOODBYE_S)
            raise
        self._client = client
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect; a link that is already lost is not an error here."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(BrokerError):
                await self._call(client.__aexit__(None, None, None), "the link is gone")

    async def publish(
        self, topic: str, payload: bytes, *, expiry_s: int | None, retain: bool = False
    ) -> None:
        """Hand a message to the broker at QoS 1 and wait for its acknowledgement, which is not a receipt.

        A broker also acknowledges what its access list makes it throw away.

        Args:
            topic: Without wildcards.
            payload: At most 256 KiB.
            expiry_s: After this the broker no longer passes it on; None never.
            retain: Whether the broker keeps it for those who subscribe later.

        Raises:
            BrokerError: The link is lost, or no acknowledgement came in time.
            ConfigError: Not a topic, or too long a payload.
        """
        if not _TOPIC.fullmatch(topic):
            raise ConfigError("broker: a topic is letters, digits, -, _ and /")
        if len(payload) > LARGEST_MESSAGE_BYTES:
            raise ConfigError(f"broker: {len(payload)} bytes, {LARGEST_MESSAGE_BYTES} allowed")
        sending = self._open_client().publish(
            topic, payload, qos=1, retain=retain, properties=_publish_properties(expiry_s)
        )
        await self._call(sending, "the broker did not take a message")

    async def subscribe(self, topic: str) -> None:
        """Ask for a topic at QoS 1; a broker may say yes and still send nothing.

        Raises:
            BrokerError: The link is lost, or the broker says no.
            ConfigError: Not a topic filter.
        """
        if not _FILTER.fullmatch(topic):
            raise ConfigError("broker: a topic filter is letters, digits, -, _, /, + and #")
        asking = self._open_client().subscribe(topic, qos=1)
        answers = await self._call(asking, "the broker did not take a subscription")
        if any(answer >= 0x80 for answer in map(_reason_of, answers)):  # MQTT 5, 3.9.3: 0x80 up is refused
            raise BrokerError(f"the broker refuses the topic {topic}")

    async def messages(self) -> AsyncIterator[ReceivedMessage]:
        """Yield messages as they come, until the link is lost (BrokerError)."""
        from aiomqtt import MqttError

        client = self._open_client()
        try:
            async for message in client.messages:
                yield ReceivedMessage(topic=message.topic.value, payload=message.payload)
        except MqttError as err:
            raise BrokerError(f"the link to the broker is lost: {err}") from err

    async def _call(self, call: Awaitable[ResultT], problem: str, limit_s: float | None = None) -> ResultT:
        """Bound a call's time, and turn what aiomqtt raises into ours.

        aiomqtt's own time limit is asyncio.wait_for, which before Python 3.12 swallows a cancellation that
        comes together with the broker's acknowledgement: its task would then never end.
        """
        from aiomqtt import MqttError

        try:
            async with timeout(limit_s or self._timeout_s):
                return await call
        except TimeoutErrors as err:
            raise BrokerError(f"{problem}: no answer within {self._timeout_s:.0f} s") from err
        except (MqttError, OSError, ValueError) as err:
            raise BrokerError(f"{problem}: {err}") from err

    def _open_client(self) -> Client:
        if self._client is None:
            raise BrokerError("the link to the broker is not open")
        return self._client


def parse_address(address: str) -> tuple[str, int]:
    """Split `host:port` (or `[IPv6]:port`); ConfigError when it is neither."""
    found = _ADDRESS.fullmatch(address)
    port = int(found["port"]) if found else 0
    if found is None or not 1 <= port <= 65_535:
        raise ConfigError("broker: an address is host:port, for instance broker.example:8883")
    return found["v6"] or found["host"], port


def _tls_context(access: BrokerAccess) -> ssl.SSLContext | None:
    if access.ca_file is None:
        if access.certificate_file or access.key_file:
            raise ConfigError("broker: a certificate needs the ca_file that the broker is checked against")
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=access.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if access.certificate_file is not None:
            context.load_cert_chain(access.certificate_file, access.key_file)
    except (OSError, ssl.SSLError) as err:
        raise ConfigError(f"broker: a certificate file cannot be used: {err}") from err
    return context


def _connect_properties(session_expiry_s: int) -> Properties:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho
    properties.SessionExpiryInterval = min(session_expiry_s, _LARGEST_U32)
    properties.MaximumPacketSize = _LARGEST_PACKET_BYTES
    properties.ReceiveMaximum = 20
    return properties


def _publish_properties(expiry_s: int | None) -> Properties | None:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    if expiry_s is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho
    properties.MessageExpiryInterval = min(max(expiry_s, 1), _LARGEST_U32)
    return properties


def _reason_of(answer: object) -> int:
    value = getattr(answer, "value", answer)
    return value if isinstance(value, int) else 0x80


def _quiet_logger() -> logging.Logger:
    """Return the library's logger, quiet: it writes a trace when a cancelled call gets its answer.

    What matters of its errors comes to us as MqttError.
    """
    library_logger = logging.getLogger(f"{__name__}.aiomqtt")
    library_logger.setLevel(logging.CRITICAL)
    return library_logger
