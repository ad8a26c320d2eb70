"""Draft the permission to look for one list, at one place, with named cameras, from start to end."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from appliance.deployment.authority import PAYLOAD_AUTHORISATION, check_authorisation, check_list
from appliance.envelope import sign_payload
from appliance.errors import AuthorityError, ExpiredError, RecordError
from appliance.ports import Clock
from appliance.records.deployment import (
    AppliancePublic,
    Authorisation,
    OperatingPoint,
    Recipient,
    UseCase,
)
from appliance.records.ids import AuthorisationId, CameraId, ModelId
from appliance.records.wire import dump_record, parse_record
from provisioning.ops.drafts import read_draft_header
from provisioning.ops.folder import OpsFolder, read_record, write_private

logger = logging.getLogger(__name__)
_LEAST_OF_FPIR = 0.5
"""Rates are measured in steps of one false alarm: a point may be this much stricter than what was asked."""


def authorise(
    ops: OpsFolder,
    *,
    clock: Clock,
    appliance: AppliancePublic,
    camera_ids: Sequence[CameraId],
    place: str,
    purpose: str,
    use_case: UseCase,
    starts_at: datetime,
    ends_at: datetime,
    recipients: Sequence[Recipient],
    operating_points: Sequence[OperatingPoint],
    fpir: float,
    version: int | None = None,
) -> Authorisation:
    """Draft an authorisation for a drafted list, the newest when no version is given; it is not signed yet.

    Args:
        operating_points: What was measured for the pair; the one for the smallest sufficient list is taken.
        fpir: The false positive identification rate that is accepted.

    Raises:
        AuthorityError: No operating point for this model, list size and rate; nobody would get the alerts.
        ExpiredError: Over already, longer than 12 hours, or longer than its list lives.
        RecordError: A field is empty or not an id.
        UsageError: There is no such list.
    """
    with ops.locked():
        header = read_draft_header(ops, ops.pick_version(version))
        authorisation = Authorisation(
            authorisation_id=AuthorisationId("auth-" + secrets.token_hex(8)),
            appliance_id=appliance.appliance_id,
            purpose=purpose,
            use_case=use_case,
            place=place,
            camera_ids=tuple(camera_ids),
            starts_at=starts_at,
            ends_at=ends_at,
            watchlist_sha256=header.content_sha256,
            operating_point=choose_operating_point(
                operating_points, model_id=header.model_id, n_entries=header.n_entries, fpir=fpir
            ),
            recipients=tuple(recipients),
        )
        payload = dump_record(authorisation)
        authorisation = parse_record(Authorisation, payload, limit_bytes=len(payload))  # checks the ids
        if clock.now() >= ends_at:
            raise ExpiredError("authorisation: ends_at: it is over already")
        check_authorisation(authorisation)
        check_list(authorisation, header, header.model_id)
        write_private(
            ops.authorisation_path(authorisation.authorisation_id),
            sign_payload(PAYLOAD_AUTHORISATION, payload, ()),
        )
    logger.info("drafted %s", authorisation.authorisation_id)
    return authorisation


def choose_operating_point(
    points: Sequence[OperatingPoint], *, model_id: ModelId, n_entries: int, fpir: float
) -> OperatingPoint:
    """Return the point measured for the smallest list that is large enough.

    Its rate is the largest measured that is at most `fpir`, and at least half of it.

    Raises:
        AuthorityError: None was measured for this model, size and rate: the message says what there is.
    """
    fitting = [
        point
        for point in points
        if point.model_id == model_id
        and point.gallery_size >= n_entries
        and fpir * _LEAST_OF_FPIR <= point.fpir <= fpir * (1 + 1e-6)
    ]
    if not fitting:
        known = ", ".join(
            f"{point.gallery_size} at {point.fpir:g}" for point in points if point.model_id == model_id
        )
        raise AuthorityError(
            f"no operating point was measured for {model_id}, a list of {n_entries} and FPIR {fpir:g}"
            f" (there are: {known or 'none'}); measure one with `models calibrate`"
        )
    return min(fitting, key=lambda point: (point.gallery_size, -point.fpir))


def read_recipient(path: Path) -> Recipient:
    """Return a handset's public record; StorageError or RecordError, naming the file."""
    try:
        return read_record(Recipient, path)
    except RecordError as err:
        raise RecordError(f"{path.name}: {err}") from None
