"""The units under a real systemd: the whole appliance starts by them, confined, and stands up again."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.flow.conftest import MODELS
from tests.systemd.find import UNITS
from tests.systemd.machine import Machine, require_machine, wait_for

SUPERVISOR, VISION, CAPTURE = (
    "appliance.service",
    "appliance-vision.service",
    "appliance-capture@gate.service",
)
SOCKET = "/run/appliance/workers/socket"
HOME = "/var/lib/appliance"
CONFIG = "/etc/appliance/appliance.toml"
START_S = 30.0
BACK_S = 5.0
ORPHAN_S = 2.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def prepare_script(world: Path) -> str:
    """Lay out a device's folders from the flow tests' world; the film lies where a capture unit sees it."""
    text = (world / "appliance.toml").read_text(encoding="utf-8")
    for old, new in (
        ('state_folder = "state"', f'state_folder = "{HOME}/state"'),
        (f'folder = "{MODELS}"', 'folder = "/opt/appliance/models"'),
        ('source = "street.mp4"', 'source = "/opt/appliance/street.mp4"'),
        ('file = "ops/trust.json"', f'file = "{HOME}/trust.json"'),
        ('folder = "published"', f'folder = "{HOME}/published"'),
        ('password_file = "broker.password"', f'password_file = "{HOME}/broker.password"'),
        ('started_by = "supervisor"', f'started_by = "units"\nsocket = "{SOCKET}"'),
    ):
        assert old in text
        text = text.replace(old, new)
    (world / "device.toml").write_text(text, encoding="utf-8")
    return f"""
mkdir -p /opt/appliance/models /opt/appliance/systemd
mount --bind {MODELS} /opt/appliance/models
cp {UNITS}/record_failure.py /opt/appliance/systemd/
cp {world}/street.mp4 /opt/appliance/
cp -r {world}/state {world}/published {world}/broker.password {world}/ops/trust.json {HOME}/
chown -R appliance:appliance {HOME}
install -o root -g appliance -m 640 {world}/device.toml {CONFIG}
"""


@pytest.fixture(scope="module")
def machine(made_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    require_machine()
    world = tmp_path_factory.mktemp("units")
    with Machine(world / "rooms", prepare_script(made_world)) as running:
        yield running


@pytest.fixture
def armed(machine: Machine) -> Machine:
    """The appliance as `appliance.target` and one enabled camera start it, armed; the broker is not there."""
    machine.systemctl("reset-failed")
    machine.systemctl(
        "start", "--no-block", SUPERVISOR, "appliance-vision.path", "appliance-capture@gate.path"
    )
    took_s = wait_for(lambda: is_armed(machine), START_S, "armed")
    print(f"\nstarted and armed in {took_s:.1f} s")
    return machine


def is_armed(machine: Machine) -> bool:
    shown = machine.systemctl("show", "--property=SubState,StatusText", SUPERVISOR)
    return "SubState=running" in shown and "StatusText=armed" in shown and machine.main_pid(VISION) > 0


def status_of(machine: Machine, unit: str) -> dict[str, str]:
    text = machine.read(f"/proc/{machine.main_pid(unit)}/status")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def is_confined(machine: Machine, unit: str) -> bool:
    status = status_of(machine, unit)
    names = ("NoNewPrivs", "Seccomp", "CapBnd", "CapEff")
    return [int(status.get(name, "-1"), 16) for name in names] == [1, 2, 0, 0]


def test_each_process_is_confined_as_its_unit_says(armed: Machine) -> None:
    for unit in (SUPERVISOR, VISION, CAPTURE):
        # The file's end is the end of its capture process, and then there is another.
        wait_for(partial(is_confined, armed, unit), 10.0, f"{unit} is confined")
        assert status_of(armed, unit)["Uid"].split()[0] != "0"


def test_workers_see_no_network_and_no_state(armed: Machine) -> None:
    for unit in (VISION, CAPTURE):
        wait_for(partial(is_confined, armed, unit), 10.0, f"{unit} is confined")
        inside = f"/proc/{armed.main_pid(unit)}"
        devices = [line.split(":")[0].strip() for line in armed.read(f"{inside}/net/dev").splitlines()[2:]]
        assert devices == ["lo"]
        sockets = armed.run("find", f"{inside}/root/run", "-type", "s").splitlines()
        assert sockets == [f"{inside}/root{SOCKET}"]
        assert armed.run("ls", f"{inside}/root/var") == "tmp"  # its own, and empty
        (core,) = [line for line in armed.read(f"{inside}/limits").splitlines() if "Max core file" in line]
        assert core.split()[4:6] == ["0", "0"]


def test_the_vision_worker_s_memory_is_locked(armed: Machine) -> None:
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] != resource.RLIM_INFINITY:
        pytest.skip("this machine's root may not raise the limit of locked memory (CAP_SYS_RESOURCE)")
    locked_kib = int(status_of(armed, VISION)["VmLck"].split()[0])
    print(f"\nlocked: {locked_kib >> 10} MiB")
    assert locked_kib > 50 << 10


def n_armed(machine: Machine) -> int:
    """Return how often the supervisor has said that a worker is armed."""
    return (machine.logs / SUPERVISOR).read_text(encoding="utf-8").count("armed: ")


def test_the_confined_appliance_recognises(armed: Machine) -> None:
    log = armed.logs / SUPERVISOR
    wait_for(lambda: "alert 1 from camera gate" in log.read_text(encoding="utf-8"), 20.0, "an alert")


def test_a_killed_worker_is_back_and_the_supervisor_lives(armed: Machine) -> None:
    supervisor, before = armed.main_pid(SUPERVISOR), n_armed(armed)
    armed.kill(VISION, signal.SIGKILL)
    took_s = wait_for(lambda: n_armed(armed) > before, BACK_S, "armed again")
    print(f"\nvision worker killed: armed again in {took_s:.1f} s")
    assert armed.main_pid(SUPERVISOR) == supervisor


def is_gone(machine: Machine, pid: int) -> bool:
    return "there" not in machine.run("sh", "-c", f"test -d /proc/{pid} && echo there")


def test_a_killed_supervisor_leaves_no_orphan_and_comes_back(armed: Machine) -> None:
    worker, before = armed.main_pid(VISION), n_armed(armed)
    armed.kill(SUPERVISOR, signal.SIGKILL)
    gone_s = wait_for(partial(is_gone, armed, worker), ORPHAN_S, "no orphan")
    armed_s = gone_s + wait_for(lambda: n_armed(armed) > before, BACK_S - gone_s, "armed again")
    print(f"\nsupervisor killed: worker gone {gone_s:.1f} s, armed again {armed_s:.1f} s")


def test_a_supervisor_that_hangs_is_restarted_by_the_watchdog(armed: Machine) -> None:
    supervisor = armed.main_pid(SUPERVISOR)
    armed.kill(SUPERVISOR, signal.SIGSTOP)
    took_s = wait_for(lambda: armed.main_pid(SUPERVISOR) not in (0, supervisor), 20.0, "another supervisor")
    print(f"\nsupervisor stopped by SIGSTOP: another one after {took_s:.1f} s")
    wait_for(lambda: is_armed(armed), START_S, "armed again")


def test_a_worker_that_hangs_is_replaced(armed: Machine) -> None:
    worker = armed.main_pid(VISION)
    armed.kill(VISION, signal.SIGSTOP)
    try:
        took_s = wait_for(lambda: armed.main_pid(VISION) not in (0, worker), 20.0, "another worker")
        print(f"\nvision worker stopped by SIGSTOP: another one after {took_s:.1f} s")
    finally:
        armed.kill(VISION, signal.SIGKILL)


def test_a_stop_leaves_nothing_running(armed: Machine) -> None:
    armed.systemctl("stop", SUPERVISOR)
    wait_for(
        lambda: not any(armed.main_pid(unit) for unit in (SUPERVISOR, VISION, CAPTURE)), 5.0, "all ended"
    )
    assert "appliance" not in armed.run("ls", "/run").split()
    for unit in (VISION, CAPTURE):  # a worker that came too late for the socket has failed, and that is all
        assert armed.show(unit, "ActiveState") in {"inactive", "failed"}


def test_what_was_refused_is_recorded_and_not_tried_again(armed: Machine) -> None:
    armed.systemctl("stop", SUPERVISOR)
    armed.run("sed", "-i", "s/^threads = .*/threads = 0/", CONFIG)
    armed.systemctl("start", SUPERVISOR)
    file = f"/run/appliance-failure/{SUPERVISOR}.json"
    wait_for(lambda: armed.read(file).startswith("{"), 20.0, "recorded")
    armed.run("sed", "-i", "s/^threads = .*/threads = 1/", CONFIG)
    assert armed.show(SUPERVISOR, "ActiveState") == "failed"
    assert armed.show(SUPERVISOR, "NRestarts") == "0"
    record = json.loads(armed.read(file))
    assert (record["unit"], record["result"], record["exit_status"]) == (SUPERVISOR, "exit-code", 3)
    assert record["at"].endswith("Z")
    assert SUPERVISOR in armed.read("/var/lib/appliance-failure/failures.jsonl")
