"""A broker for trying things out, on loopback: `python -m appliance.app.development_broker`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from threading import Event

from rich.console import Console

from appliance.errors import ApplianceError
from drivers.mosquitto import BrokerIdentity, find_mosquitto, start_mosquitto


def write_passwords(folder: Path, identities: tuple[BrokerIdentity, ...]) -> None:
    """Write `<name>.password` for each identity, readable by its owner alone."""
    for identity in identities:
        path = folder / f"{identity.name}.password"
        path.touch(mode=0o600)
        path.write_text(identity.password + "\n", encoding="utf-8")


def main() -> int:
    """Run a Mosquitto in the foreground until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="A Mosquitto on 127.0.0.1 for development.",
        epilog="Example: python -m appliance.app.development_broker --folder broker --port 1883",
    )
    parser.add_argument("--folder", type=Path, default=Path("broker"), help="its files and the passwords")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--appliance", default="demo-box", help="the appliance's id")
    parser.add_argument("--handset", action="append", help="a handset's id; may be given again")
    parser.add_argument("--cache", type=Path, default=Path(".cache/mosquitto"), help="where it is unpacked")
    arguments = parser.parse_args()
    identities = (
        BrokerIdentity(name=arguments.appliance, kind="appliance"),
        *(BrokerIdentity(name=name, kind="handset") for name in arguments.handset or ["handset-1"]),
    )
    ended, console = Event(), Console(stderr=True, highlight=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        program = find_mosquitto(arguments.cache.resolve(), console.print)
        with start_mosquitto(
            arguments.folder.resolve(), arguments.port, program=program, identities=identities
        ) as process:
            write_passwords(arguments.folder, identities)
            sys.stderr.write(
                f"listening on {process.address}; passwords in {arguments.folder}; Ctrl-C ends it\n"
            )
            ended.wait()
    except ApplianceError as err:
        console.print(f"error[{err.code}]: {err}", markup=False)
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
