from __future__ import annotations

import asyncio
import random

import pytest

from appliance.errors import BrokerError, ConfigError
from appliance.supervisor.tasks import BUG_BUDGET, HEALTHY_S, LONGEST_BACK_OFF_S, Supervisor, TaskSpec
from tests.fakes.clock import FakeClock


def supervise(*specs: TaskSpec, clock: FakeClock | None = None) -> Supervisor:
    return Supervisor(specs, clock=clock or FakeClock(), jitter=random.Random(1))


async def idle() -> None:
    await asyncio.Event().wait()


async def test_a_retryable_failure_starts_its_task_again_and_no_other() -> None:
    runs: list[str] = []

    async def flaky() -> None:
        runs.append("flaky")
        if len(runs) < 4:
            raise BrokerError("gone")

    supervisor = supervise(TaskSpec(name="other", run=idle), TaskSpec(name="flaky", run=flaky, is_final=True))
    await supervisor.run()
    assert len(runs) == 4
    assert supervisor.states()["flaky"].n_restarts == 3
    assert supervisor.states()["other"].n_restarts == 0


async def test_back_off_grows_with_full_jitter_and_is_bounded() -> None:
    clock, n_runs = FakeClock(), 0

    async def flaky() -> None:
        nonlocal n_runs
        n_runs += 1
        if n_runs < 40:
            raise BrokerError("gone")

    await supervise(TaskSpec(name="flaky", run=flaky, is_final=True), clock=clock).run()
    assert len(clock.slept_s) == 39
    assert max(clock.slept_s) <= LONGEST_BACK_OFF_S
    assert max(clock.slept_s[:2]) < max(clock.slept_s[20:])
    assert len(set(clock.slept_s)) == 39


async def test_a_healthy_run_resets_the_back_off() -> None:
    clock, n_runs = FakeClock(), 0

    async def flaky() -> None:
        nonlocal n_runs
        n_runs += 1
        if n_runs == 20:
            clock.advance(HEALTHY_S)
        if n_runs < 21:
            raise BrokerError("gone")

    await supervise(TaskSpec(name="flaky", run=flaky, is_final=True), clock=clock).run()
    assert clock.slept_s[-1] <= 0.2


async def test_a_failure_that_a_person_must_mend_stops_everything() -> None:
    async def refuse() -> None:
        raise ConfigError("wrong")

    with pytest.raises(ConfigError):
        await supervise(TaskSpec(name="idle", run=idle), TaskSpec(name="refuse", run=refuse)).run()


async def test_bugs_over_the_budget_stop_everything() -> None:
    n_runs = 0

    async def buggy() -> None:
        nonlocal n_runs
        n_runs += 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await supervise(TaskSpec(name="buggy", run=buggy)).run()
    assert n_runs == BUG_BUDGET


async def test_tasks_stop_in_reverse_order() -> None:
    stopped: list[str] = []

    def task(name: str) -> TaskSpec:
        async def run() -> None:
            try:
                await idle()
            finally:
                stopped.append(name)

        return TaskSpec(name=name, run=run)

    async def end() -> None:
        await asyncio.sleep(0)

    await supervise(task("first"), task("second"), TaskSpec(name="end", run=end, is_final=True)).run()
    assert stopped == ["second", "first"]


async def test_a_task_that_will_not_stop_is_left_behind() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def end() -> None:
        await asyncio.sleep(0)

    supervisor = supervise(
        TaskSpec(name="stubborn", run=stubborn, stop_limit_s=0.05),
        TaskSpec(name="end", run=end, is_final=True),
    )
    await asyncio.wait_for(supervisor.run(), 2.0)
    release.set()
    await asyncio.sleep(0)
