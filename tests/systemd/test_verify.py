"""systemd itself says that the units are right, and how exposed they are."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.systemd.find import UNITS, UnitRoot, settings_of

STARTED = (
    "appliance.target",
    "appliance.service",
    "appliance-vision.service",
    "appliance-vision.path",
    "appliance-capture@north-gate.service",
    "appliance-capture@north-gate.path",
    "appliance-broker.service",
    "appliance-failure@appliance-capture@north-gate.service.service",
)
CAMERA = "appliance-capture@north-gate.service"
VISION = "appliance-vision.service"
EXPOSURE = {
    ("appliance.service", ""): 1.5,
    ("appliance-broker.service", ""): 1.5,
    (VISION, ""): 0.5,
    (VISION, "vision-gpu.conf"): 0.7,
    (CAMERA, ""): 0.5,
    (CAMERA, "capture-usb.conf"): 0.5,
    # It has to reach its camera over the network, and nothing but its camera.
    (CAMERA, "capture-network.conf"): 1.0,
    ("appliance-failure@x.service", ""): 0.5,
}
OPTIONS = {"vision-gpu.conf": VISION, "capture-usb.conf": CAMERA, "capture-network.conf": CAMERA}


@pytest.mark.parametrize("unit", STARTED)
def test_systemd_finds_no_fault(root: UnitRoot, unit: str) -> None:
    answer = root.verify(unit)
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize("option", sorted(path.name for path in (UNITS / "options").iterdir()))
def test_systemd_finds_no_fault_with_an_option(root: UnitRoot, option: str) -> None:
    root.add(option, OPTIONS[option])
    answer = root.verify(OPTIONS[option])
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("PrivateNetwork=yes", "PrivateNetworks=yes"),
        ("ProtectSystem=strict", "ProtectSystem=strikt"),
        ("RestartSec=500ms", "RestartSec=500mz"),
        ("PartOf=appliance.service", "PartOf=appliance.servise"),
        ("/opt/appliance/venv/bin/python -s", "/opt/appliance/venv/bin/pyton -s"),
    ],
)
def test_a_misspelling_is_found(root: UnitRoot, old: str, new: str) -> None:
    root.edit(VISION, old, new)
    answer = root.verify(VISION)
    assert answer.returncode != 0 or answer.stderr


@pytest.mark.parametrize(("unit", "option"), sorted(EXPOSURE))
def test_exposure_is_within_its_limit(root: UnitRoot, unit: str, option: str) -> None:
    if option:
        root.add(option, unit)
    print(f"\n{unit} {option}: {root.exposure(unit)}")
    assert root.is_within(unit, EXPOSURE[unit, option])


def test_a_worker_with_a_network_is_found(root: UnitRoot) -> None:
    root.edit(VISION, "PrivateNetwork=yes\n", "")
    root.edit(VISION, "IPAddressDeny=any\n", "")
    assert not root.is_within(VISION, EXPOSURE[VISION, ""])


def test_a_supervisor_as_root_is_found(root: UnitRoot) -> None:
    root.edit("appliance.service", "User=appliance\n", "User=root\n")
    root.edit("appliance.service", "CapabilityBoundingSet=\n", "")
    assert not root.is_within("appliance.service", EXPOSURE["appliance.service", ""])


def test_each_unit_runs_as_a_user_that_sysusers_makes(root: UnitRoot) -> None:
    program = shutil.which("systemd-sysusers")
    if program is None:
        pytest.skip("systemd-sysusers is missing: install the package systemd")
    folder = root.path / "usr/lib/sysusers.d"
    folder.mkdir(parents=True)
    shutil.copy(UNITS / "sysusers.d" / "appliance.conf", folder)
    subprocess.run([program, f"--root={root.path}"], check=True, capture_output=True, timeout=30)
    lines = (root.path / "etc/passwd").read_text(encoding="utf-8").splitlines()
    shells = {line.split(":")[0]: line.split(":")[-1] for line in lines}
    groups = {line.split(":")[0] for line in (root.path / "etc/group").read_text("utf-8").splitlines()}
    for unit in UNITS.glob("*.service"):
        settings = settings_of(unit)
        assert shells[settings["User"][0]] == "/usr/sbin/nologin"
        assert settings["Group"][0] in groups
    rows = (UNITS / "tmpfiles.d" / "appliance.conf").read_text(encoding="utf-8").splitlines()
    for _, _, mode, user, group, _ in (row.split() for row in rows if not row.startswith("#")):
        assert user in {*shells, "root"}
        assert group in groups
        assert mode[-1] == "0"  # others have no business in any of them
