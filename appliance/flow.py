"""Channels between threads: frames are perishable, alerts are not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class LatestSlot(Generic[ItemT]):
    """Hold the newest item only; what it replaces is handed to `on_drop` and counted.

    Threads: any may put, one takes. `on_drop` runs on the putting thread.
    """

    def __init__(self, on_drop: Callable[[ItemT], None]) -> None:
        self._on_drop = on_drop
        self._item: ItemT | None = None
        self._is_closed = False
        self._ready = threading.Condition()
        self.n_dropped = 0

    def put(self, item: ItemT) -> None:
        """Offer an item; never waits. After `close` the item is dropped."""
        with self._ready:
            old, self._item = (item, None) if self._is_closed else (self._item, item)
            if old is not None:
                self.n_dropped += 1
            self._ready.notify()
        if old is not None:
            self._on_drop(old)

    def take(self, timeout_s: float) -> ItemT | None:
        """Return the newest item, waiting at most `timeout_s`; None when there was none."""
        with self._ready:
            if self._item is None and not self._is_closed:
                self._ready.wait(timeout_s)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Drop what is held and wake the taker."""
        with self._ready:
            self._is_closed = True
            item, self._item = self._item, None
            self._ready.notify_all()
        if item is not None:
            self._on_drop(item)
