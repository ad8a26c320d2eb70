"""Who may allow recognition, and whether it is allowed now; no I/O, no state (never list 2)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from appliance.envelope import open_by_role
from appliance.errors import (
    AuthorityError,
    ExpiredError,
    IntegrityError,
    ModelMismatchError,
    RecordError,
)
from appliance.records.deployment import (
    Authorisation,
    OperatingPoint,
    Role,
    Trust,
    TrustedKey,
    TrustedRole,
    find_role,
)
from appliance.records.ids import ApplianceId, CameraId, ModelId
from appliance.records.watchlist import WatchlistHeader
from appliance.records.wire import parse_record

PAYLOAD_AUTHORISATION = "authorisation"
LARGEST_AUTHORISATION_BYTES = 96 * 1024
LARGEST_TRUST_BYTES = 64 * 1024
LONGEST_WINDOW = timedelta(hours=12)
FEWEST_SIGNERS = 2
_KEY_HEX = re.compile(r"^[0-9a-f]{64}$")


def load_trust(data: bytes, pinned_sha256: str) -> Trust:
    """Return who may sign what, from the bytes whose sha256 the technician pinned.

    Raises:
        IntegrityError: The pin differs.
        RecordError: Not a trust file.
        AuthorityError: A role is missing or needs fewer than two persons, or one person has both roles.
    """
    if hashlib.sha256(data).hexdigest() != pinned_sha256:
        raise IntegrityError("trust: not the file whose sha256 is pinned in the configuration")
    return parse_trust(data)


def parse_trust(data: bytes) -> Trust:
    """Return who may sign what, for who has no pin (ops itself); as `load_trust` otherwise."""
    trust = parse_record(Trust, data, limit_bytes=LARGEST_TRUST_BYTES)
    if sorted(role.role for role in trust.roles) != sorted(Role):
        raise AuthorityError("trust: roles: each role once")
    for role in trust.roles:
        _check_role(role)
    keys = [key for role in trust.roles for key in role.keys]
    if len({key.key_id for key in keys}) != len(keys) or len({key.public_key_hex for key in keys}) != len(
        keys
    ):
        raise AuthorityError("trust: keys: a key occurs twice")
    listers, authorisers = (_persons(find_role(trust, role)) for role in Role)
    if listers & authorisers:
        raise AuthorityError("trust: one person may not sign lists and authorisations")
    return trust


def accept_authorisation(
    data: bytes,
    trust: Trust,
    *,
    now: datetime,
    is_clock_trusted: bool,
    appliance_id: ApplianceId,
    camera_ids: Sequence[CameraId],
    list_header: WatchlistHeader,
    model_id: ModelId,
) -> Authorisation:
    """Return the authorisation, if it allows this appliance to recognise now.

    Args:
        data: The envelope as received, at most LARGEST_AUTHORISATION_BYTES.
        trust: Who may sign authorisations, and how many of them must.
        camera_ids: The configured cameras; each must be named.
        list_header: The accepted list's.
        model_id: The embedder that runs.

    Raises:
        SignatureError: Not signed by enough persons who may authorise.
        ExpiredError: Not started, over, longer than 12 hours, longer than its list lives, or the clock
            cannot be trusted.
        AuthorityError: For another appliance, camera or list, or without a recipient or an operating point
            for so large a list.
        ModelMismatchError: The operating point was measured with another model.
        RecordError: Not an authorisation, or a field is empty or out of range.
    """
    authorisation = open_authorisation(data, trust)
    if not is_clock_trusted:
        raise ExpiredError("authorisation: the clock is not trusted, so nobody knows whether it is valid")
    _check_time(authorisation, now)
    _check_scope(authorisation, appliance_id, camera_ids)
    check_list(authorisation, list_header, model_id)
    return authorisation


def open_authorisation(data: bytes, trust: Trust) -> Authorisation:
    """Return a signed authorisation, verified and well-formed, whatever the time, place and list."""
    role = find_role(trust, Role.AUTHORISATION)
    payload = open_by_role(PAYLOAD_AUTHORISATION, data, role, limit_bytes=LARGEST_AUTHORISATION_BYTES)
    authorisation = parse_record(Authorisation, payload, limit_bytes=LARGEST_AUTHORISATION_BYTES)
    check_authorisation(authorisation)
    return authorisation


def check_authorisation(authorisation: Authorisation) -> None:
    """Refuse an authorisation that cannot be right, whoever signed it; RecordError, ExpiredError."""
    for field, text in (("purpose", authorisation.purpose), ("place", authorisation.place)):
        if not text.strip():
            raise RecordError(f"authorisation: {field}: missing")
    if not authorisation.camera_ids:
        raise RecordError("authorisation: camera_ids: none")
    if authorisation.starts_at >= authorisation.ends_at:
        raise RecordError("authorisation: ends_at: not after starts_at")
    if authorisation.ends_at - authorisation.starts_at > LONGEST_WINDOW:
        raise ExpiredError("authorisation: ends_at: more than 12 hours after starts_at")
    _check_operating_point(authorisation.operating_point)
    _check_recipients(authorisation)


def check_list(authorisation: Authorisation, list_header: WatchlistHeader, model_id: ModelId) -> None:
    """Refuse an authorisation that is not for this list and model; errors as `accept_authorisation`."""
    if authorisation.watchlist_sha256 != list_header.content_sha256:
        raise AuthorityError("authorisation: watchlist_sha256: it is for another list")
    if authorisation.ends_at > list_header.expires_at:
        raise ExpiredError("authorisation: ends_at: the list expires earlier")
    point = authorisation.operating_point
    if point.model_id != model_id or list_header.model_id != model_id:
        raise ModelMismatchError("authorisation: operating_point.model_id: it is for another model")
    if point.gallery_size < list_header.n_entries:
        raise AuthorityError(
            f"authorisation: operating_point.gallery_size: measured for {point.gallery_size} entries,"
            f" the list has {list_header.n_entries}"
        )


def is_over(authorisation: Authorisation, now: datetime) -> bool:
    """Say whether the deployment has ended; its end does not belong to it."""
    return now >= authorisation.ends_at


def _persons(role: TrustedRole) -> set[str]:
    return {" ".join(key.person.split()).casefold() for key in role.keys}


def _check_role(role: TrustedRole) -> None:
    if role.threshold < FEWEST_SIGNERS:
        raise AuthorityError(f"trust: {role.role}: threshold: at least {FEWEST_SIGNERS} persons must sign")
    if len(_persons(role)) < role.threshold:
        raise AuthorityError(f"trust: {role.role}: keys: fewer persons than must sign")
    if not all(_is_key(key) for key in role.keys):
        raise AuthorityError(f"trust: {role.role}: public_key_hex: not 32 bytes in hexadecimal")


def _is_key(key: TrustedKey) -> bool:
    return _KEY_HEX.match(key.public_key_hex) is not None


def _check_time(authorisation: Authorisation, now: datetime) -> None:
    if now < authorisation.starts_at:
        raise ExpiredError("authorisation: starts_at: it has not started")
    if is_over(authorisation, now):
        raise ExpiredError("authorisation: ends_at: it is over")


def _check_scope(
    authorisation: Authorisation, appliance_id: ApplianceId, camera_ids: Sequence[CameraId]
) -> None:
    if authorisation.appliance_id != appliance_id:
        raise AuthorityError("authorisation: appliance_id: it is for another appliance")
    unnamed = sorted(set(camera_ids) - set(authorisation.camera_ids))
    if unnamed:
        raise AuthorityError(f"authorisation: camera_ids: it does not name {', '.join(unnamed)}")


def _check_operating_point(point: OperatingPoint) -> None:
    if not (math.isfinite(point.threshold) and 0.0 < point.threshold <= 1.0):
        raise RecordError("authorisation: operating_point.threshold: not above 0 and at most 1")
    if not 0.0 < point.fpir < 1.0:
        raise RecordError("authorisation: operating_point.fpir: not between 0 and 1")


def _check_recipients(authorisation: Authorisation) -> None:
    recipients = authorisation.recipients
    if not recipients:
        raise AuthorityError("authorisation: recipients: nobody would get its alerts")
    if len({recipient.handset_id for recipient in recipients}) != len(recipients):
        raise RecordError("authorisation: recipients: a handset occurs twice")
    for recipient in recipients:
        if not (_KEY_HEX.match(recipient.sealing_key_hex) and _KEY_HEX.match(recipient.signing_key_hex)):
            raise RecordError("authorisation: recipients: a key is not 32 bytes in hexadecimal")
