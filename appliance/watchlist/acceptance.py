"""Whether a list may be used at all; no I/O, no state."""

from __future__ import annotations

import re
from datetime import datetime

from appliance.envelope import open_by_role
from appliance.errors import ExpiredError, ModelMismatchError, RecordError, RollbackError
from appliance.records.deployment import Role, Trust, find_role
from appliance.records.ids import ModelId
from appliance.records.watchlist import LARGEST_WATCHLIST, WatchlistHeader
from appliance.records.wire import parse_record
from appliance.watchlist.content import LONGEST_TEMPLATE, SHORTEST_TEMPLATE

PAYLOAD_WATCHLIST = "watchlist"
LARGEST_HEADER_BYTES = 16 * 1024
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


def accept_list(
    signed_header: bytes,
    trust: Trust,
    *,
    now: datetime,
    is_clock_trusted: bool,
    last_version_seen: int,
    model_id: ModelId,
) -> WatchlistHeader:
    """Return the header of a list that may be used now.

    Args:
        signed_header: The envelope as received, at most LARGEST_HEADER_BYTES.
        trust: Who may sign lists, and how many of them must.
        last_version_seen: The highest version that was ever installed; 0 for none.
        model_id: The embedder that runs.

    Raises:
        SignatureError: Not signed by enough persons who may sign lists.
        ExpiredError: The list is over, or the clock cannot be trusted to say so.
        RollbackError: Older than the last version seen.
        ModelMismatchError: Its templates were made by another model.
        RecordError: Not a header, or above the largest list.
    """
    header = open_header(signed_header, trust)
    if not is_clock_trusted:
        raise ExpiredError("watchlist: the clock is not trusted, so nobody knows whether it is expired")
    if now >= header.expires_at:
        raise ExpiredError("watchlist: expires_at: it is expired")
    if header.version < last_version_seen:
        raise RollbackError(f"watchlist: version: {header.version} is older than {last_version_seen}")
    if header.model_id != model_id:
        raise ModelMismatchError("watchlist: model_id: its templates were made by another model")
    return header


def open_header(signed_header: bytes, trust: Trust) -> WatchlistHeader:
    """Return a signed header, verified and well-formed, whatever the time, version and model."""
    role = find_role(trust, Role.WATCHLIST)
    payload = open_by_role(PAYLOAD_WATCHLIST, signed_header, role, limit_bytes=LARGEST_HEADER_BYTES)
    header = parse_record(WatchlistHeader, payload, limit_bytes=LARGEST_HEADER_BYTES)
    check_header(header)
    return header


def check_header(header: WatchlistHeader) -> None:
    """Refuse a header whose numbers cannot be right, whoever signed it; RecordError."""
    if not 1 <= header.n_entries <= LARGEST_WATCHLIST:
        raise RecordError(f"watchlist: n_entries: 1 to {LARGEST_WATCHLIST} allowed")
    if not SHORTEST_TEMPLATE <= header.template_length <= LONGEST_TEMPLATE:
        raise RecordError("watchlist: template_length: out of range")
    if header.version < 1:
        raise RecordError("watchlist: version: counts from 1")
    if not _SHA256.match(header.content_sha256):
        raise RecordError("watchlist: content_sha256: not a sha256")
    if header.issued_at >= header.expires_at:
        raise RecordError("watchlist: expires_at: not after issued_at")
