"""Workers that somebody else starts, as systemd does: the same handshake, the same end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drivers.clock import SystemClock
from drivers.process_settings import worker_environment
from tests.flow.conftest import World
from tests.slow.rig import Rig, is_alive, prepare_rig, running

END_S = 2.0


def start_unit(module: str, socket: Path, *arguments: str) -> subprocess.Popen[bytes]:
    code = f"import sys; sys.path.pop(0); from appliance.app.{module} import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-s", "-c", code, "--channel", str(socket), *arguments],
        env=worker_environment(os.environ),
        stderr=subprocess.DEVNULL,
    )


async def alert_by_units(rig: Rig, socket: Path) -> list[int]:
    """Return the workers' pids after an alert came through them and the supervisor was killed."""
    async with running(rig):
        while not socket.exists():
            await asyncio.sleep(0.05)
        units = [
            await asyncio.to_thread(start_unit, "vision_process", socket),
            await asyncio.to_thread(start_unit, "capture_process", socket, "--camera", "gate"),
        ]
        assert await rig.wait_for_alert(SystemClock().now(), 30.0) is not None
        assert rig.worker_pids() == {"vision": [], "capture": []}  # they are nobody's children here
        assert rig.appliance is not None
        rig.appliance.kill()
        killed_s = time.monotonic()
        for unit in units:
            await asyncio.to_thread(unit.wait, END_S)
        assert time.monotonic() - killed_s < END_S
    return [unit.pid for unit in units]


@pytest.mark.broker
@pytest.mark.timeout(90)
def test_units_are_armed_alert_and_end_with_the_supervisor(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir(mode=0o700)
    socket = folder / "socket"
    world.edit_config('started_by = "supervisor"', f'started_by = "units"\nsocket = "{socket}"')
    pids = asyncio.run(alert_by_units(prepare_rig(world), socket))
    assert not [pid for pid in pids if is_alive(pid)]
