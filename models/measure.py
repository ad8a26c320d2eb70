"""The `models evaluate` and `models calibrate` commands."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from appliance.errors import UsageError
from appliance.records.deployment import OperatingPoint
from appliance.records.wire import dump_record
from models.evaluation import LFW_CAVEAT, EmbeddedFolder, embed_pictures, list_pictures, open_for_measuring
from models.manifest import load_manifest, model_id_of
from models.open_set import OpenSetRate, rate_at, score_splits
from models.store import DEFAULT_FOLDER

FolderArgument = Annotated[Path, typer.Argument(metavar="EVAL_FOLDER", help="Holds <person>/<picture>.")]
PairOption = Annotated[str, typer.Option("--pair", help="Which pair of models.")]
SizesOption = Annotated[
    list[int], typer.Option("--list-size", min=1, help="Entries of the list; repeatable.")
]
FpirOption = Annotated[list[float], typer.Option("--fpir", help="Wanted FPIR, 0..1; repeatable.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="The first so many people only.")]
ModelsOption = Annotated[Path, typer.Option("--folder", help="The models folder.")]
DetectorOption = Annotated[str, typer.Option("--detector-size", help="Width x height the detector sees.")]
SplitsOption = Annotated[int, typer.Option("--splits", min=1, help="Random lists to draw.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the random lists.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of each network.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def evaluate(
    eval_folder: FolderArgument,
    pair: PairOption,
    list_size: SizesOption = [100],  # noqa: B006  typer takes the default from here and copies it
    fpir: FpirOption = [1e-2, 1e-3, 1e-4],  # noqa: B006
    limit: LimitOption = None,
    folder: ModelsOption = DEFAULT_FOLDER,
    detector_size: DetectorOption = "640x384",
    splits: SplitsOption = 10,
    seed: SeedOption = 1,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Measure TPIR at FPIR on random watchlists; nothing is written, no template outlives the command.

    Example: models evaluate eval/lfw --pair centerface-dlib --list-size 100 --list-size 450
    """
    embedded = _embed(eval_folder, pair, limit, folder, detector_size, threads)
    rates = _rates(embedded, list_size, fpir, splits, seed)
    if as_json:
        document = {"pair": pair, "n_pictures": len(embedded.persons), "n_people": len(set(embedded.persons))}
        document |= {"n_without_face": embedded.n_without_face, "rates": [asdict(r) for r in rates]}
        typer.echo(json.dumps({**document, "caveat": LFW_CAVEAT}, indent=2))
        return
    _print_rates(pair, embedded, rates)


def calibrate(
    eval_folder: FolderArgument,
    pair: PairOption,
    list_size: SizesOption,
    fpir: FpirOption,
    measured_on: Annotated[str, typer.Option("--measured-on", help="Today, YYYY-MM-DD; it is recorded.")],
    test_set: Annotated[str, typer.Option("--test-set", help="Name to record; default: the folder's.")] = "",
    limit: LimitOption = None,
    folder: ModelsOption = DEFAULT_FOLDER,
    detector_size: DetectorOption = "640x384",
    splits: SplitsOption = 10,
    seed: SeedOption = 1,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Find the threshold for a list size and an FPIR: an operating point, for an authorisation to name.

    With --json, one record a line. Example:

    models calibrate eval/lfw --pair centerface-dlib --list-size 100 --fpir 1e-3 --measured-on 2026-11-23
    """
    try:
        date.fromisoformat(measured_on)
    except ValueError as err:
        raise UsageError(f"--measured-on {measured_on}: not YYYY-MM-DD") from err
    embedded = _embed(eval_folder, pair, limit, folder, detector_size, threads)
    rates = _rates(embedded, list_size, fpir, splits, seed)
    for rate in rates:
        if not rate.n_false_alarms:
            raise UsageError(
                f"an FPIR of {rate.fpir_wanted:g} cannot be measured with {rate.n_strangers} searches of a "
                f"list of {rate.list_size}; ask for a higher one"
            )
    if not as_json:
        _print_rates(pair, embedded, rates)
    manifest = load_manifest()
    model_id = model_id_of(manifest.model(manifest.pair(pair).embedder))
    for rate in rates:
        point = OperatingPoint(
            model_id=model_id,
            threshold=rate.threshold,
            fpir=rate.fpir,
            fnir=1 - rate.tpir,
            gallery_size=rate.list_size,
            test_set=test_set or eval_folder.name,
            measured_on=measured_on,
        )
        typer.echo(dump_record(point).decode())


def _embed(
    eval_folder: Path, pair: str, limit: int | None, folder: Path, detector_size: str, threads: int
) -> EmbeddedFolder:
    width, _, height = detector_size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--detector-size {detector_size}: write it as 640x384")
    pictures = list_pictures(eval_folder, limit)
    opened = open_for_measuring(pair, folder, width_px=int(width), height_px=int(height), threads=threads)
    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("embedding", total=len(pictures))

        def on_picture(n_done: int, n_all: int) -> None:
            progress.update(task, completed=n_done)

        return embed_pictures(opened, pictures, on_picture)


def _rates(
    embedded: EmbeddedFolder, list_sizes: list[int], fpirs: list[float], splits: int, seed: int
) -> list[OpenSetRate]:
    rates = []
    for size in list_sizes:
        scores = score_splits(
            embedded.templates, embedded.persons, list_size=size, n_splits=splits, seed=seed
        )
        rates += [rate_at(scores, list_size=size, fpir_wanted=wanted) for wanted in fpirs]
    return rates


def _print_rates(pair: str, embedded: EmbeddedFolder, rates: list[OpenSetRate]) -> None:
    n_people, n_pictures = len(set(embedded.persons)), len(embedded.persons)
    table = Table("list", "FPIR", "95 %", "threshold", "TPIR", "95 %", "false alarms", title=pair)
    for rate in rates:
        alarms = f"{rate.n_false_alarms} of {rate.n_strangers} in {rate.n_splits} splits"
        cells: list[Any] = [rate.list_size, f"{rate.fpir:.1e}"]
        cells.append(f"{rate.fpir_interval.low:.1e} to {rate.fpir_interval.high:.1e}")
        cells += [f"{rate.threshold:.4f}", f"{rate.tpir:.3f}"]
        cells += [f"{rate.tpir_interval.low:.3f} to {rate.tpir_interval.high:.3f}", alarms]
        table.add_row(*map(str, cells))
    console = Console()
    console.print(table)
    console.print(
        f"{n_pictures} pictures of {n_people} people; {embedded.n_without_face} without a face left out."
    )
    console.print(LFW_CAVEAT)
