"""Hung workers, a full disk, and SIGTERM at every stage of start and stop, with the real processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from drivers.clock import SystemClock
from tests.flow.conftest import World
from tests.slow.rig import Rig, is_alive, running
from tests.slow.test_kill_loop import make_rig

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(300)]
HUNG_BACK_S = 15.0
STOP_S = 10.0


@pytest.mark.parametrize("role", ["vision", "capture"])
def test_a_hung_worker_is_replaced(world: World, role: str) -> None:
    rig = make_rig(world)

    async def hang() -> float | None:
        async with running(rig):
            assert await rig.wait_for_alert(SystemClock().now(), 30.0) is not None
            (pid,) = (await asyncio.to_thread(rig.worker_pids))[role]
            stopped_at = SystemClock().now()
            os.kill(pid, signal.SIGSTOP)
            back_s = await rig.wait_for_alert(stopped_at, 40.0)
            assert not is_alive(pid)
            return back_s

    back_s = asyncio.run(hang())
    print(f"\na hung {role} worker: back in {back_s} s")
    assert back_s is not None
    assert back_s <= HUNG_BACK_S


def stop_after(rig: Rig, delay_s: float) -> tuple[int, float, bool]:
    """Start, send SIGTERM; return the exit status, how long that took, and whether it was armed."""
    log = rig.world.path / "appliance.log"
    before = log.stat().st_size if log.exists() else 0
    rig.start_appliance()
    time.sleep(delay_s)
    was_armed = b"armed: " in log.read_bytes()[before:]
    pids = [pid for role in rig.worker_pids().values() for pid in role]
    assert rig.appliance is not None
    began_s = time.monotonic()
    rig.appliance.terminate()
    status = rig.appliance.wait(STOP_S)
    took_s = time.monotonic() - began_s
    time.sleep(0.2)
    assert not [pid for pid in pids if is_alive(pid)]
    return status, took_s, was_armed


def test_sigterm_at_every_stage_ends_it_cleanly(world: World) -> None:
    rig = make_rig(world)
    try:
        n_armed = 0
        for step in range(32):
            status, took_s, was_armed = stop_after(rig, step * 0.25)
            print(f"SIGTERM after {step * 0.25:.2f} s: status {status}, {took_s:.2f} s, armed: {was_armed}")
            assert status in (0, -signal.SIGTERM)
            assert status == 0 or not was_armed  # once it runs, it stops in its own order
            n_armed += was_armed
        assert n_armed >= 5
    finally:
        rig.broker.stop()
    log = (world.path / "appliance.log").read_text(encoding="utf-8")
    assert "Traceback" not in log, log[-3000:]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk: needs root")
def test_a_full_disk_stops_it_with_one_line_and_loses_nothing(world: World) -> None:
    state = world.path / "state"
    kept = world.path / "kept"
    state.rename(kept)
    state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", str(state)], check=True)
    try:
        shutil.copytree(kept, state, dirs_exist_ok=True)
        rig = make_rig(world)
        asyncio.run(fill_and_free(rig, state))
    finally:
        subprocess.run(["umount", "-l", str(state)], check=False)


async def fill_and_free(rig: Rig, state: Path) -> None:
    async with running(rig):
        assert await rig.wait_for_alert(SystemClock().now(), 30.0) is not None
        await asyncio.to_thread(fill, state / "filler")
        assert rig.appliance is not None
        status = await asyncio.to_thread(rig.appliance.wait, 30)
        lines = (rig.world.path / "appliance.log").read_text(encoding="utf-8").splitlines()
        assert status == 3
        assert lines[-1].startswith("error[storage]: ")
        (state / "filler").unlink()
        rig.start_appliance()
        assert await rig.wait_for_alert(SystemClock().now(), 30.0) is not None


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"\0" * 4096)
            except OSError:
                return
