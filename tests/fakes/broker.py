"""A broker in memory: links that see what other links publish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from appliance.errors import BrokerError


@dataclass(frozen=True)
class FakeMessage:
    topic: str
    payload: bytes
    expiry_s: int | None = None


class FakeBroker:
    """Route messages; `sent` has all of them. `cut` ends every link, as a killed broker does."""

    def __init__(self) -> None:
        self.sent: list[FakeMessage] = []
        self.links: list[FakeLink] = []

    def link(self) -> FakeLink:
        link = FakeLink(self)
        self.links.append(link)
        return link

    def cut(self) -> None:
        for link in self.links:
            link.cut()
        self.links.clear()


class FakeLink:
    """Implement the BrokerLink port."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._filters: list[str] = []
        self._queue: asyncio.Queue[FakeMessage | None] = asyncio.Queue(1000)
        self._is_cut = False

    async def publish(
        self, topic: str, payload: bytes, *, expiry_s: int | None, retain: bool = False
    ) -> None:
        await asyncio.sleep(0)
        if self._is_cut:
            raise BrokerError("cut")
        message = FakeMessage(topic, payload, expiry_s)
        self._broker.sent.append(message)
        for link in self._broker.links:
            link.offer(message)

    async def subscribe(self, topic: str) -> None:
        await asyncio.sleep(0)
        if self._is_cut:
            raise BrokerError("cut")
        self._filters.append(topic)

    async def messages(self) -> AsyncIterator[FakeMessage]:
        while True:
            message = await self._queue.get()
            if message is None:
                raise BrokerError("cut")
            yield message

    def offer(self, message: FakeMessage) -> None:
        if any(_matches(one, message.topic) for one in self._filters):
            self._queue.put_nowait(message)

    def cut(self) -> None:
        self._is_cut = True
        self._queue.put_nowait(None)


def _matches(topic_filter: str, topic: str) -> bool:
    wanted, given = topic_filter.split("/"), topic.split("/")
    return len(wanted) == len(given) and all(
        one in ("+", other) for one, other in zip(wanted, given, strict=True)
    )
