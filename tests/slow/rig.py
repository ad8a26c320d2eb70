"""An appliance with a broker and an officer's handset, whose parts a test may kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from appliance.app.demo.steps import APPLIANCE_ID, HANDSET_ID, command_of
from appliance.app.development_broker import write_passwords
from appliance.errors import BrokerError
from appliance.handset.blind import BeforeView
from appliance.handset.inbox import HandsetInbox
from appliance.handset.keys import load_keys
from appliance.handset.session import HandsetSession, ScriptedOfficer
from appliance.handset.store import HandsetStore
from appliance.records.alerts import Judgement
from appliance.records.broker import BrokerAccess
from appliance.records.deployment import AppliancePublic
from appliance.records.wire import parse_record
from drivers.broker import MqttBroker
from drivers.clock import SystemClock
from drivers.mosquitto import BrokerIdentity, MosquittoProcess, find_mosquitto, free_port, start_mosquitto
from tests.flow.conftest import REPOSITORY, World

ROLES = ("vision", "capture", "supervisor", "broker")


@dataclass
class Rig:
    """The running parts, and every alert that reached the officer."""

    world: World
    broker: MosquittoProcess
    shown: list[BeforeView] = field(default_factory=list)
    appliance: subprocess.Popen[bytes] | None = None

    def start_appliance(self) -> None:
        """Start it as systemd would: at once, whatever ended the last one."""
        log = (self.world.path / "appliance.log").open("ab")
        self.appliance = subprocess.Popen(
            command_of("appliance", "run", "--config", "appliance.toml"),
            cwd=self.world.path,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()

    @property
    def supervisor_pid(self) -> int:
        assert self.appliance is not None
        return self.appliance.pid

    def worker_pids(self) -> dict[str, list[int]]:
        """Return the pids of the supervisor's children by role."""
        found: dict[str, list[int]] = {"vision": [], "capture": []}
        for pid in children_of(self.supervisor_pid):
            command = command_line(pid)
            for role in found:
                if f"{role}_process" in command:
                    found[role].append(pid)
        return found

    def kill(self, role: str) -> list[int]:
        """Kill -9 a part at once; return the pids that must be gone soon after."""
        if role == "broker":
            self.broker.kill()
            self.broker.start_again()
            return []
        if role == "supervisor":
            orphans = [pid for pids in self.worker_pids().values() for pid in pids]
            assert self.appliance is not None
            self.appliance.kill()
            self.appliance.wait()
            self.start_appliance()
            return orphans
        pids = self.worker_pids()[role]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

    async def wait_for_alert(self, captured_after: datetime, limit_s: float) -> float | None:
        """Return how long it took until an alert captured after that moment was shown; None if too long."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < limit_s:
            if any(view.captured_at > captured_after for view in self.shown[-3:]):
                return time.monotonic() - began_s
            await asyncio.sleep(0.02)
        return None

    async def stop(self) -> int:
        """End the appliance by SIGTERM; return its exit status."""
        assert self.appliance is not None
        self.appliance.terminate()
        return await asyncio.to_thread(self.appliance.wait, 20)


def prepare_rig(world: World) -> Rig:
    """Start the broker and point the world's configuration at it; alerts of an entry may follow in 1 s."""
    program = find_mosquitto(REPOSITORY / ".cache" / "mosquitto")
    identities = (
        BrokerIdentity(name=APPLIANCE_ID, kind="appliance"),
        BrokerIdentity(name=HANDSET_ID, kind="handset"),
    )
    folder = world.path / "broker"
    broker = start_mosquitto(folder, 0, program=program, identities=identities)
    write_passwords(folder, identities)
    config = world.path / "appliance.toml"
    lines = []
    section = ""
    for line in config.read_text(encoding="utf-8").splitlines():
        section = line if line.startswith("[") else section
        if section == "[broker]" and line.startswith("port"):
            line = f"port = {broker.port}"
        elif section == "[health]" and line.startswith("port"):
            line = f"port = {free_port()}"
        elif line.startswith("password_file"):
            line = f'password_file = "broker/{APPLIANCE_ID}.password"'
        elif line.startswith("cooldown_s"):
            line = "cooldown_s = 1"
        lines.append(line)
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Rig(world=world, broker=broker)


@contextlib.asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    """Run the appliance and an officer who judges at once."""
    rig.start_appliance()
    officer = asyncio.create_task(_listen(rig))
    try:
        yield rig
    finally:
        officer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await officer
        if rig.appliance is not None and rig.appliance.poll() is None:
            await rig.stop()
        await asyncio.to_thread(rig.broker.stop)


def _make_session(rig: Rig) -> tuple[HandsetSession, BrokerAccess]:
    folder, clock = rig.world.path / "handset", SystemClock()
    public = (rig.world.path / "appliance-public.json").read_bytes()
    keys, store = load_keys(folder), HandsetStore(folder)
    password = (rig.world.path / "broker" / f"{HANDSET_ID}.password").read_text(encoding="utf-8").strip()

    def judge(view: BeforeView) -> Judgement:
        rig.shown.append(view)
        return Judgement.SAME

    session = HandsetSession(
        keys=keys,
        inbox=HandsetInbox(
            keys=keys,
            appliance=parse_record(AppliancePublic, public, limit_bytes=1 << 20),
            store=store,
            clock=clock,
        ),
        store=store,
        officer=ScriptedOfficer(judge),
        clock=clock,
        run_aside=asyncio.to_thread,
    )
    return session, BrokerAccess(
        address=rig.broker.address, identifier=HANDSET_ID, username=HANDSET_ID, password=password
    )


async def _listen(rig: Rig) -> None:
    session, access = await asyncio.to_thread(_make_session, rig)
    while True:
        with contextlib.suppress(BrokerError):
            async with MqttBroker(access) as link:
                await session.run(link)
        await asyncio.sleep(0.1)


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(text) for text in task.read_text().split()]
    return found


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return ""


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def n_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def repeat_video(source: Path, out: Path, n_times: int) -> None:
    """Write a film that is another one n times over; packets are copied, nothing is encoded."""
    import av

    with av.open(str(source)) as first, av.open(str(out), "w") as output:
        stream = output.add_stream_from_template(first.streams.video[0])
        packets = [packet for packet in first.demux(video=0) if packet.dts is not None]
        base = first.streams.video[0].time_base
        step = round(first.streams.video[0].duration or 0)
        assert base is not None
        kept = [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in packets]
        for turn in range(n_times):
            for data, pts, dts, is_keyframe in kept:
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, base
                packet.pts, packet.dts = (pts or 0) + turn * step, (dts or 0) + turn * step
                packet.is_keyframe = is_keyframe
                output.mux(packet)
