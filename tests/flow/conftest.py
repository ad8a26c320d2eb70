"""A small world for each test: central ops, an appliance, a film and a published list; made once, copied."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from appliance.app.demo.enrolment_picture import make_enrolment_picture
from appliance.app.demo.scene import make_scene_video
from appliance.app.demo.steps import HANDSET_ID, DemoFolder, Program, command_of, prepare_list

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / ".cache" / "models"
LISTERS, AUTHORISERS = ("Lister A", "Lister B"), ("Authoriser A", "Authoriser B")
LISTED = "Eileen Collins"


@dataclass(frozen=True)
class World:
    """A folder with everything in it; commands run inside."""

    path: Path

    @property
    def demo(self) -> DemoFolder:
        return DemoFolder(path=self.path, console=Console(quiet=True))

    def run(
        self, program: Program, *arguments: str, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        home = self.path / "home"
        home.mkdir(exist_ok=True)
        return subprocess.run(
            command_of(program, *arguments),
            cwd=self.path,
            env={**os.environ, "HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def appliance_run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("appliance", "run", "--config", "appliance.toml", "--end-with-video", *arguments)

    def edit_config(self, old: str, new: str) -> None:
        config = self.path / "appliance.toml"
        text = config.read_text(encoding="utf-8")
        assert old in text
        config.write_text(text.replace(old, new), encoding="utf-8")


def refused(result: subprocess.CompletedProcess[str], code: str, *, exit_code: int = 3) -> str:
    """Return the one clear line of a refusal; fail when there is a trace or another exit code."""
    assert result.returncode == exit_code, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error[")]
    assert len(lines) == 1, result.stderr[-2000:]
    assert lines[0].startswith(f"error[{code}]: ")
    return lines[0]


@pytest.fixture(scope="session")
def made_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the world once: 3 s of film with the listed person alone, and a list with her on it."""
    path = tmp_path_factory.mktemp("made") / "world"
    demo = DemoFolder(path=path, console=Console(quiet=True))
    demo.prepare()
    portrait = MODELS / "astronaut.png"
    make_scene_video(path / "street.mp4", {LISTED: portrait}, path / "truth.jsonl", seed=5, seconds=4, fps=20)
    (path / "people" / LISTED).mkdir(parents=True)
    make_enrolment_picture(portrait, path / "people" / LISTED / "portrait.jpg")
    names = [option for name in LISTERS for option in ("--list-signer", name)]
    names += [option for name in AUTHORISERS for option in ("--authoriser", name)]
    demo.run("ops", "init", "ops", "--development", *names)
    trust = (path / "ops" / "trust.json").read_bytes()
    demo.write_config(
        models=MODELS,
        port=1,  # nobody listens there: what is refused is refused before the broker is needed
        trust_sha256=hashlib.sha256(trust).hexdigest(),
        source="street.mp4",
        password_file="broker.password",
    )
    (path / "broker.password").touch(mode=0o600)
    demo.run("provision", "keys", "--config", "appliance.toml", "--list-keys", "3")
    demo.run("handset", "init", "--folder", "handset", "--id", HANDSET_ID, "--officer", "PC Test")
    prepare_list(demo, models=MODELS, minutes=60, listers=LISTERS, authorisers=AUTHORISERS)
    return path


@pytest.fixture
def world(made_world: Path, tmp_path: Path) -> World:
    """A copy of the world that the test may break."""
    shutil.copytree(made_world, tmp_path / "world")
    return World(tmp_path / "world")
