"""`appliance demo`: the whole job on a made film, in under a minute, with its outcome checked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from appliance.app.demo.enrolment_picture import make_enrolment_picture
from appliance.app.demo.officer import ShownCard, TruthfulOfficer
from appliance.app.demo.scene import Truth, load_truth, make_scene_video
from appliance.app.demo.steps import (
    APPLIANCE_ID,
    HANDSET_ID,
    DemoError,
    DemoFolder,
    command_of,
    prepare_list,
)
from appliance.app.development_broker import write_passwords
from appliance.audit import verify_audit
from appliance.errors import ModelMissingError
from appliance.handset.inbox import HandsetInbox
from appliance.handset.keys import load_keys
from appliance.handset.session import HandsetSession
from appliance.handset.store import HandsetStore
from appliance.records.broker import BrokerAccess
from appliance.records.deployment import AppliancePublic
from appliance.records.wire import parse_record
from appliance.supervisor.tasks import run_together
from drivers.broker import MqttBroker
from drivers.clock import SystemClock
from drivers.mosquitto import BrokerIdentity, MosquittoProcess, find_mosquitto, start_mosquitto

LISTED, OTHER = "Eileen Collins", "Grace Hopper"
PORTRAITS = {LISTED: "astronaut.png", OTHER: "grace_hopper.jpg"}
SECONDS = 12.0
LONGEST_RUN_S = 90.0
LISTERS, AUTHORISERS = ("Lister A", "Lister B"), ("Authoriser A", "Authoriser B")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demonstration showed."""

    listed: str
    n_people_in_film: int
    n_faces_seen: int
    n_alerts_for_listed: int
    n_alerts_for_others: int
    judgements: tuple[str, ...]
    latency_median_s: float
    latency_p95_s: float
    n_probes_searched: int
    n_probes_wiped: int
    slowest_wipe_after_decision_ms: float
    slowest_wipe_after_capture_ms: float
    is_list_erased: bool
    audit: str


def run_demo(folder: Path, models: Path, cache: Path, *, seed: int, as_json: bool) -> None:
    """Run the demonstration; DemoError when it did not show what it promises."""
    console = Console(stderr=as_json)
    models, cache = models.resolve(), cache.resolve()
    missing = [name for name in PORTRAITS.values() if not (models / name).exists()]
    if missing:
        raise ModelMissingError(f"{models}: {missing[0]} is missing: run `models fetch --pictures` first")
    demo = DemoFolder(path=folder.resolve(), console=console)
    demo.prepare()
    truth = _film(demo, models, seed)
    with _start_broker(demo, cache) as broker:
        _set_up(demo, models, broker)
        summary, cards = asyncio.run(_deploy(demo, truth, broker))
    demo.run("ops", "erase", "--ops", "ops")
    result = _result(demo, summary, cards)
    if as_json:
        Console().print(json.dumps(asdict(result)), soft_wrap=True, highlight=False, markup=False)
    else:
        _print_result(console, result)
    _require(result)


def _film(demo: DemoFolder, models: Path, seed: int) -> Truth:
    portraits = {name: models / file for name, file in PORTRAITS.items()}
    video, truth_path = demo.path / "street.mp4", demo.path / "truth.jsonl"
    with _progress(demo.console) as progress:
        task = progress.add_task("making the film", total=1.0)
        make_scene_video(
            video,
            portraits,
            truth_path,
            seed=seed,
            seconds=SECONDS,
            progress=lambda done: progress.update(task, completed=done),
        )
    people = demo.path / "people" / LISTED
    people.mkdir(parents=True)
    make_enrolment_picture(portraits[LISTED], people / "portrait.jpg")
    return load_truth(truth_path)


def _start_broker(demo: DemoFolder, cache: Path) -> AbstractContextManager[MosquittoProcess]:
    program = find_mosquitto(cache, lambda line: demo.console.print(f"mosquitto: {line}"))
    identities = (
        BrokerIdentity(name=APPLIANCE_ID, kind="appliance"),
        BrokerIdentity(name=HANDSET_ID, kind="handset"),
    )
    folder = demo.path / "broker"
    process = start_mosquitto(folder, 0, program=program, identities=identities)
    write_passwords(folder, identities)
    return process


def _set_up(demo: DemoFolder, models: Path, broker: MosquittoProcess) -> None:
    names = [option for name in LISTERS for option in ("--list-signer", name)]
    names += [option for name in AUTHORISERS for option in ("--authoriser", name)]
    demo.run("ops", "init", "ops", "--development", *names)
    trust_sha256 = hashlib.sha256((demo.path / "ops" / "trust.json").read_bytes()).hexdigest()
    demo.write_config(
        models=models,
        port=broker.port,
        trust_sha256=trust_sha256,
        source="street.mp4",
        password_file=f"broker/{APPLIANCE_ID}.password",
    )
    demo.run("provision", "keys", "--config", "appliance.toml", "--list-keys", "2")
    demo.run("handset", "init", "--folder", "handset", "--id", HANDSET_ID, "--officer", "PC Demo")
    prepare_list(demo, models=models, minutes=5, listers=LISTERS, authorisers=AUTHORISERS)


async def _deploy(
    demo: DemoFolder, truth: Truth, broker: MosquittoProcess
) -> tuple[dict[str, object], list[ShownCard]]:
    clock = SystemClock()
    officer = TruthfulOfficer(
        person_at=truth.person_at,
        listed=LISTED,
        audit_path=demo.path / "state" / "audit.jsonl",
        console=demo.console,
        clock=clock,
    )
    session, access = await asyncio.to_thread(_handset, demo, broker, officer)
    demo.console.print("[dim]$ appliance run --config appliance.toml --end-with-video --json[/dim]")
    outputs: list[bytes] = []

    async def listen() -> None:
        async with MqttBroker(access) as link:
            await session.run(link)

    async def run() -> None:
        outputs.append(await _run_appliance(demo))

    await run_together(run(), listen())
    return json.loads(outputs[0]), officer.cards


def _handset(
    demo: DemoFolder, broker: MosquittoProcess, officer: TruthfulOfficer
) -> tuple[HandsetSession, BrokerAccess]:
    folder = demo.path / "handset"
    public = (demo.path / "appliance-public.json").read_bytes()
    keys, store = load_keys(folder), HandsetStore(folder)
    password = (demo.path / "broker" / f"{HANDSET_ID}.password").read_text(encoding="utf-8").strip()
    inbox = HandsetInbox(
        keys=keys,
        appliance=parse_record(AppliancePublic, public, limit_bytes=1 << 20),
        store=store,
        clock=officer.clock,
    )
    session = HandsetSession(
        keys=keys,
        inbox=inbox,
        store=store,
        officer=officer,
        clock=officer.clock,
        run_aside=asyncio.to_thread,
    )
    access = BrokerAccess(
        address=broker.address, identifier=HANDSET_ID, username=HANDSET_ID, password=password
    )
    return session, access


async def _run_appliance(demo: DemoFolder) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command_of("appliance", "run", "--config", "appliance.toml", "--end-with-video", "--json"),
        cwd=demo.path,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, output = await asyncio.wait_for(
            asyncio.gather(_show_lines(demo, process), _read_all(process)), LONGEST_RUN_S
        )
    except asyncio.TimeoutError:
        raise DemoError(f"the appliance did not end within {LONGEST_RUN_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    if process.returncode != 0:
        raise DemoError(f"the appliance ended with {process.returncode}; see {demo.path / 'appliance.log'}")
    return output


async def _show_lines(demo: DemoFolder, process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    log: list[bytes] = []
    with _progress(demo.console) as progress:
        task = progress.add_task("the appliance watches the film", total=None)
        async for line in process.stderr:
            log.append(line)
            text = line.decode("utf-8", "replace").rstrip()
            progress.console.print(f"appliance | {text}", highlight=False, markup=False)
            progress.update(task, advance=0)
    await asyncio.to_thread((demo.path / "appliance.log").write_bytes, b"".join(log))


async def _read_all(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.read()


def _result(demo: DemoFolder, summary: dict[str, object], cards: list[ShownCard]) -> DemoResult:
    vision = summary["vision"]
    assert isinstance(vision, dict)
    latencies = sorted(card.latency_s for card in cards)
    public = parse_record(
        AppliancePublic, (demo.path / "appliance-public.json").read_bytes(), limit_bytes=1 << 20
    )
    report = verify_audit(demo.path / "state" / "audit.jsonl", public.signing_key_hex)
    return DemoResult(
        listed=LISTED,
        n_people_in_film=len(PORTRAITS),
        n_faces_seen=int(vision["n_tracks"]),
        n_alerts_for_listed=sum(card.person == LISTED for card in cards),
        n_alerts_for_others=sum(card.person != LISTED for card in cards),
        judgements=tuple(card.judgement.value for card in cards),
        latency_median_s=round(statistics.median(latencies), 3) if latencies else 0.0,
        latency_p95_s=round(_p95(latencies), 3) if latencies else 0.0,
        n_probes_searched=int(vision["n_searched"]),
        n_probes_wiped=int(vision["n_probes_wiped"]),
        slowest_wipe_after_decision_ms=float(vision["slowest_wipe_after_decision_ms"]),
        slowest_wipe_after_capture_ms=float(vision["slowest_wipe_after_capture_ms"]),
        is_list_erased=bool(summary["is_list_erased"]),
        audit=report.statement,
    )


def _p95(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def _print_result(console: Console, result: DemoResult) -> None:
    table = Table(title="what the demonstration showed", show_header=False, width=100)
    rows: tuple[tuple[str, str], ...] = (
        ("on the list", f"{result.listed}, as a volunteer"),
        ("people in the film / faces seen (tracks)", f"{result.n_people_in_film} / {result.n_faces_seen}"),
        (
            "alerts for the person on the list / for others",
            f"{result.n_alerts_for_listed} / {result.n_alerts_for_others}",
        ),
        ("the officer's judgements", ", ".join(result.judgements) or "none"),
        (
            "capture to handset, median / p95",
            f"{result.latency_median_s:.2f} s / {result.latency_p95_s:.2f} s",
        ),
        ("probes searched / wiped", f"{result.n_probes_searched} / {result.n_probes_wiped}"),
        ("slowest wipe after its decision", f"{result.slowest_wipe_after_decision_ms:.1f} ms"),
        ("slowest wipe after capture", f"{result.slowest_wipe_after_capture_ms:.0f} ms"),
        ("the list after the deployment", "erased" if result.is_list_erased else "NOT erased"),
        ("audit log", result.audit),
    )
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _require(result: DemoResult) -> None:
    if result.n_alerts_for_listed != 1 or result.n_alerts_for_others != 0:
        raise DemoError(
            f"one alert for {result.listed} and none for others were expected, there were"
            f" {result.n_alerts_for_listed} and {result.n_alerts_for_others}"
        )
    if not result.is_list_erased or result.n_probes_wiped != result.n_probes_searched:
        raise DemoError("the list was not erased, or not every probe was wiped")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True
    )
