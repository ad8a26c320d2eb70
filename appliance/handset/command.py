"""The command `handset`: an officer's handset in a terminal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.prompt import Prompt

from appliance.errors import BrokerError, ConfigError, StorageError
from appliance.handset.blind import AfterView, BeforeView
from appliance.handset.drawing import draw_after, draw_before
from appliance.handset.inbox import HandsetInbox
from appliance.handset.keys import HandsetKeys, create_keys, load_keys
from appliance.handset.session import AnswerSender, HandsetSession, Officer
from appliance.handset.store import Decision, HandsetStore, ShownAlert
from appliance.ports import BrokerLink, Clock
from appliance.records.alerts import Judgement, Outcome
from appliance.records.broker import BrokerAccess
from appliance.records.deployment import AppliancePublic
from appliance.records.ids import AlertId, HandsetId, PersonName
from appliance.records.wire import dump_record, parse_record

OpenLink = Callable[[BrokerAccess], AbstractAsyncContextManager[BrokerLink]]
BROKER_FILE = "broker.json"
_LIMIT_BYTES = 64 * 1024
_LONGEST_BACK_OFF_S = 15.0

FolderOption = Annotated[Path, typer.Option(help="The handset's folder: its keys and what it was shown.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line and ask nothing.")]
PasswordOption = Annotated[
    Path | None, typer.Option(help="File with the broker's password; the user name is the handset's id.")
]
BrokerOption = Annotated[str | None, typer.Option(help="The broker as host:port; else as `listen` had it.")]


class TerminalOfficer:
    """Implement the Officer port with a person at this terminal."""

    def __init__(self, console: Console, *, asks: bool) -> None:
        self._console = console
        self._asks = asks

    def show(self, view: BeforeView) -> None:
        """Draw the card."""
        self._console.print(draw_before(view))

    def judge(self, view: BeforeView) -> Judgement | None:
        """Ask whether the two pictures show one person; None where nobody can be asked."""
        if not self._asks:
            self._console.print(f"decide with: handset decide {view.alert_id} --judgement same --outcome ...")
            return None
        return Judgement(
            Prompt.ask("The same person?", choices=[one.value for one in Judgement], console=self._console)
        )

    def conclude(self, view: AfterView) -> Outcome:
        """Show what was held back, and ask what was done."""
        self._console.print(draw_after(view))
        return Outcome(
            Prompt.ask("What did you do?", choices=[one.value for one in Outcome], console=self._console)
        )


class JsonOfficer:
    """Implement the Officer port for scripts: the before-view as JSON; `handset decide` decides."""

    def show(self, view: BeforeView) -> None:
        """Print the card's facts, without its pictures."""
        _print_json(
            {
                "event": "shown",
                "alert_id": view.alert_id,
                "camera_id": view.camera_id,
                "captured_at": view.captured_at.isoformat(),
                "category": view.category.value,
                "instruction": view.instruction,
                "is_test": view.is_test,
            }
        )

    def judge(self, view: BeforeView) -> Judgement | None:
        """Leave it to `handset decide`."""
        del view
        return None

    def conclude(self, view: AfterView) -> Outcome:
        """Never called: nothing was judged."""
        raise AssertionError(f"alert {view.alert_id} was concluded without a judgement")


def build_app(open_link: OpenLink, clock: Clock) -> typer.Typer:
    """Return the command, given how a broker is reached and the clock."""
    app = typer.Typer(
        help="An officer's handset in a terminal.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    _add_init(app)
    _add_listen(app, open_link, clock)
    _add_decide(app, open_link, clock)
    return app


def _add_init(app: typer.Typer) -> None:
    @app.command()
    def init(
        handset_id: Annotated[str, typer.Option("--id", help="The handset's id.")],
        officer: Annotated[str, typer.Option(help="Who carries it.")],
        folder: FolderOption = Path("handset"),
        as_json: JsonOption = False,
    ) -> None:
        """Make a handset's keys, and the public record that the authorisation names it by.

        Example: handset init --folder handset-1 --id handset-1 --officer "PC 1234"
        """
        keys = create_keys(folder, HandsetId(handset_id), PersonName(officer))
        public = folder / f"{handset_id}.recipient.json"
        _write_file(public, dump_record(keys.recipient))
        _say(as_json, {"event": "made", "recipient": str(public)}, f"made {public}: give it to central ops")


def _add_listen(app: typer.Typer, open_link: OpenLink, clock: Clock) -> None:
    @app.command()
    def listen(
        broker: Annotated[str, typer.Option(help="The broker as host:port.")],
        appliance: Annotated[Path, typer.Option(help="The appliance's appliance-public.json.")],
        folder: FolderOption = Path("handset"),
        password_file: PasswordOption = None,
        once: Annotated[bool, typer.Option("--once", help="End after one alert.")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Show alerts as they come, send receipts, ask for the decision and send it.

        Example: handset listen --folder handset-1 --broker 127.0.0.1:1883 --appliance appliance-public.json
        """
        keys = load_keys(folder)
        public = parse_record(AppliancePublic, _read_file(appliance), limit_bytes=_LIMIT_BYTES)
        access = _access_of(keys, broker, password_file)
        _keep_access(folder, access)
        store = HandsetStore(folder)
        session = HandsetSession(
            keys=keys,
            inbox=HandsetInbox(keys=keys, appliance=public, store=store, clock=clock),
            store=store,
            officer=_officer_of(as_json),
            clock=clock,
            run_aside=asyncio.to_thread,
        )
        asyncio.run(_listen(session, open_link, access, clock, once=once))


def _add_decide(app: typer.Typer, open_link: OpenLink, clock: Clock) -> None:
    @app.command()
    def decide(
        alert_id: Annotated[str, typer.Argument(help="An alert that `listen` has shown.")],
        judgement: Annotated[Judgement, typer.Option(help="What the two pictures show.")],
        outcome: Annotated[Outcome, typer.Option(help="What was done.")],
        folder: FolderOption = Path("handset"),
        broker: BrokerOption = None,
        password_file: PasswordOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Decide an alert that was shown; the first decision stands.

        Example: handset decide 4f2a --folder handset-1 --judgement same --outcome spoken_to
        """
        keys = load_keys(folder)
        access = _kept_access(folder) if broker is None else _access_of(keys, broker, password_file)
        # a session of its own: with listen's identifier it would end listen's link
        access = replace(access, identifier=f"{access.identifier}-decide", session_expiry_s=0)
        store = HandsetStore(folder)
        decision = Decision(
            alert_id=AlertId(alert_id), judgement=judgement, outcome=outcome, decided_at=clock.now()
        )
        shown = store.keep_decision(decision)  # from here `listen` sends it, should the broker be away
        asyncio.run(_send_decision(keys, shown, decision, open_link(access)))
        _say(as_json, {"event": "decided", "alert_id": alert_id}, f"alert {alert_id}: {judgement.value}")


async def _listen(
    session: HandsetSession, open_link: OpenLink, access: BrokerAccess, clock: Clock, *, once: bool
) -> None:
    wait_s = 0.0
    while True:
        is_open = False
        try:
            opening = await asyncio.to_thread(open_link, access)  # it may read certificate files
            async with opening as link:
                is_open = True
                await session.run(link, n_cards=1 if once else None)
                return
        except BrokerError as err:
            if not is_open and wait_s == 0:
                raise  # never had a link: the address or the password is wrong, say so at once
            wait_s = 1.0 if is_open else min(wait_s * 2, _LONGEST_BACK_OFF_S)
            Console(stderr=True).print(f"{err}; trying again in {wait_s:.0f} s")
        await clock.sleep(wait_s)


async def _send_decision(
    keys: HandsetKeys,
    shown: ShownAlert,
    decision: Decision,
    opening: AbstractAsyncContextManager[BrokerLink],
) -> None:
    async with opening as link:
        await AnswerSender(keys, link).send_decision(shown, decision)


def _officer_of(as_json: bool) -> Officer:
    console = Console()
    return JsonOfficer() if as_json else TerminalOfficer(console, asks=console.is_interactive)


def _access_of(keys: HandsetKeys, address: str, password_file: Path | None) -> BrokerAccess:
    handset_id = keys.recipient.handset_id
    if password_file is None:
        return BrokerAccess(address=address, identifier=handset_id)
    password = _read_file(password_file).decode("utf-8", "replace").strip()
    return BrokerAccess(address=address, identifier=handset_id, username=handset_id, password=password)


def _keep_access(folder: Path, access: BrokerAccess) -> None:
    _write_file(folder / BROKER_FILE, dump_record(access))


def _kept_access(folder: Path) -> BrokerAccess:
    file = folder / BROKER_FILE
    if not file.exists():
        raise ConfigError(f"{file} is missing: give --broker, or run `handset listen` first")
    return parse_record(BrokerAccess, _read_file(file), limit_bytes=_LIMIT_BYTES)


def _read_file(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_LIMIT_BYTES + 1)
    except OSError as err:
        raise ConfigError(f"{file}: {err.strerror}") from err


def _write_file(file: Path, data: bytes) -> None:
    try:
        file.touch(mode=0o600)
        file.write_bytes(data)
    except OSError as err:
        raise StorageError(f"{file}: {err.strerror}") from err


def _say(as_json: bool, data: dict[str, str], line: str) -> None:
    if as_json:
        _print_json(data)
    else:
        Console().print(line)


def _print_json(data: Mapping[str, str | bool]) -> None:
    typer.echo(json.dumps(data))
