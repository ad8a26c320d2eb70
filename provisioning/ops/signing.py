"""Add a person's signature to a drafted list or authorisation, after looking at what it says."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.deployment.authority import (
    LARGEST_AUTHORISATION_BYTES,
    check_authorisation,
)
from appliance.deployment.identity import load_signer
from appliance.envelope import Envelope, add_signature
from appliance.errors import AuthorityError, ExpiredError, UsageError
from appliance.ports import Clock
from appliance.records.deployment import Authorisation, Role, find_role
from appliance.records.ids import AuthorisationId, PersonName
from appliance.records.watchlist import WatchlistHeader
from appliance.records.wire import parse_record
from appliance.watchlist.acceptance import LARGEST_HEADER_BYTES
from appliance.watchlist.content import unpack_content
from provisioning.ops.drafts import open_draft, payload_of, read_draft_header
from provisioning.ops.folder import OpsFolder, OpsSigner, read_limited, write_private


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What somebody signed, how many persons now have, and how many must."""

    what: str
    n_signatures: int
    n_needed: int


def sign_as(ops: OpsFolder, person: str, *, clock: Clock) -> Signed:
    """Sign whatever this person may sign: the newest list, or the newest authorisation.

    Raises:
        UsageError: Nobody of this name has a key here, or there is nothing to sign.
    """
    signer = _find_signer(ops, person, None)
    if signer.role is Role.WATCHLIST:
        return sign_list(ops, person, clock=clock)
    return sign_authorisation(ops, person, clock=clock)


def sign_list(ops: OpsFolder, person: str, *, clock: Clock, version: int | None = None) -> Signed:
    """Sign a drafted list, the newest when no version is given.

    What is signed is opened and checked whole first: a signature stands for the content.

    Raises:
        UsageError: No such list, or nobody of this name may sign lists.
        ExpiredError: The list is over.
        IntegrityError, RecordError, AuthorityError: The draft is not what it should be.
    """
    signer = _find_signer(ops, person, Role.WATCHLIST)
    with ops.locked():
        version = ops.pick_version(version)
        header = read_draft_header(ops, version)
        if clock.now() >= header.expires_at:
            raise ExpiredError(f"list version {version} is over; enrol a new one")
        unpack_content(open_draft(ops, version, header), header)
        path = ops.header_path(version)
        data = add_signature(
            read_limited(path, LARGEST_HEADER_BYTES),
            load_signer(ops.keys, signer.key_id),
            limit_bytes=LARGEST_HEADER_BYTES,
        )
        write_private(path, data)
    return _signed(ops, _name_list(header), data, Role.WATCHLIST)


def sign_authorisation(
    ops: OpsFolder, person: str, *, clock: Clock, authorisation_id: AuthorisationId | None = None
) -> Signed:
    """Sign a drafted authorisation, the newest when no id is given; errors as `sign_list`."""
    signer = _find_signer(ops, person, Role.AUTHORISATION)
    with ops.locked():
        path = ops.pick_authorisation(authorisation_id)
        data = read_limited(path, LARGEST_AUTHORISATION_BYTES)
        authorisation = payload_of(Authorisation, data, LARGEST_AUTHORISATION_BYTES)
        check_authorisation(authorisation)
        if clock.now() >= authorisation.ends_at:
            raise ExpiredError(f"authorisation {authorisation.authorisation_id} is over")
        data = add_signature(
            data, load_signer(ops.keys, signer.key_id), limit_bytes=LARGEST_AUTHORISATION_BYTES
        )
        write_private(path, data)
    return _signed(ops, f"authorisation {authorisation.authorisation_id}", data, Role.AUTHORISATION)


def _find_signer(ops: OpsFolder, person: str, role: Role | None) -> OpsSigner:
    for signer in ops.signers.signers:
        if signer.person == PersonName(person):
            if role is not None and signer.role is not role:
                raise AuthorityError(f"{person} signs {signer.role} only, not {role}")
            return signer
    names = ", ".join(signer.person for signer in ops.signers.signers)
    raise UsageError(f"nobody called {person!r} has a key here; there are {names}")


def _name_list(header: WatchlistHeader) -> str:
    return f"list version {header.version} of {header.n_entries} people"


def _signed(ops: OpsFolder, what: str, data: bytes, role: Role) -> Signed:
    trusted = find_role(ops.trust, role)
    n_signatures = len(parse_record(Envelope, data, limit_bytes=LARGEST_AUTHORISATION_BYTES).signatures)
    return Signed(what=what, n_signatures=n_signatures, n_needed=trusted.threshold)
