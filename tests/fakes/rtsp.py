"""A real RTSP server for tests, as a process of its own that can be stopped, stalled and changed.

GStreamer's server under the system's Python is used where it is installed; elsewhere Debian's and Ubuntu's
packages are unpacked into a cache folder and run from there, without root. The pictures are encoded here, by
PyAV: so a test knows what it should see, and the server needs no encoder.
"""

from __future__ import annotations

import json
import os
import platform
import select
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
import pytest

from appliance.compat import Self
from appliance.errors import DependencyError
from tests.fakes.rtsp_server import LENGTH

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "rtsp-server"
SCRIPT = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"
Codec = Literal["h264", "h265", "mjpeg"]
_PROBE = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); gi.require_version('Gst', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
    "assert all(Gst.ElementFactory.find(n) for n in ('appsrc', 'rtph264pay', 'rtph265pay', 'rtpjpegpay', "
    "'rtpbin', 'input-selector', 'udpsrc'))"
)
_PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "python3-gi",
)
# Their other plugins want half a desktop; these few are all that the server loads.
_PLUGINS = ("coreelements", "app", "rtp", "rtpmanager", "udp", "tcp")
_NOT_NEEDED = ("libc6", "libgcc-s1", "libstdc++6", "libgstreamer-gl1.0-0")
_TIMEOUT_S = 120
_SETTINGS = {
    "h264": ("libx264", "yuv420p", {"preset": "ultrafast", "tune": "zerolatency", "crf": "16", "g": "10"}),
    "h265": (
        "libx265",
        "yuv420p",
        {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "keyint=10:log-level=none:pools=1"},
    ),
    "mjpeg": ("mjpeg", "yuvj420p", {"qmin": "2", "qmax": "4"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProgram:
    """The environment in which the system's Python finds GStreamer's server."""

    environment: dict[str, str]


def require_rtsp_server() -> ServerProgram:
    """Return the program, fetched when needed, or skip the test where it cannot be had."""
    try:
        return find_rtsp_server()
    except DependencyError as err:
        pytest.skip(str(err))


@lru_cache(maxsize=1)
def find_rtsp_server() -> ServerProgram:
    """Return the machine's server, or one unpacked into the cache.

    Raises:
        DependencyError: Neither is there nor can be fetched; the message names the packages.
    """
    system = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    if _works(system):
        return ServerProgram(environment=system)
    root = CACHE / "root"
    if not root.exists():
        _fetch(root)
    libraries = root / f"usr/lib/{platform.machine()}-linux-gnu"
    unpacked = {
        **system,
        "GI_TYPELIB_PATH": str(libraries / "girepository-1.0"),
        "LD_LIBRARY_PATH": str(libraries),
        "PYTHONPATH": str(root / "usr/lib/python3/dist-packages"),
        "GST_PLUGIN_SYSTEM_PATH": str(root / "plugins"),
        "GST_REGISTRY": str(root / "registry.bin"),
        "GST_REGISTRY_FORK": "no",
    }
    if not _works(unpacked):
        raise DependencyError(f"no RTSP server for tests: install {' '.join(_PACKAGES)}")
    return ServerProgram(environment=unpacked)


def write_frames(
    path: Path,
    pictures: Sequence[npt.NDArray[np.uint8]],
    *,
    codec: Codec = "h264",
    fps: int = 25,
    is_loop: bool = True,
) -> Path:
    """Encode (H, W, 3) RGB pictures into a file that the server plays."""
    name, pixel_format, options = _SETTINGS[codec]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = pictures[0].shape[:2]
    encoder.pix_fmt, encoder.framerate = pixel_format, fps  # type: ignore[assignment]  # an int will do
    encoder.time_base = Fraction(1, fps)
    encoder.options = options
    units: list[bytes] = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
        frame.pts = number
        units += [bytes(packet) for packet in encoder.encode(frame)]
    units += [bytes(packet) for packet in encoder.encode(None)]
    settings = {
        "codec": codec,
        "fps": fps,
        "is_loop": is_loop,
        "width": encoder.width,
        "height": encoder.height,
    }
    path.write_bytes(
        json.dumps(settings).encode() + b"\n" + b"".join(LENGTH.pack(len(unit)) + unit for unit in units)
    )
    return path


class RtspServer:
    """A running server; a context manager that ends this process and no other.

    Args:
        program: From `require_rtsp_server`.
        frames: From `write_frames`.
        user: Asked of clients when not empty, with `password`.
    """

    def __init__(self, program: ServerProgram, frames: Path, *, user: str = "", password: str = "") -> None:
        self._program, self._frames = program, frames
        self._user, self._password = user, password
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Return where the stream is, without credentials."""
        return f"rtsp://127.0.0.1:{self.port}/stream"

    def start(self) -> None:
        """Start, at the port of the last time, and return when it listens."""
        self._process = subprocess.Popen(
            [PYTHON, str(SCRIPT), "--port", str(self.port), "--play", str(self._frames)]
            + (["--user", self._user, "--password", self._password] if self._user else []),
            env=self._program.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        self.port = int(self._answer().removeprefix("port "))

    def stop(self) -> None:
        """End it at once, as a camera without power does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def stall(self) -> None:
        """Keep the sessions and send no more pictures."""
        self._say("stall")

    def resume(self) -> None:
        """Send pictures again."""
        self._say("resume")

    def play(self, frames: Path) -> None:
        """Go on with another file in the same sessions: another size, another codec."""
        self._say(f"play {frames}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._answer() == f"done {line.partition(' ')[0]}"

    def _answer(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 10.0)
        assert ready, "the RTSP server says nothing"
        return self._process.stdout.readline().strip()


def _works(environment: dict[str, str]) -> bool:
    try:
        done = subprocess.run(
            [PYTHON, "-c", _PROBE], env=environment, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _fetch(root: Path) -> None:
    fetched, unpacked = CACHE / "packages", CACHE / "root.new"
    for folder in (fetched, unpacked):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    options = _apt_options()
    for package in _missing_packages(options):
        _run(["apt-get", *options, "download", package], fetched)
    for file in sorted(fetched.glob("*.deb")):
        _run(["dpkg", "-x", str(file), str(unpacked)], CACHE)
    shutil.rmtree(fetched)
    (unpacked / "plugins").mkdir()
    for name in _PLUGINS:
        _link_plugin(unpacked, f"usr/lib/{platform.machine()}-linux-gnu/gstreamer-1.0/libgst{name}.so")
    unpacked.rename(root)  # whole or not at all


def _link_plugin(unpacked: Path, path: str) -> None:
    link = unpacked / "plugins" / Path(path).name
    link.symlink_to(Path("..") / path if (unpacked / path).exists() else Path("/") / path)


def _apt_options() -> list[str]:
    """Return options for apt: none, or lists of our own where the machine has none (a fresh container)."""
    known = _run(["apt-cache", "show", "--no-all-versions", _PACKAGES[0]], Path("/"), is_checked=False)
    if known:
        return []
    apt = CACHE / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    options = [
        *("-o", f"Dir::State::Lists={apt / 'lists'}"),
        *("-o", f"Dir::Cache={apt}"),
        *("-o", "APT::Sandbox::User=root"),  # the sandbox's own user may not write there
    ]
    _run(["apt-get", *options, "update"], CACHE)
    return options


def _missing_packages(options: list[str]) -> list[str]:
    """Return what has to be unpacked: the packages, and the libraries and bindings that they need."""
    found = [package for package in _PACKAGES if not _is_installed(package)]
    for name in found:  # grows while it is walked
        if name.startswith("gstreamer1.0-plugins"):
            continue
        command = ["apt-cache", *options, "depends", "--no-recommends", "--no-suggests", name]
        listing = _run(command, Path("/"))
        for line in listing.splitlines():
            kind, _, wanted = line.strip().partition(": ")
            is_part = kind.lstrip("|") == "Depends" and wanted.startswith(("lib", "gir1.2-"))
            if is_part and wanted not in (*found, *_NOT_NEEDED) and not _is_installed(wanted):
                found.append(wanted)
    return found


def _is_installed(package: str) -> bool:
    answer = _run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], Path("/"), is_checked=False)
    return answer == "installed"


def _run(command: list[str], folder: Path, *, is_checked: bool = True) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, check=is_checked, timeout=_TIMEOUT_S, env=os.environ
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise DependencyError(
            f"no RTSP server for tests ({command[0]} failed): install {' '.join(_PACKAGES)}"
        ) from err
    return done.stdout.decode("utf-8", "replace")
