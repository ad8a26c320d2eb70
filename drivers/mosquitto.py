"""A Mosquitto of one's own, on loopback, for demonstration, tests and development; never on an appliance.

It needs no root: where the machine has no Mosquitto, Debian's and Ubuntu's packages are unpacked into a cache
folder and run from there. Each identity has a random password and an access list of its own.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from appliance.compat import Self
from appliance.errors import BrokerError, ConfigError, DependencyError
from appliance.records.alert_format import LARGEST_MESSAGE_BYTES

HOST = "127.0.0.1"
_HOW_TO_GET_IT = "install the package mosquitto, or run `apt-get update` once and try again"
_FETCH_TIMEOUT_S = 120
_STEP_S = 0.05
_N_STEPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class MosquittoProgram:
    """Where the broker and its password tool are, and where their libraries are if not the machine's."""

    broker: Path
    password_tool: Path
    library_folder: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerIdentity:
    """Who may connect: an appliance sends alerts and reads the answers, a handset the reverse.

    `name` is the appliance's or the handset's id; it is the user name too.
    """

    name: str
    kind: Literal["appliance", "handset"]
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)


def find_mosquitto(
    cache_folder: Path, on_progress: Callable[[str], None] = lambda _: None
) -> MosquittoProgram:
    """Return the machine's Mosquitto, or one unpacked into `cache_folder`, fetching it when needed.

    Raises:
        DependencyError: Neither is there nor can be fetched; the message says what to do.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    broker, tool = shutil.which("mosquitto", path=path), shutil.which("mosquitto_passwd", path=path)
    if broker and tool:
        return MosquittoProgram(broker=Path(broker), password_tool=Path(tool), library_folder=None)
    root = cache_folder / "root"
    if not (root / "usr/sbin/mosquitto").exists():
        _fetch_packages(cache_folder, on_progress)
    return MosquittoProgram(
        broker=root / "usr/sbin/mosquitto",
        password_tool=root / "usr/bin/mosquitto_passwd",
        library_folder=root / f"usr/lib/{platform.machine()}-linux-gnu",
    )


class MosquittoProcess:
    """A running broker; `stop` ends this process and no other.

    `kill` and `start_again` are for tests of outages: the same folder, port and stored sessions.
    """

    def __init__(self, program: MosquittoProgram, folder: Path, port: int) -> None:
        self.port = port
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Return `host:port`."""
        return f"{HOST}:{self.port}"

    def start_again(self) -> None:
        """Start, and return when connections are accepted (0.1 s as a rule, 10 s at most).

        Raises:
            BrokerError: The port is taken, or the broker ended; the message has its last line.
        """
        _require_free(self.port)
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._program.broker), "-c", str(self._folder / "mosquitto.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(self._program),
                start_new_session=True,  # Ctrl-C is for the program that started it
            )
        for _ in range(_N_STEPS):
            if _has_ended(self._process, _STEP_S):
                break
            if _accepts(self.port):
                return
        self.kill()
        raise BrokerError(f"mosquitto did not start: {_last_line(self._folder / 'mosquitto.log')}")

    def stop(self) -> None:
        """Ask it to end and wait; it stores its sessions first. Nothing happens when it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        if not _has_ended(process, 5.0):
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_mosquitto(
    folder: Path, port: int, *, program: MosquittoProgram, identities: Sequence[BrokerIdentity]
) -> MosquittoProcess:
    """Start a broker on 127.0.0.1 that knows these identities and nobody else.

    Args:
        folder: For configuration, passwords (hashed), stored sessions and log; made if missing, mode 0700.
        port: 0 takes a free one.
        program: From `find_mosquitto`.
        identities: Who may connect, each with a password and with the topics of its kind.

    Raises:
        BrokerError: It did not start.
        ConfigError: An identity's name is not an id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    port = port or free_port()
    _write(folder / "access", "\n".join(_access_of(identity) for identity in identities))
    _write(folder / "passwords", "".join(f"{one.name}:{one.password}\n" for one in identities))
    _hash_passwords(program, folder / "passwords")
    _write(folder / "mosquitto.conf", _configuration(folder, port))
    process = MosquittoProcess(program, folder, port)
    process.start_again()
    return process


def _configuration(folder: Path, port: int) -> str:
    lines = [
        f"listener {port} {HOST}",
        "allow_anonymous false",
        f"password_file {folder / 'passwords'}",
        f"acl_file {folder / 'access'}",
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_interval 1",
        "autosave_on_changes true",
        f"message_size_limit {LARGEST_MESSAGE_BYTES}",
        f"max_packet_size {LARGEST_MESSAGE_BYTES + 1024}",
        "max_queued_messages 1000",
        "persistent_client_expiration 2d",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
    ]
    if os.geteuid() == 0:
        lines.append("user root")  # else it gives up root for a user that the machine may not have
    return "\n".join(lines) + "\n"


def _access_of(identity: BrokerIdentity) -> str:
    name = identity.name
    if not name or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise ConfigError("mosquitto: an identity's name is letters, digits, - and _")
    if identity.kind == "appliance":
        topics = [
            f"write alerts/{name}/#",
            f"write health/{name}",
            f"read receipts/{name}/#",
            f"read adjudications/{name}/#",
        ]
    else:
        topics = [f"read alerts/+/{name}", f"write receipts/+/{name}", f"write adjudications/+/{name}"]
    return f"user {name}\n" + "".join(f"topic {topic}\n" for topic in topics)


def _hash_passwords(program: MosquittoProgram, file: Path) -> None:
    # -U hashes a file in place: a password on the command line would show in the list of processes
    _run([str(program.password_tool), "-U", str(file)], file.parent, _environment(program))


def _fetch_packages(cache_folder: Path, on_progress: Callable[[str], None]) -> None:
    for tool in ("apt-get", "apt-cache", "dpkg", "dpkg-query"):
        if shutil.which(tool) is None:
            raise DependencyError("mosquitto is missing: install it with your system's package manager")
    fetched = cache_folder / "packages"
    unpacked = cache_folder / "root.new"
    for folder in (fetched, unpacked):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    options = _apt_options(cache_folder, on_progress)
    on_progress("looking up mosquitto's packages")
    packages = _missing_packages("mosquitto", cache_folder, options)
    for package in packages:
        on_progress(f"fetching {package}")
        _run(["apt-get", *options, "download", package], fetched, None)
    on_progress("unpacking")
    for file in sorted(fetched.glob("*.deb")):
        _run(["dpkg", "-x", str(file), str(unpacked)], cache_folder, None)
    shutil.rmtree(cache_folder / "root", ignore_errors=True)
    unpacked.rename(cache_folder / "root")  # whole or not at all


def _apt_options(cache_folder: Path, on_progress: Callable[[str], None]) -> list[str]:
    """Return options for apt: none, or lists of our own where the machine has none (a fresh container)."""
    known = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", "mosquitto"],
        capture_output=True,
        check=False,
        timeout=_FETCH_TIMEOUT_S,
    )
    if known.returncode == 0:
        return []
    on_progress("fetching the package lists, into the cache folder")
    apt = cache_folder / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    options = [
        *("-o", f"Dir::State::Lists={apt / 'lists'}"),
        *("-o", f"Dir::Cache={apt}"),
        *("-o", "APT::Sandbox::User=root"),  # the sandbox's own user may not write there
    ]
    _run(["apt-get", *options, "update"], cache_folder, None)
    return options


def _missing_packages(package: str, folder: Path, options: Sequence[str]) -> list[str]:
    """Return the package and, recursively, the libraries it depends on that are not installed."""
    found = [package]
    for name in found:  # grows while it is walked
        listing = _run(
            ["apt-cache", *options, "depends", "--no-recommends", "--no-suggests", name], folder, None
        )
        for line in listing.splitlines():
            kind, _, wanted = line.strip().partition(": ")
            is_library = kind.lstrip("|") == "Depends" and wanted.startswith("lib")
            if is_library and wanted not in found and not _is_installed(wanted):
                found.append(wanted)
    return found


def _is_installed(package: str) -> bool:
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
        capture_output=True,
        check=False,
        timeout=_FETCH_TIMEOUT_S,
    )
    return answer.stdout == b"installed"


def _run(command: list[str], folder: Path, environment: dict[str, str] | None) -> str:
    try:
        answer = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, check=True, timeout=_FETCH_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise DependencyError(f"mosquitto: {command[0]} failed: {_HOW_TO_GET_IT}") from err
    return answer.stdout.decode("utf-8", "replace")


def _environment(program: MosquittoProgram) -> dict[str, str]:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    if program.library_folder is not None:
        environment["LD_LIBRARY_PATH"] = str(program.library_folder)
    return environment


def _write(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as err:
            raise BrokerError(f"port {port} is taken: choose another, or stop what listens there") from err


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def _has_ended(process: subprocess.Popen[bytes], wait_s: float) -> bool:
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _last_line(file: Path) -> str:
    lines = file.read_text("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
