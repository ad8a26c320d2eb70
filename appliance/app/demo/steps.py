"""The demonstration's preparation, by the very commands that a person would type, each shown as it runs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from appliance.errors import ApplianceError, UsageError
from drivers.mosquitto import free_port

Program = Literal["appliance", "handset", "ops", "provision", "models"]
_ENTRIES: dict[Program, str] = {
    "appliance": "from appliance.__main__ import main; main()",
    "handset": "from appliance.__main__ import handset_main; handset_main()",
    "models": "from appliance.__main__ import models_main; models_main()",
    "ops": "from provisioning.ops.__main__ import main; main()",
    "provision": "from provisioning.__main__ import main; main()",
}
_MARKER = ".made-by-appliance-demo"
_TIMEOUT_S = 60.0
APPLIANCE_ID = "demo-box"
CAMERA_ID = "gate"
HANDSET_ID = "handset-1"
PAIR = "centerface-dlib"


class DemoError(ApplianceError):
    """Report that a step of the demonstration did not do what it should."""

    code = "demo.failed"


def command_of(program: Program, *arguments: str) -> list[str]:
    """Return how to run one of our programs with this very Python, installed or not."""
    # The present folder comes first on the path of -c; nothing that lies there may pass for our code.
    code = f"import sys; sys.path.pop(0); {_ENTRIES[program]}"
    return [sys.executable, "-c", code, *arguments]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFolder:
    """The demonstration's folder: an appliance, central ops and a handset side by side."""

    path: Path
    console: Console

    def prepare(self) -> None:
        """Begin with an empty folder; UsageError when what is there is not an old demonstration."""
        if self.path.exists():
            if any(self.path.iterdir()) and not (self.path / _MARKER).exists():
                raise UsageError(f"{self.path} holds something else: choose another --folder")
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True)
        (self.path / _MARKER).touch()

    def run(self, program: Program, *arguments: str) -> None:
        """Run a command inside the folder; DemoError with its own line when it fails."""
        self.console.print(f"[dim]$ {program} {shlex.join(arguments)}[/dim]", highlight=False)
        result = subprocess.run(
            command_of(program, *arguments),
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if result.returncode != 0:
            last = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
            raise DemoError(f"{program} {arguments[0]}: {' '.join(last)}")

    def write_config(
        self, *, models: Path, port: int, trust_sha256: str, source: str, password_file: str
    ) -> None:
        """Write the appliance's configuration."""
        text = _CONFIG.format(
            appliance_id=APPLIANCE_ID,
            camera_id=CAMERA_ID,
            pair=PAIR,
            models=str(models).replace("\\", "\\\\").replace('"', '\\"'),
            port=port,
            health_port=free_port(),
            trust_sha256=trust_sha256,
            source=source,
            password_file=password_file,
        )
        (self.path / "appliance.toml").write_text(text, encoding="utf-8")


def prepare_list(
    demo: DemoFolder, *, models: Path, minutes: int, listers: tuple[str, str], authorisers: tuple[str, str]
) -> None:
    """Enrol, sign, authorise and publish, as central ops does."""
    demo.run(
        "ops", "enrol", "people", "--ops", "ops", "--pair", PAIR, "--models", str(models),
        "--category", "volunteer", "--enroller", "E. Enroller", "--reviewer", "R. Reviewer",
    )  # fmt: skip
    for person in listers:
        demo.run("ops", "sign", "ops", "--as", person)
    demo.run(
        "ops", "authorise", "--ops", "ops", "--appliance", "appliance-public.json", "--pair", PAIR,
        "--cameras", CAMERA_ID, "--place", "in front of the house", "--purpose", "a demonstration",
        "--use-case", "test_with_volunteers", "--minutes", str(minutes),
        "--recipient", f"handset/{HANDSET_ID}.recipient.json",
    )  # fmt: skip
    for person in authorisers:
        demo.run("ops", "sign", "ops", "--as", person)
    demo.run("ops", "publish", "--ops", "ops", "--appliance", "appliance-public.json", "--to", "published")


_CONFIG = """\
[appliance]
id = "{appliance_id}"
profile = "development"
state_folder = "state"

[models]
folder = "{models}"
pair = "{pair}"
detector_width_px = 640
detector_height_px = 384
threads = 1

[[cameras]]
id = "{camera_id}"
source = "{source}"
rate = "real"
largest_width_px = 1280
largest_height_px = 720
least_face_width_px = 40
zone = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]

[decision]
frames_k = 3
frames_n = 5
cooldown_s = 60

[trust]
file = "ops/trust.json"
sha256 = "{trust_sha256}"

[watchlist]
folder = "published"

[broker]
host = "127.0.0.1"
port = {port}
password_file = "{password_file}"

[alerts]
actionable_s = 30
retention_days = 1

[health]
port = {health_port}

[workers]
started_by = "supervisor"
"""
