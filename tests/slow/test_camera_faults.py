"""Cameras that fail again and again, with real processes and a real RTSP server; figures are printed."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from appliance.records.frames import PictureSize
from drivers.clock import SystemClock
from tests.fakes.capture import Supervisor
from tests.fakes.rtsp import RtspServer, ServerProgram, require_rtsp_server, write_frames

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SIZE = PictureSize(width_px=320, height_px=240)
N_ROUNDS = 15


@pytest.fixture(scope="module")
def program() -> ServerProgram:
    return require_rtsp_server()


@pytest.fixture
def server(program: ServerProgram, tmp_path: Path) -> Iterator[RtspServer]:
    noise = np.random.default_rng(1).integers(0, 256, (30, 240, 320, 3), np.uint8)
    with RtspServer(program, write_frames(tmp_path / "frames", list(noise))) as server:
        yield server


def start(folder: Path, url: str) -> Supervisor:
    folder.mkdir()
    supervisor = Supervisor(folder)
    supervisor.launch()
    supervisor.start(url, "real")
    return supervisor


@pytest.mark.parametrize(("fault", "most_s"), [("stop", 1.0), ("stall", 1.5)])
def test_each_fault_ends_the_process_and_each_start_brings_frames(
    server: RtspServer, tmp_path: Path, fault: str, most_s: float
) -> None:
    clock, chance = SystemClock(), random.Random(1)
    first_s, ended_s = [], []
    for n_round in range(N_ROUNDS):
        began_s = clock.monotonic_s()
        supervisor = start(tmp_path / str(n_round), server.url)
        assert supervisor.next_frame() == SIZE
        first_s.append(clock.monotonic_s() - began_s)
        for _ in range(chance.randrange(1, 40)):
            assert supervisor.next_frame() == SIZE
        faulty_s = clock.monotonic_s()
        if fault == "stop":
            server.stop()
        else:
            server.stall()
        while supervisor.next_frame() is not None:
            pass
        assert supervisor.ended().code == {"stop": "camera.lost", "stall": "camera.stalled"}[fault]
        assert supervisor.exit_code() == 3
        ended_s.append(clock.monotonic_s() - faulty_s)
        supervisor.close()
        if fault == "stop":
            server.start()
        else:
            server.resume()
    print(f"\n{fault}: start to first frame {describe(first_s)}, {fault} to end {describe(ended_s)}")
    assert max(ended_s) < most_s
    assert max(first_s) < 5.0


def test_server_killed_at_random_instants_of_the_handshake_never_hangs_the_process(
    server: RtspServer, tmp_path: Path
) -> None:
    clock, chance = SystemClock(), random.Random(2)
    for n_round in range(N_ROUNDS):
        supervisor = start(tmp_path / str(n_round), server.url)
        supervisor.process_wait(chance.uniform(0.0, 0.6))
        server.stop()
        stopped_s = clock.monotonic_s()
        while supervisor.next_frame() is not None:
            pass
        assert supervisor.ended().code == "camera.lost"
        assert supervisor.exit_code() == 3
        assert clock.monotonic_s() - stopped_s < 2.0
        supervisor.close()
        server.start()


def describe(times_s: list[float]) -> str:
    return f"median {statistics.median(times_s):.2f} s, longest {max(times_s):.2f} s (n = {len(times_s)})"
