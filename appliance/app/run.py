"""`appliance run`: from power-on to the erased list."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from rich.console import Console

from appliance import __version__
from appliance.app.arming import prepare_deployment
from appliance.app.deployment_run import DeploymentRun
from appliance.app.state import ApplianceState, lock_state, open_state
from appliance.app.summary import RunSummary, print_json, print_summary
from appliance.audit import AuditKind
from appliance.config import Config, load_config, resolve_path
from appliance.errors import ConfigError
from appliance.ports import Clock
from appliance.records.deployment import Profile
from drivers.clock import SystemClock
from drivers.process_settings import harden_process
from drivers.service_manager import ServiceManager

CHECK_S = 0.2
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 15.0


def run_appliance(config_path: Path, *, ends_with_video: bool, as_json: bool) -> None:
    """Run until the deployment is over, and print what was done.

    Raises:
        ApplianceError: What was refused, or what only a person can mend.
    """
    config = load_config(config_path)
    if ends_with_video and config.appliance.profile is Profile.PRODUCTION:
        raise ConfigError(f"{config_path}:appliance.profile: --end-with-video is for development only")
    console = Console(stderr=True)
    for warning in harden_process():
        console.print(f"warning: {warning}")
    clock = SystemClock()
    state = open_state(resolve_path(config_path, config.appliance.state_folder))
    lock = lock_state(state.folder)
    try:
        summary = _run_locked(config, config_path, state, clock, console, ends_with_video)
    finally:
        os.close(lock)
    if as_json:
        print_json(summary)
    else:
        print_summary(console, summary)


def _run_locked(
    config: Config,
    config_path: Path,
    state: ApplianceState,
    clock: Clock,
    console: Console,
    ends_with_video: bool,
) -> RunSummary:
    # Before anything else: what is over is erased, whatever the rest of the start then says (never list 7).
    was_over = state.vault.erase_if_over(clock.now())
    audit = state.open_audit(config.appliance.id, clock)
    try:
        audit.append(
            AuditKind.APPLIANCE_STARTED, {"version": __version__, "profile": config.appliance.profile.value}
        )
        if was_over:
            audit.append(AuditKind.WATCHLIST_ERASED, {"why": "over at power-on"})
        deployment = prepare_deployment(config, config_path, state, audit, clock)
        with state.open_outbox() as outbox, tempfile.TemporaryDirectory(prefix="appliance-") as folder:
            run = DeploymentRun(
                config=config,
                config_path=config_path,
                state=state,
                audit=audit,
                outbox=outbox,
                deployment=deployment,
                clock=clock,
                console=console,
                ends_with_video=ends_with_video,
                socket_path=Path(config.workers.socket or Path(folder) / "workers"),
                notifier=ServiceManager.from_environment(),
            )
            return asyncio.run(run.run())
    finally:
        audit.append(AuditKind.APPLIANCE_STOPPED, {})
        audit.close()
