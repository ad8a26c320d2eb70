"""Read what ops itself drafted. A draft is not verified by signatures: it has none yet."""

from __future__ import annotations

import base64
from typing import TypeVar

from appliance.envelope import Envelope
from appliance.errors import RecordError
from appliance.records.watchlist import WatchlistHeader
from appliance.records.wire import parse_record
from appliance.watchlist.acceptance import LARGEST_HEADER_BYTES, check_header
from appliance.watchlist.content import LARGEST_CONTENT_BYTES, open_content
from provisioning.ops.folder import OpsFolder, draft_key_id, read_limited

RecordT = TypeVar("RecordT")
_OVERHEAD_BYTES = 64


def payload_of(kind: type[RecordT], data: bytes, limit_bytes: int) -> RecordT:
    """Return what a drafted envelope holds, whoever signed it; never for what came from elsewhere."""
    envelope = parse_record(Envelope, data, limit_bytes=limit_bytes)
    try:
        payload = base64.b64decode(envelope.payload, validate=True)
    except ValueError:
        raise RecordError("the draft's payload is not base64") from None
    return parse_record(kind, payload, limit_bytes=limit_bytes)


def read_draft_header(ops: OpsFolder, version: int) -> WatchlistHeader:
    """Return the header of a drafted list; RecordError when it is damaged."""
    data = read_limited(ops.header_path(version), LARGEST_HEADER_BYTES)
    header = payload_of(WatchlistHeader, data, LARGEST_HEADER_BYTES)
    check_header(header)
    return header


def open_draft(ops: OpsFolder, version: int, header: WatchlistHeader) -> bytes:
    """Return the plain content of a drafted list; KeyStoreError after `ops erase`."""
    sealed = read_limited(ops.content_path(version), LARGEST_CONTENT_BYTES + _OVERHEAD_BYTES)
    return open_content(sealed, ops.keys.load(draft_key_id(version)), header.content_sha256)
