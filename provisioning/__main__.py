"""The technician's command line: `provision`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from appliance.config import load_config, resolve_path
from provisioning.command_line import run_application
from provisioning.keys import dump_appliance_public, make_appliance_keys
from provisioning.ops.folder import write_private

app = typer.Typer(
    name="provision", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


def main() -> None:
    """Run `provision`."""
    run_application(app)


@app.callback()
def provision() -> None:
    """Make an appliance ready for its work."""


@app.command()
def keys(
    config: Annotated[Path, typer.Option(help="The appliance's configuration.")],
    to: Annotated[Path | None, typer.Option(help="Where the public halves go.")] = None,
    list_keys: Annotated[
        int, typer.Option("--list-keys", help="Single-use list keys to make, 1 to 1000.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make the appliance's signing key and a batch of single-use list keys.

    Private halves stay in the state folder; appliance-public.json goes to central ops. Run it again when the
    list keys are used up: the signing key stays, keys that no list has used stay too.

    Example: provision keys --config appliance.toml --list-keys 50
    """
    loaded = load_config(config)
    state_folder = resolve_path(config, loaded.appliance.state_folder)
    public = make_appliance_keys(state_folder, loaded.appliance.id, list_keys)
    path = to or config.parent / "appliance-public.json"
    write_private(path, dump_appliance_public(public))
    result = {
        "appliance_id": public.appliance_id,
        "public_file": str(path),
        "n_list_keys": len(public.list_keys),
    }
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write(
            f"{public.appliance_id}: {len(public.list_keys)} list keys ready; give {path} to ops\n"
        )


if __name__ == "__main__":
    main()
