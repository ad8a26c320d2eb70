"""The command lines `appliance`, `handset` and `models`: parse, call, turn our errors into one clear line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from appliance.errors import ApplianceError
from appliance.logs import set_up_logging

logger = logging.getLogger(__name__)
app = typer.Typer(
    help="An overt, watchlist-only live facial recognition appliance.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
ConfigOption = Annotated[Path, typer.Option(help="The configuration file.")]


def main() -> None:
    """Run `appliance`."""
    run_command(app)


def handset_main() -> None:
    """Run `handset`."""
    from appliance.app.handset import build_handset_app

    run_command(build_handset_app())


def models_main() -> None:
    """Run `models`."""
    from models.command import app as models_app

    run_command(models_app)


def run_command(command: Callable[..., object]) -> None:
    """Run a typer application; an expected failure is one line on standard error and its exit code."""
    # Before anything imports ONNX Runtime, which otherwise writes telemetry below the home folder.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    set_up_logging(logging.WARNING)
    try:
        command()
    except ApplianceError as err:
        sys.stderr.write(f"error[{err.code}]: {' '.join(str(err).split())}\n")
        sys.exit(err.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except Exception:
        logger.exception("a bug: please report it with this trace")
        sys.exit(1)


@app.command()
def run(
    config: ConfigOption = Path("appliance.toml"),
    end_with_video: Annotated[
        bool,
        typer.Option(
            "--end-with-video",
            help="End the deployment, erase the list and stop when every file has been played "
            "(development profile only).",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Arm the appliance and watch, for as long as its authorisation lasts.

    Example: appliance run --config appliance.toml
    """
    from appliance.app.run import run_appliance

    run_appliance(config, ends_with_video=end_with_video, as_json=as_json)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demonstration is made.")] = Path("demo-out"),
    models: Annotated[Path, typer.Option(help="The models folder.")] = Path(".cache/models"),
    cache: Annotated[Path, typer.Option(help="Where Mosquitto is unpacked if the machine has none.")] = Path(
        ".cache/mosquitto"
    ),
    seed: Annotated[int, typer.Option(help="Another seed makes another video.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Show the whole job on a made video: enrol, sign, authorise, recognise, alert, decide, erase.

    Example: appliance demo --seed 2
    """
    from appliance.app.demo.show import run_demo

    run_demo(folder, models, cache, seed=seed, as_json=as_json)


@app.command()
def status(config: ConfigOption = Path("appliance.toml"), as_json: JsonOption = False) -> None:
    """Show how the appliance on this machine is, and what is wrong with it.

    Example: appliance status --config appliance.toml --json
    """
    from appliance.app.status import show_status

    show_status(config, as_json=as_json)


@app.command()
def engines(
    config: ConfigOption = Path("appliance.toml"),
    is_single: Annotated[
        bool, typer.Option("--single", help="Single precision: exact, larger and slower than half.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build TensorRT's engines for this machine's GPU, ahead of the first start; it takes minutes.

    Example: appliance engines --config appliance.toml
    """
    from appliance.app.engines import build_engines

    build_engines(config, precision="single" if is_single else "half", as_json=as_json)


@app.command(name="verify-audit")
def verify_audit_command(
    log: Annotated[Path, typer.Argument(help="The audit log, such as state/audit.jsonl.")],
    public: Annotated[Path, typer.Option(help="The appliance's appliance-public.json.")],
    as_json: JsonOption = False,
) -> None:
    """Check an appliance's audit log: the chain of hashes and the signed checkpoints.

    Example: appliance verify-audit state/audit.jsonl --public appliance-public.json
    """
    from appliance.app.audit_check import check_audit

    check_audit(log, public, as_json=as_json)


if __name__ == "__main__":
    main()
