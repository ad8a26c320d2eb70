"""The configuration: one TOML file, one loader, read once, frozen all the way down.

There are no defaults for thresholds, keys, hosts or retention, and nothing comes from the environment. The
threshold is not here at all: it comes with the authorisation's operating point.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from appliance.compat import tomllib
from appliance.errors import ConfigError
from appliance.records.deployment import Profile
from appliance.records.ids import ApplianceId, CameraId
from appliance.records.zone import (
    FEWEST_ZONE_POINTS,
    MOST_ZONE_POINTS,
    WHOLE_PICTURE,
    ZonePoint,
    zone_problem,
)

LARGEST_CONFIG_BYTES = 256 * 1024
LONGEST_RETENTION_DAYS = 31  # never list 6
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceConfig:
    """Say which appliance this is; `state_folder` is relative to the configuration file."""

    id: ApplianceId
    profile: Profile
    state_folder: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsConfig:
    """Choose the networks; the pair must be the one that made the list."""

    folder: Text
    pair: Text
    detector_width_px: Annotated[int, Field(ge=160, le=1920, multiple_of=32)]
    detector_height_px: Annotated[int, Field(ge=160, le=1920, multiple_of=32)]
    threads: Annotated[int, Field(ge=1, le=16)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraConfig:
    """Describe a camera. `rate` matters for files only: their own pace, or as fast as they decode.

    `zone` is the zone of recognition: 3 to 32 points [x, y] in fractions of the picture, without it the whole
    picture; faces outside are counted and never searched. `decoder` is `hardware` on a Jetson only.
    """

    id: CameraId
    source: Annotated[str, Field(min_length=1, max_length=1000)] = field(repr=False)  # may hold a password
    rate: Literal["real", "fast"]
    largest_width_px: Annotated[int, Field(ge=16, le=7680)]
    largest_height_px: Annotated[int, Field(ge=16, le=4320)]
    least_face_width_px: Annotated[int, Field(ge=40, le=1000)]
    zone: Annotated[
        tuple[ZonePoint, ...], Field(min_length=FEWEST_ZONE_POINTS, max_length=MOST_ZONE_POINTS)
    ] = WHOLE_PICTURE
    decoder: Literal["software", "hardware"] = "software"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionConfig:
    """Say how many of a track's last n frames must agree, and how long an entry then rests."""

    frames_k: Annotated[int, Field(ge=1, le=50)]
    frames_n: Annotated[int, Field(ge=1, le=50)]
    cooldown_s: Annotated[float, Field(ge=1, le=3600)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustConfig:
    """Point to the file that says who may sign what, and pin it."""

    file: Text
    sha256: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchlistConfig:
    """Point to the folder where central ops' publication for this appliance arrives."""

    folder: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerTlsConfig:
    """Name the files for mutual TLS."""

    authority: Text
    certificate: Text
    key: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Say where the MQTT broker is; `tls` is required in production.

    `password_file` holds the appliance's broker password in one line, readable by its owner alone.
    """

    host: Text
    port: Annotated[int, Field(ge=1, le=65535)]
    password_file: Text | None = None
    tls: BrokerTlsConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsConfig:
    """Say how long an alert asks for action, and how long its pictures may be kept."""

    actionable_s: Annotated[float, Field(ge=5, le=600)]
    retention_days: Annotated[int, Field(ge=1, le=LONGEST_RETENTION_DAYS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersConfig:
    """Say who starts the workers: the supervisor itself, or systemd as units of their own.

    `socket` is where units connect; the supervisor's own children get a place of their own.
    """

    started_by: Literal["supervisor", "units"]
    socket: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """Say on which port of 127.0.0.1 health and metrics are served."""

    port: Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file. A part of the appliance gets its own section, never this."""

    appliance: ApplianceConfig
    models: ModelsConfig
    cameras: Annotated[tuple[CameraConfig, ...], Field(min_length=1, max_length=16)]
    decision: DecisionConfig
    trust: TrustConfig
    watchlist: WatchlistConfig
    broker: BrokerConfig
    alerts: AlertsConfig
    health: HealthConfig
    workers: WorkersConfig


def load_config(path: Path) -> Config:
    """Read and check the configuration file.

    Raises:
        ConfigError: `file:key: reason` for a missing or unknown key, a value of another type or out of
            range, a file that cannot be read or is not TOML, or keys that contradict each other.
    """
    try:
        data = path.read_bytes()
        if len(data) > LARGEST_CONFIG_BYTES:
            raise ConfigError(f"{path}: {len(data)} bytes, {LARGEST_CONFIG_BYTES} allowed")
        document = tomllib.loads(data.decode("utf-8"))
        as_json = json.dumps(document)
    except OSError as err:
        raise ConfigError(f"{path}: {err.strerror}") from err
    except (ValueError, TypeError) as err:
        raise ConfigError(f"{path}: not a configuration: {err}") from err
    try:
        config = TypeAdapter(Config).validate_json(as_json, strict=True, extra="forbid")
    except ValidationError as err:
        raise ConfigError(f"{path}:{_first_problem(err)}") from None
    _check_together(config, path)
    return config


def resolve_path(config_path: Path, text: str) -> Path:
    """Return a path of the configuration; a relative one is relative to the configuration file."""
    return (config_path.parent / text).resolve()


def _check_together(config: Config, path: Path) -> None:
    if config.decision.frames_k > config.decision.frames_n:
        raise ConfigError(f"{path}:decision.frames_k: more than decision.frames_n")
    names = [camera.id for camera in config.cameras]
    if len(set(names)) != len(names):
        raise ConfigError(f"{path}:cameras: two cameras have the same id")
    for number, camera in enumerate(config.cameras):
        problem = zone_problem(camera.zone)
        if problem is not None:
            raise ConfigError(f"{path}:cameras.{number}.zone: {problem}")
    if (config.workers.socket is None) != (config.workers.started_by == "supervisor"):
        raise ConfigError(f"{path}:workers.socket: needed for units, and for nothing else")
    if config.appliance.profile is Profile.PRODUCTION and config.broker.tls is None:
        raise ConfigError(f"{path}:broker.tls: required in production")


def _first_problem(err: ValidationError) -> str:
    problem = err.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    reasons = {
        "missing": "missing key",
        "missing_argument": "missing key",
        "missing_keyword_only_argument": "missing key",
        "unexpected_keyword_argument": "unknown key",
        "extra_forbidden": "unknown key",
    }
    return f"{key}: {reasons.get(problem['type'], problem['msg'])}"
