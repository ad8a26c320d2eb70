"""Everything that must hold before a camera is opened: trust, list, authorisation, and a willing vault."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from appliance.app.state import ApplianceState
from appliance.audit import AuditKind, AuditLog
from appliance.config import Config, resolve_path
from appliance.deployment.authority import LARGEST_TRUST_BYTES, accept_authorisation, load_trust
from appliance.deployment.production import refuse_unfit
from appliance.errors import ApplianceError, AuthorityError, ConfigError
from appliance.ports import Clock
from appliance.records.channel import VisionArm, VisionCamera, VisionStart
from appliance.records.deployment import Authorisation, Profile, Trust
from appliance.records.ids import CameraId, ModelId
from appliance.records.watchlist import ListPacket, WatchlistHeader
from appliance.watchlist.acceptance import accept_list
from appliance.watchlist.packet import read_packet
from drivers.cameras.address import CameraAddress, parse_address
from models.manifest import load_manifest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployment that may begin: what was accepted, and what the vision worker is told of it."""

    authorisation: Authorisation
    header: WatchlistHeader
    start: VisionStart
    arm: VisionArm


def prepare_deployment(
    config: Config, config_path: Path, state: ApplianceState, audit: AuditLog, clock: Clock
) -> Deployment:
    """Accept the published list and authorisation, and install them in the vault. Thread: disk.

    Raises:
        ApplianceError: The first thing that does not hold; it stands in the audit log too.
    """
    addresses = {camera.id: parse_address(camera.source) for camera in config.cameras}
    _refuse_unfit(config, addresses)
    trust = _read_trust(config, config_path)
    model_id = ModelId(load_manifest().pair(config.models.pair).embedder)
    packet = _read_newest(config, config_path, state)
    try:
        header, authorisation = _accept(packet, trust, config, state, clock, model_id)
    except ApplianceError as err:
        audit.append(AuditKind.AUTHORISATION_REFUSED, {"why": err.code})
        raise
    installed = state.vault.install(packet, header, authorisation)
    audit.append(
        AuditKind.WATCHLIST_INSTALLED,
        {"version": header.version, "n_entries": header.n_entries, "content_sha256": header.content_sha256},
    )
    audit.append(
        AuditKind.AUTHORISATION_ACCEPTED,
        {
            "deployment_id": installed.deployment_id,
            "use_case": authorisation.use_case.value,
            "starts_at": authorisation.starts_at.isoformat(),
            "ends_at": authorisation.ends_at.isoformat(),
            "threshold": f"{authorisation.operating_point.threshold:.4f}",
        },
    )
    return Deployment(
        authorisation=authorisation,
        header=header,
        start=_vision_start(config, config_path, addresses),
        arm=VisionArm(
            appliance_id=config.appliance.id,
            deployment_id=authorisation.authorisation_id,
            content_sha256=header.content_sha256,
            valid_until=authorisation.ends_at,
            operating_point=authorisation.operating_point,
            recipients=authorisation.recipients,
        ),
    )


def largest_frame_bytes(config: Config) -> int:
    """Return the room that the largest configured picture takes."""
    return max(camera.largest_width_px * camera.largest_height_px * 3 for camera in config.cameras)


def _accept(
    packet: ListPacket,
    trust: Trust,
    config: Config,
    state: ApplianceState,
    clock: Clock,
    model_id: ModelId,
) -> tuple[WatchlistHeader, Authorisation]:
    now, is_clock_trusted = clock.now(), clock.is_trusted()
    header = accept_list(
        packet.header,
        trust,
        now=now,
        is_clock_trusted=is_clock_trusted,
        last_version_seen=state.vault.highest_version_seen,
        model_id=model_id,
    )
    camera_ids: Sequence[CameraId] = [camera.id for camera in config.cameras]
    authorisation = accept_authorisation(
        packet.authorisation,
        trust,
        now=now,
        is_clock_trusted=is_clock_trusted,
        appliance_id=config.appliance.id,
        camera_ids=camera_ids,
        list_header=header,
        model_id=model_id,
    )
    return header, authorisation


def _read_newest(config: Config, config_path: Path, state: ApplianceState) -> ListPacket:
    folder = resolve_path(config_path, config.watchlist.folder)
    if folder.is_dir():
        return read_packet(folder)
    packet = state.vault.load_packet()
    if packet is None:
        raise AuthorityError(
            f"no authorisation: {folder} is not there; central ops publishes list and authorisation"
            " with `ops publish`"
        )
    return packet


def _read_trust(config: Config, config_path: Path) -> Trust:
    path = resolve_path(config_path, config.trust.file)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_TRUST_BYTES + 1)
    except OSError as err:
        raise ConfigError(f"{config_path}:trust.file: {path}: {err.strerror}") from err
    return load_trust(data, config.trust.sha256)


def _refuse_unfit(config: Config, addresses: dict[CameraId, CameraAddress]) -> None:
    refuse_unfit(
        config.appliance.profile,
        camera_kinds={camera_id: address.kind for camera_id, address in addresses.items()},
        camera_hosts={
            camera_id: urlsplit(address.target).hostname if address.kind == "rtsp" else None
            for camera_id, address in addresses.items()
        },
        pair=config.models.pair,
        is_pair_production=load_manifest().pair(config.models.pair).is_production,
    )


def _vision_start(config: Config, config_path: Path, addresses: dict[CameraId, CameraAddress]) -> VisionStart:
    return VisionStart(
        models_folder=str(resolve_path(config_path, config.models.folder)),
        pair=config.models.pair,
        detector_width_px=config.models.detector_width_px,
        detector_height_px=config.models.detector_height_px,
        threads=config.models.threads,
        largest_frame_bytes=largest_frame_bytes(config),
        frames_k=config.decision.frames_k,
        frames_n=config.decision.frames_n,
        cameras=tuple(
            VisionCamera(
                camera_id=camera.id, least_face_width_px=camera.least_face_width_px, zone=camera.zone
            )
            for camera in config.cameras
        ),
        is_production=config.appliance.profile is Profile.PRODUCTION,
    )
