"""The one `disk` thread: files, SQLite and the audit log, in the order in which they were asked for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from appliance.errors import StorageError

logger = logging.getLogger(__name__)
MOST_WAITING = 1024
ResultT = TypeVar("ResultT")


class DiskThread:
    """Run calls one after another on a thread of its own.

    Args:
        on_failure: Called on the disk thread when a call that nobody waits for failed.
    """

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")
        self._room = threading.BoundedSemaphore(MOST_WAITING)

    def run(self, call: Callable[[], ResultT], /) -> Awaitable[ResultT]:
        """Run a call and wait for its result on the event loop."""
        return asyncio.get_running_loop().run_in_executor(self._executor, call)

    def submit(self, call: Callable[[], object]) -> None:
        """Run a call without waiting; StorageError when the disk is so slow that too many wait already."""
        if not self._room.acquire(blocking=False):
            raise StorageError(f"the disk is too slow: {MOST_WAITING} writes wait")
        self._executor.submit(call).add_done_callback(self._note)

    def close(self) -> None:
        """Finish what was asked for and end the thread. Blocks."""
        self._executor.shutdown(wait=True)

    def _note(self, future: Future[object]) -> None:
        self._room.release()
        err = future.exception()
        if err is not None:
            logger.error("a write failed: %s", err)
            self._on_failure(err)
