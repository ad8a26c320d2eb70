"""The `models` command: fetch, list, evaluate and calibrate."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.fetch import entries_of, fetch_entries
from models.manifest import Manifest, ModelEntry, PictureEntry, load_manifest
from models.measure import calibrate, evaluate
from models.store import DEFAULT_FOLDER, state_of

app = typer.Typer(
    name="models",
    help="Fetch, list and measure the models. Nothing but what the manifest pins is ever loaded.",
    no_args_is_help=True,
    add_completion=False,
)
app.command()(evaluate)
app.command()(calibrate)
FolderOption = Annotated[Path, typer.Option("--folder", help="The models folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@app.callback()
def prepare() -> None:
    """Switch the runtime's telemetry off before it is loaded; the appliance's own processes check this."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@app.command()
def fetch(
    pairs: Annotated[
        list[str] | None, typer.Argument(metavar="[PAIR]...", help="Default: the first pair.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Take the models from this folder only.")
    ] = None,
    folder: FolderOption = DEFAULT_FOLDER,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also the two demonstration portraits.")
    ] = False,
) -> None:
    """Fetch, check and convert the models of PAIR.

    Example: models fetch centerface-dlib --pictures
    """
    manifest = load_manifest()
    entries = entries_of(manifest, pairs or [], pictures=pictures)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<44}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks = {e.id: progress.add_task(e.id, total=4) for e in entries}

        def on_step(what: str, n_done: int, n_all: int) -> None:
            task = tasks[what.partition(":")[0]]
            progress.update(task, description=what, completed=n_done, total=n_all)

        written = fetch_entries(entries, manifest=manifest, folder=folder, source=source, on_step=on_step)
    if written:
        typer.echo(f"fetched {', '.join(written)} into {folder}")
    else:
        typer.echo(f"all present in {folder}: {', '.join(e.id for e in entries)}")


@app.command("list")
def list_models(folder: FolderOption = DEFAULT_FOLDER, as_json: JsonOption = False) -> None:
    """Show every model, pair and picture, and whether it is present, missing or damaged.

    Example: models list --json
    """
    manifest = load_manifest()
    rows = [_row(manifest, folder, e) for e in manifest.entries]
    if as_json:
        pairs = [
            {"id": p.id, "detector": p.detector, "embedder": p.embedder, "is_production": p.is_production}
            for p in manifest.pairs
        ]
        typer.echo(json.dumps({"models": rows, "pairs": pairs}, indent=2))
        return
    table = Table("id", "role", "state", "licence", "pairs", "use")
    for row in rows:
        pairs_text = ", ".join(row["pairs"])
        use = {True: "production", False: "development only", None: "demonstration"}[row["is_production"]]
        table.add_row(row["id"], row["role"], row["state"], row["licence"], pairs_text, use)
    Console().print(table)


def _row(manifest: Manifest, folder: Path, entry: ModelEntry | PictureEntry) -> dict[str, Any]:
    pairs = [p for p in manifest.pairs if entry.id in (p.detector, p.embedder)]
    return {
        "id": entry.id,
        "role": entry.role if isinstance(entry, ModelEntry) else "picture",
        "state": str(state_of(folder, entry)),
        "licence": entry.licence,
        "pairs": [p.id for p in pairs],
        "is_production": any(p.is_production for p in pairs) if pairs else None,
    }
