"""The one place where Python versions differ: 3.10 is the floor (JetPack 6), 3.12 the next."""

from __future__ import annotations

import asyncio
import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout
    from enum import StrEnum
    from typing import Self, assert_never

    import tomllib
else:
    from enum import Enum

    import tomli as tomllib
    from typing_extensions import Self, assert_never

    class StrEnum(str, Enum):
        """A closed set of strings, as Python 3.11 has it."""

        __str__ = str.__str__

    class timeout:  # noqa: N801  the name that Python 3.11 gives it
        """Bound the time of an async block, as `asyncio.timeout` of Python 3.11 does."""

        def __init__(self, delay: float | None) -> None:
            self._delay = delay
            self._handle: asyncio.TimerHandle | None = None
            self._is_expired = False

        async def __aenter__(self) -> Self:
            task = asyncio.current_task()
            if task is None:
                raise RuntimeError("timeout() needs a running task")
            self._task = task
            if self._delay is not None:
                self._handle = asyncio.get_running_loop().call_later(self._delay, self._expire)
            return self

        async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
            if self._handle is not None:
                self._handle.cancel()
            if self._is_expired and kind is asyncio.CancelledError:
                raise asyncio.TimeoutError

        def _expire(self) -> None:
            self._is_expired = True
            self._task.cancel()


TimeoutErrors: tuple[type[BaseException], ...] = (TimeoutError, asyncio.TimeoutError)

__all__ = ["Self", "StrEnum", "TimeoutErrors", "assert_never", "timeout", "tomllib"]
