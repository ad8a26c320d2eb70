"""What an appliance did in one run, for a person and for a script."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from appliance.app.recognition import EndReason
from appliance.records.channel import VisionReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Counts and ages; `vision` is the last worker's report, None when none was armed."""

    end_reason: EndReason
    vision: VisionReport | None
    n_alerts: int
    n_alerts_in_cool_down: int
    n_receipts: int
    n_adjudications: int
    is_list_erased: bool
    worker_warnings: tuple[str, ...]


def print_json(summary: RunSummary) -> None:
    """Print the summary as one JSON object on standard output."""
    Console().print(json.dumps(asdict(summary)), soft_wrap=True, highlight=False, markup=False)


def print_summary(console: Console, summary: RunSummary) -> None:
    """Print the summary as a table."""
    table = Table(title="this run", show_header=False)
    table.add_row("ended because", summary.end_reason.value)
    if summary.vision is not None:
        vision = summary.vision
        table.add_row("frames analysed / dropped", f"{vision.n_frames} / {vision.n_frames_dropped}")
        table.add_row("faces seen (tracks)", str(vision.n_tracks))
        table.add_row("detections too small to search", str(vision.n_too_small))
        table.add_row("probes searched / wiped", f"{vision.n_searched} / {vision.n_probes_wiped}")
        table.add_row("slowest wipe after its decision", f"{vision.slowest_wipe_after_decision_ms:.1f} ms")
        table.add_row("slowest wipe after capture", f"{vision.slowest_wipe_after_capture_ms:.0f} ms")
    table.add_row("alerts / held back by cool-down", f"{summary.n_alerts} / {summary.n_alerts_in_cool_down}")
    table.add_row("receipts / decisions", f"{summary.n_receipts} / {summary.n_adjudications}")
    table.add_row("list erased", "yes" if summary.is_list_erased else "no")
    console.print(table)
