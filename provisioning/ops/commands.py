"""The commands of `ops`: thin layers over the functions beside them."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.errors import RecordError, UsageError
from appliance.records.deployment import UseCase
from appliance.records.ids import AuthorisationId, CameraId, PersonName
from appliance.records.watchlist import Category
from drivers.clock import SystemClock
from provisioning.keys import read_appliance_public
from provisioning.ops.authorise import authorise, read_recipient
from provisioning.ops.enrol import EnrolmentReport, enrol_folder
from provisioning.ops.folder import OpsFolder, write_private
from provisioning.ops.initialise import DEFAULT_AUTHORISERS, DEFAULT_LIST_SIGNERS, init_ops, trust_sha256
from provisioning.ops.networks import open_networks, read_enrolment_picture
from provisioning.ops.people import EntryDefaults, parse_time
from provisioning.ops.publish import erase_lists, publish
from provisioning.ops.report import dump_report, print_report, progress_bar
from provisioning.ops.signing import sign_as

app = typer.Typer(
    name="ops",
    help="Central ops: enrol, sign, authorise, publish and erase watchlists.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
OpsOption = Annotated[Path, typer.Option("--ops", help="Ops' folder, made by `ops init`.")]
ApplianceOption = Annotated[Path, typer.Option("--appliance", help="The appliance's appliance-public.json.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    development: Annotated[
        bool, typer.Option("--development", help="Keep private keys without a passphrase.")
    ] = False,
    list_signer: Annotated[
        list[str] | None, typer.Option(help="A person who signs lists; give at least two.")
    ] = None,
    authoriser: Annotated[
        list[str] | None, typer.Option(help="A person who signs authorisations; give at least two.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key for each signer, and trust.json, whose sha256 every appliance pins.

    Two of the list signers must sign each list, two of the authorisers each authorisation; nobody may be
    both. Keys under a passphrase come later: until then --development is needed, and such keys are never for
    a street.

    Example: ops init ops --development --list-signer Ann --list-signer Ben --authoriser Eve --authoriser Dan
    """
    ops = init_ops(
        folder,
        is_development=development,
        list_signers=list_signer or DEFAULT_LIST_SIGNERS,
        authorisers=authoriser or DEFAULT_AUTHORISERS,
    )
    result = {
        "trust_file": str(ops.trust_path),
        "trust_sha256": trust_sha256(ops),
        "signers": [f"{signer.person} ({signer.role})" for signer in ops.signers.signers],
        "warning": "development: the private keys are not encrypted",
    }
    _print(result, as_json)


@app.command()
def enrol(
    pictures: Annotated[Path, typer.Argument(help="A folder of pictures for each person.")],
    ops: OpsOption,
    enroller: Annotated[str, typer.Option(help="Who enrols.")],
    reviewer: Annotated[str, typer.Option(help="Who reviewed the entries; somebody else.")],
    pair: Annotated[str, typer.Option(help="The pair of networks that will run on the appliance.")],
    models: Annotated[Path, typer.Option(help="The models folder.")] = Path(".cache/models"),
    category: Annotated[
        Category, typer.Option(help="For who has no line of their own.")
    ] = Category.VOLUNTEER,
    entries: Annotated[
        Path | None, typer.Option(help="CSV: a line for each person; `folder` names theirs.")
    ] = None,
    days: Annotated[float, typer.Option(help="How long the list lives, 31 at most.")] = 7.0,
    legal_basis: Annotated[str, typer.Option(help="As category.")] = "consent in writing",
    source: Annotated[str, typer.Option(help="As category.")] = "taken for a test",
    instruction: Annotated[str, typer.Option(help="As category.")] = "a volunteer in a test; no action",
    report: Annotated[
        Path | None, typer.Option(help="Also write the report here; it names people, so delete it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new list from pictures, to be signed. Every file is enrolled, or refused with its reason.

    Example: ops enrol volunteers --ops ops --pair centerface-dlib --enroller Ann --reviewer Ben
    """
    folder, clock = OpsFolder(ops), SystemClock()
    if not 0 < days <= 31:  # before timedelta, which overflows
        raise UsageError("--days: more than 0, 31 at most")
    defaults = EntryDefaults(
        enroller=PersonName(enroller),
        reviewer=PersonName(reviewer),
        expires_at=clock.now() + timedelta(days=days),
        category=category,
        legal_basis=legal_basis,
        source=source,
        instruction=instruction,
    )
    networks = open_networks(pair, models)
    with progress_bar("enrolling", is_shown=not as_json) as progress:
        made: EnrolmentReport = enrol_folder(
            folder,
            pictures,
            clock=clock,
            enroller=networks.enroller,
            read_picture=read_enrolment_picture,
            model_id=networks.model_id,
            template_length=networks.template_length,
            defaults=defaults,
            entries_csv=entries,
            progress=progress,
        )
    if report is not None:
        write_private(report, dump_report(made))
    if as_json:
        sys.stdout.write(dump_report(made).decode("utf-8") + "\n")
    else:
        print_report(made)


@app.command()
def sign(
    ops: Annotated[Path, typer.Argument(metavar="OPS", help="Ops' folder.")],
    person: Annotated[str, typer.Option("--as", help="Who signs.")],
    as_json: JsonOption = False,
) -> None:
    """Sign what this person may sign: the newest list, or the newest authorisation.

    Example: ops sign ops --as "Lister A"
    """
    signed = sign_as(OpsFolder(ops), person, clock=SystemClock())
    result = {"signed": signed.what, "n_signatures": signed.n_signatures, "n_needed": signed.n_needed}
    _print(result, as_json)


@app.command(name="authorise")
def authorise_command(
    ops: OpsOption,
    appliance: ApplianceOption,
    pair: Annotated[str, typer.Option(help="The pair of networks; its measured operating points are used.")],
    cameras: Annotated[str, typer.Option(help="Their ids, with commas.")],
    place: Annotated[str, typer.Option(help="Where.")],
    purpose: Annotated[str, typer.Option(help="What for.")],
    use_case: Annotated[UseCase, typer.Option(help="Which kind of deployment.")],
    recipient: Annotated[list[Path], typer.Option(help="A handset's recipient.json; give one or more.")],
    fpir: Annotated[float, typer.Option(help="The accepted false positive identification rate.")] = 1e-3,
    starts: Annotated[
        str | None, typer.Option(help="When, as 2026-12-31T18:00:00Z; now if left out.")
    ] = None,
    ends: Annotated[str | None, typer.Option(help="Until when, 12 hours later at most.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Instead of --ends.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draft the authorisation of a deployment with the newest list, to be signed.

    Example: ops authorise --ops ops --appliance appliance-public.json --pair centerface-dlib --cameras gate
    --place "Yard 1" --purpose "acceptance test" --use-case test_with_volunteers --minutes 60
    --recipient handset.recipient.json
    """
    from models.pairs import operating_points_of

    clock = SystemClock()
    starts_at = _time("--starts", starts) if starts else clock.now()
    if (ends is None) == (minutes is None):
        raise UsageError("give either --ends or --minutes")
    if minutes is not None and not 0 < minutes <= 720:  # before timedelta, which overflows
        raise UsageError("--minutes: more than 0, 720 at most")
    ends_at = _time("--ends", ends) if ends else starts_at + timedelta(minutes=minutes or 0)
    drafted = authorise(
        OpsFolder(ops),
        clock=clock,
        appliance=read_appliance_public(appliance),
        camera_ids=[CameraId(name.strip()) for name in cameras.split(",")],
        place=place,
        purpose=purpose,
        use_case=use_case,
        starts_at=starts_at,
        ends_at=ends_at,
        recipients=[read_recipient(path) for path in recipient],
        operating_points=operating_points_of(pair),
        fpir=fpir,
    )
    point = drafted.operating_point
    result = {
        "authorisation_id": drafted.authorisation_id,
        "starts_at": drafted.starts_at.isoformat(),
        "ends_at": drafted.ends_at.isoformat(),
        "threshold": point.threshold,
        "fpir": point.fpir,
        "fnir": point.fnir,
        "gallery_size": point.gallery_size,
        "test_set": point.test_set,
    }
    _print(result, as_json)


@app.command(name="publish")
def publish_command(
    ops: OpsOption,
    appliance: ApplianceOption,
    to: Annotated[Path, typer.Option(help="A new folder, for this appliance alone.")],
    authorisation: Annotated[str | None, typer.Option(help="Its id; the newest if left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a signed authorisation and its list for one appliance, using up one of its list keys.

    Example: ops publish --ops ops --appliance appliance-public.json --to publication
    """
    published = publish(
        OpsFolder(ops),
        clock=SystemClock(),
        appliance=read_appliance_public(appliance),
        to=to,
        authorisation_id=AuthorisationId(authorisation) if authorisation else None,
    )
    result = {
        "folder": str(published.folder),
        "version": published.version,
        "n_entries": published.n_entries,
        "authorisation_id": published.authorisation_id,
        "key_id": published.key_id,
        "n_keys_left": published.n_keys_left,
    }
    _print(result, as_json)


@app.command()
def erase(ops: OpsOption, as_json: JsonOption = False) -> None:
    """Destroy the keys of every list that ops keeps, then the files.

    Example: ops erase --ops ops
    """
    _print({"erased_versions": erase_lists(OpsFolder(ops))}, as_json)


def _time(option: str, text: str) -> Any:
    try:
        return parse_time(text)
    except RecordError as err:
        raise UsageError(f"{option}: {err}") from None


def _print(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for key, value in result.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        sys.stdout.write(f"{key.replace('_', ' ')}: {shown}\n")
