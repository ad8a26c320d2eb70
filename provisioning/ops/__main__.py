"""Central ops' command line: `ops`."""

from __future__ import annotations

from provisioning.command_line import run_application
from provisioning.ops.commands import app


def main() -> None:
    """Run `ops`."""
    run_application(app)


if __name__ == "__main__":
    main()
