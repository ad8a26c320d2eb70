"""Run a table of tasks: start in order, restart what fails, stop in reverse order in bounded time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from appliance.errors import ApplianceError
from appliance.ports import Clock

logger = logging.getLogger(__name__)
FIRST_BACK_OFF_S = 0.2
LONGEST_BACK_OFF_S = 10.0
HEALTHY_S = 10.0
"""A task that ran so long starts again with the shortest back-off."""
BUG_BUDGET = 5
BUG_WINDOW_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A row of the task table.

    Args:
        run: Starts the task; it is called again after a retryable failure or a bug.
        is_final: When it returns, the whole appliance stops. Others may return: they are then done.
        stop_limit_s: How long it may take to stop before it is left behind.
    """

    name: str
    run: Callable[[], Awaitable[None]]
    is_final: bool = False
    stop_limit_s: float = 3.0


@dataclass(slots=True, kw_only=True)
class TaskState:
    """What is known of a task, for the health record."""

    n_restarts: int = 0
    n_bugs: int = 0
    last_code: str = ""
    is_running: bool = False
    is_done: bool = False
    is_healthy: bool = False
    """Set by the task itself once it does its work; cleared when it ends."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Row:
    spec: TaskSpec
    state: TaskState = field(default_factory=TaskState)
    task: asyncio.Task[None] | None = None


async def run_together(*parts: Awaitable[None]) -> None:
    """Run until the first part ends or fails; the others are then cancelled, and its error is raised."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Supervisor:
    """Watch the tasks of one process. The only place that creates tasks.

    A retryable ApplianceError restarts its task for as long as it takes, with full jitter. One that is not
    retryable, or more bugs than the budget, stops the appliance.
    """

    def __init__(self, specs: Sequence[TaskSpec], *, clock: Clock, jitter: random.Random) -> None:
        self._rows = [_Row(spec=spec) for spec in specs]
        self._clock, self._jitter = clock, jitter
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._bugs_s: deque[float] = deque(maxlen=BUG_BUDGET)

    def states(self) -> dict[str, TaskState]:
        """Return each task's state by name, in the order of the table."""
        return {row.spec.name: row.state for row in self._rows}

    def stop(self) -> None:
        """Ask for the staged stop; safe from a signal handler on the loop."""
        self._stop.set()

    async def run(self) -> None:
        """Run until stopped, a final task ends, or a failure that only a person can mend (raised)."""
        try:
            for row in self._rows:
                row.task = asyncio.create_task(self._keep(row), name=row.spec.name)  # noqa: TID251  here alone
            await self._stop.wait()
        finally:
            await self._stop_all()
        if self._failure is not None:
            raise self._failure

    async def _keep(self, row: _Row) -> None:
        delay_s = FIRST_BACK_OFF_S
        while True:
            started_s = self._clock.monotonic_s()
            row.state.is_running = True
            try:
                await row.spec.run()
            except ApplianceError as err:
                row.state.last_code = err.code
                if not err.retryable:
                    self._fail(err)
                    return
                logger.warning("%s: %s; it is started again", row.spec.name, err)
            except Exception as err:
                row.state.n_bugs += 1
                row.state.last_code = "bug"
                logger.exception("%s: a bug", row.spec.name)
                if self._is_over_budget():
                    self._fail(err)
                    return
            else:
                row.state.is_done = True
                if row.spec.is_final:
                    self._stop.set()
                return
            finally:
                row.state.is_running = row.state.is_healthy = False
            if self._clock.monotonic_s() - started_s >= HEALTHY_S:
                delay_s = FIRST_BACK_OFF_S
            row.state.n_restarts += 1
            await self._clock.sleep(self._jitter.uniform(0, delay_s))
            delay_s = min(delay_s * 2, LONGEST_BACK_OFF_S)

    def _is_over_budget(self) -> bool:
        now_s = self._clock.monotonic_s()
        self._bugs_s.append(now_s)
        return len(self._bugs_s) == BUG_BUDGET and now_s - self._bugs_s[0] <= BUG_WINDOW_S

    def _fail(self, err: BaseException) -> None:
        if self._failure is None:
            self._failure = err
        self._stop.set()

    async def _stop_all(self) -> None:
        for row in reversed(self._rows):
            if row.task is None or row.task.done():
                continue
            row.task.cancel()
            done, _ = await asyncio.wait({row.task}, timeout=row.spec.stop_limit_s)
            if not done:
                logger.error("%s did not stop within %.1f s", row.spec.name, row.spec.stop_limit_s)
