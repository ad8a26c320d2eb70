"""Signed lists and authorisations, right unless a test says otherwise."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from nacl.signing import SigningKey

from appliance.deployment.authority import PAYLOAD_AUTHORISATION
from appliance.envelope import Signer, sign_payload
from appliance.records.deployment import (
    Authorisation,
    ListKey,
    OperatingPoint,
    Recipient,
    Role,
    Trust,
    TrustedKey,
    TrustedRole,
    UseCase,
)
from appliance.records.ids import (
    ApplianceId,
    AuthorisationId,
    CameraId,
    HandsetId,
    KeyId,
    ModelId,
    PersonName,
    WatchlistId,
)
from appliance.records.watchlist import EnrolledReference, ListPacket, WatchlistHeader, WrappedListKey
from appliance.records.wire import dump_record
from appliance.sealing import new_content_key, seal_key
from appliance.watchlist.acceptance import PAYLOAD_WATCHLIST
from appliance.watchlist.content import pack_content, seal_content
from tests.fakes.clock import START
from tests.fakes.entries import make_entry

MODEL = ModelId("model-1")
APPLIANCE = ApplianceId("box-1")
CAMERA = CameraId("gate")
LENGTH = 32


@cache
def make_signer(name: str) -> Signer:
    """Return the same signer for the same name."""
    return Signer(key_id=KeyId(f"key-{name}"), key=SigningKey(hashlib.sha256(name.encode()).digest()))


def make_trusted_key(name: str, person: str | None = None) -> TrustedKey:
    signer = make_signer(name)
    return TrustedKey(
        key_id=signer.key_id,
        person=PersonName(person or name),
        public_key_hex=bytes(signer.key.verify_key).hex(),
    )


def make_role(role: Role, *names: str, threshold: int = 2) -> TrustedRole:
    return TrustedRole(role=role, threshold=threshold, keys=tuple(map(make_trusted_key, names)))


def make_trust() -> Trust:
    """Return the trust in which l1, l2, l3 sign lists and a1, a2, a3 authorise."""
    return Trust(
        roles=(
            make_role(Role.WATCHLIST, "l1", "l2", "l3"),
            make_role(Role.AUTHORISATION, "a1", "a2", "a3"),
        )
    )


def make_reference(number: int = 0, length: int = LENGTH, **changes: Any) -> EnrolledReference:
    template = np.zeros(length, dtype=np.float32)
    template[number % length] = 1.0
    portrait = b"\xff\xd8\xff" + f"portrait {number}".encode()
    reference = EnrolledReference(
        template=template, portrait_jpeg=portrait, captured_on="2026-11-01", quality=80
    )
    return replace(reference, **changes)


def make_content(n_entries: int = 2) -> bytes:
    return pack_content([(make_entry(n), [make_reference(n)]) for n in range(n_entries)], LENGTH)


def make_header(content: bytes, **changes: Any) -> WatchlistHeader:
    header = WatchlistHeader(
        watchlist_id=WatchlistId("list-1"),
        version=3,
        issued_at=START - timedelta(hours=1),
        expires_at=START + timedelta(hours=20),
        model_id=MODEL,
        template_length=LENGTH,
        n_entries=2,
        content_sha256=hashlib.sha256(content).hexdigest(),
    )
    return replace(header, **changes)


def sign_header(header: WatchlistHeader, *names: str) -> bytes:
    signers = [make_signer(name) for name in names or ("l1", "l3")]
    return sign_payload(PAYLOAD_WATCHLIST, dump_record(header), signers)


def make_authorisation(content_sha256: str, **changes: Any) -> Authorisation:
    point = OperatingPoint(
        model_id=MODEL,
        threshold=0.6,
        fpir=1e-3,
        fnir=0.2,
        gallery_size=100,
        test_set="made up",
        measured_on="2026-11-01",
    )
    recipient = Recipient(
        handset_id=HandsetId("handset-1"),
        officer=PersonName("PC One"),
        sealing_key_hex="11" * 32,
        signing_key_hex="22" * 32,
    )
    authorisation = Authorisation(
        authorisation_id=AuthorisationId("auth-1"),
        appliance_id=APPLIANCE,
        purpose="a test",
        use_case=UseCase.TEST_WITH_VOLUNTEERS,
        place="the yard",
        camera_ids=(CAMERA, CameraId("door")),
        starts_at=START - timedelta(hours=1),
        ends_at=START + timedelta(hours=8),
        watchlist_sha256=content_sha256,
        operating_point=point,
        recipients=(recipient,),
    )
    return replace(authorisation, **changes)


def sign_authorisation(authorisation: Authorisation, *names: str) -> bytes:
    signers = [make_signer(name) for name in names or ("a1", "a2")]
    return sign_payload(PAYLOAD_AUTHORISATION, dump_record(authorisation), signers)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePacket:
    """A publication with what is inside it."""

    packet: ListPacket
    header: WatchlistHeader
    authorisation: Authorisation
    content: bytes
    content_key: bytes


def make_packet(
    folder: Path, list_key: ListKey, *, version: int = 3, name: str = "auth-1", n_entries: int = 2
) -> MadePacket:
    """Return a publication sealed to `list_key`; its sealed content lies in `folder`."""
    content = make_content(n_entries)
    header = make_header(content, version=version, n_entries=n_entries)
    authorisation = make_authorisation(header.content_sha256, authorisation_id=AuthorisationId(name))
    content_key = new_content_key()
    wrapped = WrappedListKey(
        key_id=list_key.key_id,
        content_sha256=header.content_sha256,
        sealed_key_base64=base64.b64encode(seal_key(content_key, list_key.public_key_hex)).decode(),
    )
    sealed = folder / f"{name}-{version}.sealed"
    sealed.write_bytes(seal_content(content, content_key))
    return MadePacket(
        packet=ListPacket(
            header=sign_header(header),
            authorisation=sign_authorisation(authorisation),
            key=dump_record(wrapped),
            sealed_content=sealed,
        ),
        header=header,
        authorisation=authorisation,
        content=content,
        content_key=content_key,
    )
