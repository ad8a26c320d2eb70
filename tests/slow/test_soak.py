"""Thirty minutes with four cameras: alerts go on, nothing restarts, nothing grows."""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import time
from dataclasses import dataclass

import pytest

from drivers.clock import SystemClock
from drivers.status_server import fetch_health
from tests.flow.conftest import AUTHORISERS, World
from tests.slow.rig import Rig, n_descriptors, prepare_rig, repeat_video, resident_mb, running

CAMERAS = ("gate", "north", "south", "yard")
SOAK_S = 1800.0
SAMPLE_S = 10.0


@dataclass(frozen=True)
class Sample:
    """What the processes held at one moment, by role; `n_alerts` since the start."""

    resident_mb: dict[str, float]
    n_descriptors: dict[str, int]
    n_alerts: int


def four_cameras(world: World) -> Rig:
    """Authorise and configure four cameras on one long film."""
    long_film = world.path / "long.mp4"
    repeat_video(world.path / "street.mp4", long_film, 900)
    long_film.replace(world.path / "street.mp4")
    authorised = world.run(
        "ops", "authorise", "--ops", "ops", "--appliance", "appliance-public.json",
        "--pair", "centerface-dlib", "--cameras", ",".join(CAMERAS), "--place", "a yard",
        "--purpose", "a soak", "--use-case", "test_with_volunteers", "--minutes", "120",
        "--recipient", "handset/handset-1.recipient.json",
    )  # fmt: skip
    assert authorised.returncode == 0, authorised.stderr
    for person in AUTHORISERS:
        assert world.run("ops", "sign", "ops", "--as", person).returncode == 0
    shutil.rmtree(world.path / "published")
    published = world.run(
        "ops", "publish", "--ops", "ops", "--appliance", "appliance-public.json", "--to", "published"
    )
    assert published.returncode == 0, published.stderr
    config = world.path / "appliance.toml"
    text = config.read_text(encoding="utf-8")
    camera = text[text.index("[[cameras]]") : text.index("[decision]")]
    more = "".join(camera.replace('id = "gate"', f'id = "{name}"') for name in CAMERAS[1:])
    config.write_text(text.replace(camera, camera + more), encoding="utf-8")
    return prepare_rig(world)


def sample(rig: Rig) -> Sample:
    pids = {"supervisor": [rig.supervisor_pid], **rig.worker_pids()}
    return Sample(
        resident_mb={role: sum(resident_mb(pid) for pid in each) for role, each in pids.items()},
        n_descriptors={role: sum(n_descriptors(pid) for pid in each) for role, each in pids.items()},
        n_alerts=len(rig.shown),
    )


async def soak(rig: Rig, seconds: float) -> tuple[list[Sample], dict[str, object]]:
    """Run for a while; return the samples and the last health record."""
    samples: list[Sample] = []
    async with running(rig):
        assert await rig.wait_for_alert(SystemClock().now(), 30.0) is not None
        text = (rig.world.path / "appliance.toml").read_text(encoding="utf-8")
        port = int(text[text.index("[health]") :].split("port = ")[1].split()[0])
        began_s = time.monotonic()
        while time.monotonic() - began_s < seconds:
            await asyncio.sleep(min(SAMPLE_S, seconds / 6))
            samples.append(await asyncio.to_thread(sample, rig))
        health = json.loads(await asyncio.to_thread(fetch_health, port))
        assert await rig.stop() == 0
    return samples, health


def check(samples: list[Sample], health: dict[str, object], *, growth: float) -> None:
    third = max(1, len(samples) // 3)
    for role in ("supervisor", "vision", "capture"):
        early = statistics.median(each.resident_mb[role] for each in samples[:third])
        late = statistics.median(each.resident_mb[role] for each in samples[-third:])
        print(f"{role:10s} {early:.0f} -> {late:.0f} MB, descriptors {samples[-1].n_descriptors[role]}")
        assert late <= early * growth
        assert samples[-1].n_descriptors[role] <= samples[third - 1].n_descriptors[role] + 2
    vision = health["vision"]
    assert isinstance(vision, dict)
    print(f"alerts {samples[-1].n_alerts}, frames {vision['n_frames']}, dropped {vision['n_frames_dropped']}")
    print(
        f"slowest wipe {vision['slowest_wipe_after_decision_ms']:.0f} ms after its decision,"
        f" {vision['slowest_wipe_after_capture_ms']:.0f} ms after capture"
    )
    tasks = health["tasks"]
    assert isinstance(tasks, list)
    assert not [task for task in tasks if task["n_restarts"] or task["n_bugs"]]
    assert samples[-1].n_alerts > samples[0].n_alerts


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(180)
def test_four_cameras_for_half_a_minute(world: World) -> None:
    check(*asyncio.run(soak(four_cameras(world), 30.0)), growth=1.3)


@pytest.mark.soak
@pytest.mark.broker
@pytest.mark.timeout(2400)
def test_four_cameras_for_thirty_minutes(world: World) -> None:
    check(*asyncio.run(soak(four_cameras(world), SOAK_S)), growth=1.1)
