"""An appliance with its configuration and state folder, and a publication of central ops for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from appliance.app.arming import Deployment, prepare_deployment
from appliance.app.state import ApplianceState, open_state
from appliance.audit import AuditLog
from appliance.config import Config, load_config
from appliance.deployment.identity import make_signer
from appliance.records.deployment import Authorisation
from appliance.records.ids import KeyId, ModelId
from appliance.records.watchlist import ListPacket, WatchlistHeader
from appliance.records.wire import dump_record
from appliance.watchlist.packet import write_packet
from tests.fakes.clock import FakeClock
from tests.fakes.lists import (
    APPLIANCE,
    make_packet,
    make_trust,
    sign_authorisation,
    sign_header,
)
from tests.fakes.lists import (
    make_signer as make_person,
)
from tests.test_config import GOOD

PAIR, MODEL = "centerface-dlib", ModelId("dlib-resnet29-1")
TLS = 'port = 1883\ntls = { authority = "ca.pem", certificate = "box.pem", key = "box.key" }\n'


@dataclass(frozen=True)
class Published:
    """What ops published, and the content key that only it and the sealed copy know."""

    header: WatchlistHeader
    authorisation: Authorisation
    packet: ListPacket
    content_key: bytes


class Box:
    """An appliance in a folder; nothing is published for it yet."""

    def __init__(self, folder: Path, *, profile: str = "development", source: str = "street.mp4") -> None:
        self.folder = folder
        self.clock = FakeClock()
        trust = dump_record(make_trust())
        (folder / "trust.json").write_bytes(trust)
        self.config_path = folder / "appliance.toml"
        changes = [
            ('profile = "development"', f'profile = "{profile}"'),
            ('source = "street.mp4"', f'source = "{source}"'),
            ("0" * 64, hashlib.sha256(trust).hexdigest()),
            ("port = 1883\n", TLS if profile == "production" else "port = 1883\n"),
        ]
        text = GOOD
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self.config_path.write_text(text, encoding="utf-8")
        self.state: ApplianceState = open_state(folder / "state")
        make_signer(self.state.keys)

    @property
    def config(self) -> Config:
        return load_config(self.config_path)

    def publish(
        self,
        *,
        header: dict[str, Any] | None = None,
        authorisation: dict[str, Any] | None = None,
        list_signers: tuple[str, ...] = ("l1", "l2"),
        authorisers: tuple[str, ...] = ("a1", "a2"),
    ) -> Published:
        """Write a publication that is right but for the changes given."""
        (list_key,) = self.state.vault.make_list_keys(1)
        made = make_packet(self.folder, list_key)
        new_header = replace(made.header, **{"model_id": MODEL, **(header or {})})
        point = replace(made.authorisation.operating_point, model_id=MODEL)
        new_authorisation = replace(made.authorisation, **{"operating_point": point, **(authorisation or {})})
        packet = replace(
            made.packet,
            header=sign_header(new_header, *list_signers),
            authorisation=sign_authorisation(new_authorisation, *authorisers),
        )
        write_packet(
            self.folder / "published",
            header=packet.header,
            authorisation=packet.authorisation,
            key=packet.key,
            sealed=packet.sealed_content.read_bytes(),
        )
        return Published(new_header, new_authorisation, packet, made.content_key)

    def prepare(self) -> Deployment:
        """Do what `appliance run` does before it opens a camera."""
        audit = AuditLog(
            self.folder / "audit.jsonl",
            signer=replace(make_person("box"), key_id=KeyId(APPLIANCE)),
            clock=self.clock,
        )
        try:
            return prepare_deployment(self.config, self.config_path, self.state, audit, self.clock)
        finally:
            audit.close()

    def install(self, published: Published) -> None:
        """Put a publication into the vault as it is."""
        self.state.vault.install(published.packet, published.header, published.authorisation)
