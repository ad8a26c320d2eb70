"""Hand a signed list and its authorisation to one appliance, and take ops' own copies out of the world."""

from __future__ import annotations

import base64
import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.deployment.authority import LARGEST_AUTHORISATION_BYTES, accept_authorisation
from appliance.errors import ApplianceError, AuthorityError
from appliance.ports import Clock
from appliance.records.deployment import AppliancePublic, Authorisation, ListKey
from appliance.records.ids import AuthorisationId, KeyId
from appliance.records.watchlist import WatchlistHeader, WrappedListKey
from appliance.records.wire import dump_record
from appliance.sealing import new_content_key, seal_key
from appliance.watchlist.acceptance import LARGEST_HEADER_BYTES, accept_list
from appliance.watchlist.content import seal_content, unpack_content
from appliance.watchlist.packet import write_packet
from provisioning.ops.drafts import open_draft, payload_of, read_draft_header
from provisioning.ops.folder import OpsFolder, read_limited

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What was written for which appliance, and the key of it that is used up now."""

    folder: Path
    version: int
    n_entries: int
    authorisation_id: AuthorisationId
    key_id: KeyId
    n_keys_left: int


def publish(
    ops: OpsFolder,
    *,
    clock: Clock,
    appliance: AppliancePublic,
    to: Path,
    authorisation_id: AuthorisationId | None = None,
) -> Publication:
    """Write a list and its authorisation for one appliance, under a fresh key that only it can open.

    Everything is held against the rules the appliance will hold it against. The appliance's single-use key
    is noted as used before anything is written under it; a publication that fails after that wastes it.

    Args:
        to: A folder that does not exist yet, or is empty.
        authorisation_id: The newest when not given; its list is published with it.

    Raises:
        SignatureError: List or authorisation lack signatures.
        ExpiredError: Either is over.
        AuthorityError: For another appliance, or every key of the appliance is used up.
        StorageError: The folder holds something already.
    """
    with ops.locked():
        authorisation_data = read_limited(
            ops.pick_authorisation(authorisation_id), LARGEST_AUTHORISATION_BYTES
        )
        draft = payload_of(Authorisation, authorisation_data, LARGEST_AUTHORISATION_BYTES)
        version = _version_of(ops, draft)
        header_data = read_limited(ops.header_path(version), LARGEST_HEADER_BYTES)
        header = _accept(ops, clock, appliance, header_data, authorisation_data, draft)
        content = open_draft(ops, version, header)
        unpack_content(content, header)
        list_key, n_keys_left = _use_up_key(ops, appliance)
        content_key = new_content_key()
        wrapped = WrappedListKey(
            key_id=list_key.key_id,
            content_sha256=hashlib.sha256(content).hexdigest(),
            sealed_key_base64=base64.b64encode(seal_key(content_key, list_key.public_key_hex)).decode(
                "ascii"
            ),
        )
        write_packet(
            to,
            header=header_data,
            authorisation=authorisation_data,
            key=dump_record(wrapped),
            sealed=seal_content(content, content_key),
        )
    logger.info("published list version %d for %s", version, appliance.appliance_id)
    return Publication(
        folder=to,
        version=version,
        n_entries=header.n_entries,
        authorisation_id=draft.authorisation_id,
        key_id=list_key.key_id,
        n_keys_left=n_keys_left,
    )


def erase_lists(ops: OpsFolder) -> list[int]:
    """Destroy the keys of all drafted lists, then their files; return their versions.

    What was published is out of ops' hands: its content keys were never kept, and each appliance destroys
    its own at the end of its deployment.
    """
    with ops.locked():
        versions = ops.list_versions()
        for version in versions:
            ops.remove_list(version)
    return versions


def _version_of(ops: OpsFolder, authorisation: Authorisation) -> int:
    for version in reversed(ops.list_versions()):
        try:
            header = read_draft_header(ops, version)
        except ApplianceError:
            logger.warning("list version %d is damaged", version)
            continue
        if header.content_sha256 == authorisation.watchlist_sha256:
            return version
    raise AuthorityError("the authorisation's list is not here; it may have been erased")


def _accept(
    ops: OpsFolder,
    clock: Clock,
    appliance: AppliancePublic,
    header_data: bytes,
    authorisation_data: bytes,
    draft: Authorisation,
) -> WatchlistHeader:
    trust, now = ops.trust, clock.now()
    model_id = draft.operating_point.model_id
    header = accept_list(
        header_data,
        trust,
        now=now,
        is_clock_trusted=clock.is_trusted(),
        last_version_seen=0,
        model_id=model_id,
    )
    accept_authorisation(
        authorisation_data,
        trust,
        now=max(now, draft.starts_at),  # it is published before it starts
        is_clock_trusted=clock.is_trusted(),
        appliance_id=appliance.appliance_id,
        camera_ids=draft.camera_ids,
        list_header=header,
        model_id=model_id,
    )
    return header


def _use_up_key(ops: OpsFolder, appliance: AppliancePublic) -> tuple[ListKey, int]:
    state = ops.state
    unused = [key for key in appliance.list_keys if key.key_id not in state.used_list_keys]
    if not unused:
        raise AuthorityError(
            f"{appliance.appliance_id}: every list key is used up; make more with `provision keys`"
        )
    ops.save_state(replace(state, used_list_keys=(*state.used_list_keys, unused[0].key_id)))
    return unused[0], len(unused) - 1
