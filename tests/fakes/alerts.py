"""An appliance, its alerts and its handsets, with real keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

from PIL import Image

from appliance.alerts.message import pack_alert
from appliance.alerts.sealing import seal_alert
from appliance.envelope import Signer
from appliance.handset.keys import HandsetKeys, create_keys
from appliance.records.alerts import AlertDetail, AlertHeader, SealedAlert
from appliance.records.deployment import AppliancePublic, Recipient
from appliance.records.frames import Box
from appliance.records.ids import (
    AlertId,
    ApplianceId,
    AuthorisationId,
    CameraId,
    EntryId,
    HandsetId,
    KeyId,
    PersonName,
)
from appliance.records.watchlist import Category
from appliance.sealing import new_signing_pair, signer_of
from tests.fakes.clock import START

APPLIANCE = ApplianceId("appliance-1")
DEPLOYMENT = AuthorisationId("deployment-1")
HANDSET = HandsetId("handset-1")


@dataclass(frozen=True)
class AlertWorld:
    """One appliance and its handsets."""

    signer: Signer
    public: AppliancePublic
    handsets: tuple[HandsetKeys, ...]

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        return tuple(keys.recipient for keys in self.handsets)

    def seal(self, number: int = 1, entry: str = "entry-1", name: str = "Jo Bloggs") -> SealedAlert:
        alert_id = AlertId(f"alert-{number}")
        sealed_keys, ciphertext = seal_alert(
            replace(DETAIL, entry_id=EntryId(entry), name=name),
            jpeg((200, 30, 30)),
            jpeg((30, 30, 200)),
            alert_id=alert_id,
            appliance_id=APPLIANCE,
            deployment_id=DEPLOYMENT,
            recipients=self.recipients,
        )
        return SealedAlert(
            alert_id=alert_id,
            camera_id=DETAIL.camera_id,
            entry_id=EntryId(entry),
            captured_at=START,
            sealed_keys=sealed_keys,
            ciphertext=ciphertext,
        )

    def header_of(self, alert: SealedAlert, expires_at: datetime | None = None) -> AlertHeader:
        return AlertHeader(
            alert_id=alert.alert_id,
            appliance_id=APPLIANCE,
            deployment_id=DEPLOYMENT,
            sequence=1,
            issued_at=START,
            expires_at=expires_at or START + timedelta(minutes=10),
            sealed_keys=alert.sealed_keys,
            ciphertext_sha256=hashlib.sha256(alert.ciphertext).hexdigest(),
            is_test=False,
        )

    def pack(self, alert: SealedAlert, expires_at: datetime | None = None) -> bytes:
        return pack_alert(self.header_of(alert, expires_at), alert.ciphertext, self.signer)


DETAIL = AlertDetail(
    camera_id=CameraId("north-gate"),
    captured_at=START,
    face_box=Box(x_px=100.0, y_px=80.0, width_px=60.0, height_px=80.0),
    frame_width_px=1280,
    frame_height_px=720,
    category=Category.WANTED_BY_COURTS,
    instruction="Speak to; fail to appear",
    entry_id=EntryId("entry-1"),
    name="Jo Bloggs",
    score=0.61234,
    threshold=0.51234,
    n_frames_agreed=3,
)


def make_world(folder: Path, handset_ids: Sequence[str] = (HANDSET,)) -> AlertWorld:
    """Return an appliance with handsets whose folders are `folder/<id>`."""
    seed, public_hex = new_signing_pair()
    return AlertWorld(
        signer=signer_of(KeyId("appliance-key"), seed),
        public=AppliancePublic(appliance_id=APPLIANCE, signing_key_hex=public_hex, list_keys=()),
        handsets=tuple(
            create_keys(folder / one, HandsetId(one), PersonName(f"Officer {one}")) for one in handset_ids
        ),
    )


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (240, 320), kind: str = "JPEG") -> bytes:
    """Return a picture of one colour."""
    data = BytesIO()
    Image.new("RGB", size, colour).save(data, kind)
    return data.getvalue()
