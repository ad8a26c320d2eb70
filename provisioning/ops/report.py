"""Show what enrolment did: a progress bar, a table, and JSON for a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from provisioning.ops.enrol import EnrolmentReport


@contextmanager
def progress_bar(title: str, *, is_shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error while its block runs; the value takes what is done, and of how much."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not is_shown, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda n_done, n_all: bar.update(task, completed=n_done, total=n_all)


def dump_report(report: EnrolmentReport) -> bytes:
    """Return the report as JSON; it holds the names of folders, which may be people's."""
    document: dict[str, Any] = {
        "version": report.version,
        "content_sha256": report.content_sha256,
        "expires_at": report.expires_at.isoformat(),
        "n_enrolled": len(report.enrolled),
        "enrolled": [
            {
                "folder": person.label,
                "entry_id": person.entry_id,
                "n_references": person.n_references,
                "least_quality": person.least_quality,
            }
            for person in report.enrolled
        ],
        "refused_people": [{"folder": each.label, "reason": each.reason} for each in report.refused_people],
        "refused_pictures": [
            {"picture": each.label, "reason": each.reason} for each in report.refused_pictures
        ],
    }
    return json.dumps(document, ensure_ascii=False).encode("utf-8")


def print_report(report: EnrolmentReport) -> None:
    """Print everybody: enrolled with how many references, refused with why."""
    table = Table(title=f"List version {report.version}: {len(report.enrolled)} enrolled", show_lines=False)
    for heading in ("folder or picture", "result", "references", "least quality"):
        table.add_column(heading)
    for person in report.enrolled:
        table.add_row(escape(person.label), "enrolled", str(person.n_references), str(person.least_quality))
    for each in (*report.refused_people, *report.refused_pictures):
        table.add_row(escape(each.label), f"[red]refused:[/red] {escape(each.reason)}", "", "")
    console = Console()
    console.print(table)
    console.print(f"expires at {report.expires_at.isoformat()}; to be signed by two: ops sign")
