"""The main road through the real processes, broker and networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.app.demo.steps import command_of
from tests.flow.conftest import MODELS, REPOSITORY, World

TELEMETRY_FOLDER = ".cache/Microsoft/DeveloperTools/.onnxruntime"


@pytest.mark.broker
@pytest.mark.timeout(150)
def test_the_demonstration_shows_one_alert_and_erases_the_list_twice(tmp_path: Path) -> None:
    world = World(tmp_path)
    cache = REPOSITORY / ".cache" / "mosquitto"
    for _ in range(2):
        result = world.run(
            "appliance", "demo", "--folder", "demo-out", "--models", str(MODELS), "--cache", str(cache),
            "--json", timeout_s=70,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-3000:]
        shown = json.loads(result.stdout.splitlines()[-1])
        assert (shown["n_alerts_for_listed"], shown["n_alerts_for_others"]) == (1, 0)
        assert shown["judgements"] == ["same"]
        assert shown["is_list_erased"]
        # Each passing is embedded at its best moments only, three at least before an alert.
        assert shown["n_probes_searched"] == shown["n_probes_wiped"] >= 3
        assert "never by the score" in result.stderr.replace("\n", " ")
    assert not (world.path / "home" / TELEMETRY_FOLDER).exists()
    state = world.path / "demo-out" / "state"
    assert list((state / "vault" / "lists").iterdir()) == []
    # Two single-use list keys were made; the one that the list was sealed to is gone.
    assert len(list((state / "keys").glob("list-*"))) == 1


def test_a_command_runs_none_of_what_lies_in_the_present_folder(tmp_path: Path) -> None:
    (tmp_path / "appliance").mkdir()
    (tmp_path / "appliance" / "__init__.py").write_text("raise SystemExit(99)")
    result = World(tmp_path).run("appliance", "--help")
    assert result.returncode == 0, result.stderr
    assert command_of("appliance")[2].startswith("import sys; sys.path.pop(0)")
