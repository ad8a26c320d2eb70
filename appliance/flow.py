"""Channels between threads: frames are perishable, alerts are not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
KeyT = TypeVar("KeyT", bound=Hashable)


class LatestSlots(Generic[KeyT, ItemT]):
    """Hold the newest item of each key; keys with an item are served in turn.

    What a newer item replaces is handed to `on_drop` and counted. Threads: any may put, one takes;
    `on_drop` runs on the putting thread, outside the lock.
    """

    def __init__(self, on_drop: Callable[[ItemT], None]) -> None:
        self._on_drop = on_drop
        self._items: dict[KeyT, ItemT] = {}
        self._is_closed = False
        self._ready = threading.Condition()
        self._served: dict[KeyT, int] = {}
        self._turn = 0
        self.n_dropped = 0

    def put(self, key: KeyT, item: ItemT) -> None:
        """Offer an item; never waits. After `close` it is dropped."""
        with self._ready:
            if self._is_closed:
                old: ItemT | None = item
            else:
                old = self._items.pop(key, None)
                self._items[key] = item
            if old is not None:
                self.n_dropped += 1
            self._ready.notify()
        if old is not None:
            self._on_drop(old)

    def take(self, timeout_s: float) -> ItemT | None:
        """Return the newest item of the key that waited longest for its turn; None when there is none."""
        with self._ready:
            if not self._items and not self._is_closed:
                self._ready.wait(timeout_s)
            if not self._items:
                return None
            key = min(self._items, key=lambda each: self._served.get(each, -1))
            self._turn += 1
            self._served[key] = self._turn
            return self._items.pop(key)

    def drop(self, key: KeyT) -> None:
        """Drop what is held of a key."""
        with self._ready:
            item = self._items.pop(key, None)
            self._served.pop(key, None)
        if item is not None:
            self._on_drop(item)

    def close(self) -> None:
        """Drop what is held and wake the taker."""
        with self._ready:
            self._is_closed = True
            items = list(self._items.values())
            self._items.clear()
            self._ready.notify_all()
        for item in items:
            self._on_drop(item)
