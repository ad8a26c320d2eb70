"""kill -9 of each process at random instants: back to alerting each time, no orphan, no growth."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from dataclasses import dataclass

import pytest

from drivers.clock import SystemClock
from tests.flow.conftest import World
from tests.slow.rig import (
    ROLES,
    Rig,
    is_alive,
    n_descriptors,
    prepare_rig,
    repeat_video,
    resident_mb,
    running,
)

N_KILLS = 200
BACK_S = 5.0
ORPHAN_S = 2.0


@dataclass(frozen=True)
class Kill:
    role: str
    back_s: float
    n_descriptors: int
    resident_mb: float


async def kill_once(rig: Rig, role: str, chance: random.Random) -> Kill:
    """Kill a part at a random instant and wait until an alert of what was captured afterwards is shown."""
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    killed_at, killed_s = SystemClock().now(), time.monotonic()
    gone = await asyncio.to_thread(rig.kill, role)
    back_s = await rig.wait_for_alert(killed_at, 30.0)
    assert back_s is not None, f"no alert within 30 s after {role} was killed"
    left_s = ORPHAN_S - (time.monotonic() - killed_s)
    await asyncio.sleep(max(0.0, left_s))
    assert not [pid for pid in gone if is_alive(pid)], f"orphans {ORPHAN_S} s after {role} was killed"
    pid = rig.supervisor_pid
    return Kill(role, back_s, n_descriptors(pid), resident_mb(pid))


async def kill_often(rig: Rig, n_kills: int, seed: int) -> list[Kill]:
    chance, kills = random.Random(seed), []
    async with running(rig):
        assert await rig.wait_for_alert(SystemClock().now(), 30.0) is not None
        for number in range(n_kills):
            kill = await kill_once(rig, ROLES[number % len(ROLES)], chance)
            kills.append(kill)
            print(f"{number + 1:3d} {kill.role:10s} back in {kill.back_s:.2f} s", flush=True)
        assert await rig.stop() == 0
    return kills


def report(kills: list[Kill]) -> None:
    for role in ROLES:
        times = sorted(kill.back_s for kill in kills if kill.role == role)
        print(f"{role:10s} n={len(times)} median {statistics.median(times):.2f} s, slowest {times[-1]:.2f} s")
    descriptors, resident = [kill.n_descriptors for kill in kills], [kill.resident_mb for kill in kills]
    print(f"supervisor: {min(descriptors)}..{max(descriptors)} descriptors,", end=" ")
    print(f"{min(resident):.0f}..{max(resident):.0f} MB resident")


def make_rig(world: World) -> Rig:
    long_film = world.path / "long.mp4"
    repeat_video(world.path / "street.mp4", long_film, 900)
    long_film.replace(world.path / "street.mp4")
    return prepare_rig(world)


@pytest.mark.broker
@pytest.mark.timeout(120)
def test_each_process_may_be_killed_once(world: World) -> None:
    kills = asyncio.run(kill_often(make_rig(world), len(ROLES), seed=1))
    report(kills)
    assert [kill.role for kill in kills] == list(ROLES)  # each came back; the loop below holds the time


@pytest.mark.soak
@pytest.mark.broker
@pytest.mark.timeout(5400)
def test_two_hundred_kills(world: World) -> None:
    kills = asyncio.run(kill_often(make_rig(world), N_KILLS, seed=2))
    report(kills)
    assert max(kill.back_s for kill in kills) <= BACK_S
    for role in ROLES:
        same = [kill for kill in kills if kill.role == role]
        early, late = same[: len(same) // 3], same[-len(same) // 3 :]
        assert max(kill.n_descriptors for kill in late) <= max(kill.n_descriptors for kill in early) + 2
        assert statistics.median(kill.resident_mb for kill in late) <= 1.2 * statistics.median(
            kill.resident_mb for kill in early
        )
