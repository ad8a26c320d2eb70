"""`appliance status`: the health record, for a person or a script."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from appliance.config import load_config
from appliance.records.health import HealthRecord
from appliance.records.wire import parse_record
from drivers.status_server import fetch_health

LARGEST_RECORD_BYTES = 1 << 20


def show_status(config_path: Path, *, as_json: bool) -> None:
    """Print the running appliance's health; StatusUnreachableError when none answers."""
    data = fetch_health(load_config(config_path).health.port)
    record = parse_record(HealthRecord, data, limit_bytes=LARGEST_RECORD_BYTES)
    console = Console()
    if as_json:
        console.print(data.decode("utf-8"), soft_wrap=True, highlight=False, markup=False)
    else:
        console.print(_table(record))


def _table(record: HealthRecord) -> Table:
    table = Table(title=f"{record.appliance_id}, version {record.version}", show_header=False)
    words = [word for word, holds in (("ready", record.is_ready), ("armed", record.is_armed)) if holds]
    table.add_row("state", ", ".join(words) or "starting")
    table.add_row("wrong", ", ".join(record.reasons) or "nothing")
    if record.deployment_ends_at is not None:
        table.add_row("deployment", f"until {record.deployment_ends_at:%Y-%m-%d %H:%M:%S} UTC")
    for camera in record.cameras:
        state = (
            f"{camera.width_px}x{camera.height_px}, {camera.n_frames} frames" if camera.has_frames else "lost"
        )
        table.add_row(f"camera {camera.camera_id}", state)
    for report in record.vision.cameras if record.vision else ():
        table.add_row(f"picture of {report.camera_id}", report.state.value.replace("_", " "))
        minute = report.last_minute or report.current_minute
        if minute is not None:
            table.add_row(
                "  its last minute",
                f"{minute.n_detected} detected, {minute.n_outside_zone} outside the zone,"
                f" {minute.n_too_small} too small, {minute.n_blurred} blurred,"
                f" {minute.n_turned_away} turned away, {minute.n_dark} dark, {minute.n_searched} searched",
            )
    for task in record.tasks:
        if task.n_restarts or task.n_bugs:
            table.add_row(f"task {task.name}", f"{task.n_restarts} restarts, last: {task.last_code}")
    if record.vision is not None:
        vision = record.vision
        table.add_row("frames analysed / dropped", f"{vision.n_frames} / {vision.n_frames_dropped}")
        table.add_row("probes searched / wiped", f"{vision.n_searched} / {vision.n_probes_wiped}")
    table.add_row("alerts waiting / too late", f"{record.n_alerts_pending} / {record.n_alerts_expired}")
    return table
