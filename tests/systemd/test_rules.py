"""What `systemd-analyze` does not know: the rules of this appliance that the units have to keep."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.records.channel import WorkerHello
from appliance.records.ids import CameraId
from drivers.channel import Channel
from drivers.process_settings import CLEARING_ENVIRONMENT, FIXED_ENVIRONMENT
from tests.systemd.find import UNITS, settings_of

WORKERS = ("appliance-vision.service", "appliance-capture@.service")
PYTHON = "/opt/appliance/venv/bin/python"
SOCKET = "/run/appliance/workers/socket"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
FILES = [path for path in sorted(UNITS.rglob("*")) if path.is_file()]
AFTER_249 = {
    # what came with 250 and later, and would be ignored on JetPack 6
    *("LoadCredentialEncrypted", "SetCredentialEncrypted", "ImportCredential", "RestrictFileSystems"),
    *("ExtensionDirectories", "RestartMode", "RestartSteps", "RestartMaxDelaySec", "OpenFile", "ExitType"),
    *("MemoryZSwapMax", "MemoryZSwapWriteback", "StartupMemoryMax", "StartupAllowedCPUs"),
    *("TriggerLimitIntervalSec", "TriggerLimitBurst", "PollLimitIntervalSec", "SetLoginEnvironment"),
    *("PrivatePIDs", "RootEphemeral", "MemoryPressureWatch", "RestrictNetworkInterfaces", "NFTSet"),
    *("FileDescriptorStorePreserve", "SurviveFinalKillSignal", "ConditionCredential", "CoredumpReceive"),
    *("DelegateSubgroup", "ConditionMemoryPressure", "ConditionFirmware"),
}
"""Source: the version notes in systemd's manual pages."""


def environment_of(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in settings_of(UNITS / unit)["Environment"])


def command_of(unit: str, channel: Path) -> list[str]:
    """Return a worker unit's command with our own Python and another socket."""
    (line,) = settings_of(UNITS / unit)["ExecStart"]
    words = [word.replace(SOCKET, str(channel)).replace("%i", "north-gate") for word in shlex.split(line)]
    assert words[0] == PYTHON
    return [sys.executable, *words[1:]]


@pytest.mark.parametrize("unit", WORKERS)
def test_a_worker_s_environment_is_the_one_that_the_supervisor_builds(unit: str) -> None:
    assert environment_of(unit) == {**FIXED_ENVIRONMENT, **CLEARING_ENVIRONMENT}


@pytest.mark.parametrize("unit", WORKERS)
def test_a_worker_s_environment_and_flags_take_effect(unit: str, tmp_path: Path) -> None:
    look = "import drivers.process_settings as p; print([*p.check_clearing(), *p.harden_process()])"
    command = command_of(unit, tmp_path / "socket")
    code = command.index("-c")
    answer = subprocess.run(
        [*command[: code + 1], look],
        env=environment_of(unit),
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("unit", "hello"), [(WORKERS[0], ("vision", None)), (WORKERS[1], ("capture", CameraId("north-gate")))]
)
def test_a_worker_s_command_comes_to_the_supervisor_s_socket(
    unit: str, hello: tuple[str, CameraId | None], tmp_path: Path
) -> None:
    (tmp_path / "appliance.py").write_text("raise SystemExit('the present folder was imported')")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(1)
        listener.settimeout(8.0)
        command, environment = command_of(unit, tmp_path / "socket"), environment_of(unit)
        with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
            try:
                channel = Channel(listener.accept()[0])
                received = channel.receive(2.0)
                assert received is not None
                assert isinstance(received.record, WorkerHello)
                assert (received.record.role, received.record.camera_id) == hello
                channel.close()
                process.wait(2.0)  # it ends with its channel
            finally:
                process.kill()


@pytest.mark.parametrize("unit", WORKERS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PrivateNetwork", "yes"),
        ("RestrictAddressFamilies", "AF_UNIX"),
        ("IPAddressDeny", "any"),
        ("LimitCORE", "0"),
        ("MemorySwapMax", "0"),
        ("LimitMEMLOCK", "infinity"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("Restart", "always"),
        ("ConditionPathExists", SOCKET),
        ("Before", "appliance.service"),
        ("PartOf", "appliance.service"),
        # no state, no keys, no socket but the supervisor's
        ("TemporaryFileSystem", "/var:ro /run:ro"),
        ("BindReadOnlyPaths", str(Path(SOCKET).parent)),
        ("InaccessiblePaths", "-/etc/appliance"),
    ],
)
def test_a_worker_keeps_this_setting(unit: str, name: str, value: str) -> None:
    assert settings_of(UNITS / unit)[name] == [value]


@pytest.mark.parametrize("unit", ["appliance.service", *WORKERS])
def test_what_runs_onnx_runtime_sees_the_processor(unit: str) -> None:
    assert "ProcSubset" not in settings_of(UNITS / unit)


@pytest.mark.parametrize("unit", SERVICES)
def test_no_service_dumps_core_or_is_swapped_out(unit: str) -> None:
    settings = settings_of(UNITS / unit)
    assert settings["LimitCORE"] == ["0"]
    assert settings["MemorySwapMax"] == ["0"]


def test_the_gpu_s_debugging_nodes_stay_shut() -> None:
    settings = settings_of(UNITS / "options" / "vision-gpu.conf")
    nodes = [line.split()[0] for line in settings["DeviceAllow"]]
    assert nodes
    assert not [node for node in nodes if any(word in node for word in ("dbg", "prof", "ctxsw"))]
    assert settings["DevicePolicy"] == ["closed"]
    assert settings["MemoryDenyWriteExecute"] == ["no"]


@pytest.mark.parametrize("option", ["vision-gpu.conf", "capture-usb.conf"])
def test_devices_open_no_network(option: str) -> None:
    names = set(settings_of(UNITS / "options" / option))
    assert not names & {"PrivateNetwork", "RestrictAddressFamilies", "IPAddressAllow", "IPAddressDeny"}


def test_a_network_camera_is_one_address() -> None:
    settings = settings_of(UNITS / "options" / "capture-network.conf")
    assert settings["IPAddressDeny"] == ["any"]
    assert settings["IPAddressAllow"] == ["192.0.2.10"]  # RFC 5737: documentation; a single host, no prefix


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_newer_than_jetpack_6_s_systemd_is_used(file: Path) -> None:
    assert not set(settings_of(file)) & AFTER_249


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_camera_s_id_is_never_unescaped(file: Path) -> None:
    assert "%I" not in file.read_text(encoding="utf-8")


def test_a_failure_is_handled_once() -> None:
    for unit in ("appliance.service", "appliance-broker.service"):
        assert settings_of(UNITS / unit)["OnFailure"] == ["appliance-failure@%n.service"]
    assert "OnFailure" not in settings_of(UNITS / "appliance-failure@.service")


def test_a_supervisor_that_refused_is_not_started_again() -> None:
    settings = settings_of(UNITS / "appliance.service")
    assert settings["RestartPreventExitStatus"] == ["2 3"]
    assert (settings["Type"], settings["Restart"]) == (["notify"], ["always"])
    assert settings["WatchdogSec"] == ["10s"]


def test_the_python_s_environment_is_not_ours_to_inherit() -> None:
    for unit in ("appliance.service", *WORKERS):
        (unset,) = settings_of(UNITS / unit)["UnsetEnvironment"]
        assert {"LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"} <= set(unset.split())
    assert os.environ["ORT_DISABLE_TELEMETRY"] == environment_of("appliance.service")["ORT_DISABLE_TELEMETRY"]
