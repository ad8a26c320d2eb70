"""Who may sign what, and the authorisation without which nothing is recognised."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.compat import StrEnum
from appliance.errors import SignatureError
from appliance.records.ids import (
    ApplianceId,
    AuthorisationId,
    CameraId,
    HandsetId,
    KeyId,
    ModelId,
    PersonName,
)
from appliance.records.times import UtcTime


class Role(StrEnum):
    """What a signature may be for."""

    WATCHLIST = "watchlist"
    AUTHORISATION = "authorisation"


class Profile(StrEnum):
    """How strict the appliance is; development never reaches a street."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


class UseCase(StrEnum):
    """What live facial recognition may be deployed for (College of Policing APP, live facial recognition)."""

    HOT_SPOT = "hot_spot"
    PROTECTIVE_SECURITY = "protective_security"
    INTELLIGENCE_ON_LOCATION = "intelligence_on_location"
    TEST_WITH_VOLUNTEERS = "test_with_volunteers"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A named person's Ed25519 public key, 32 bytes as hexadecimal."""

    key_id: KeyId
    person: PersonName
    public_key_hex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedRole:
    """The keys that may sign for a role, and how many different persons must."""

    role: Role
    threshold: int
    keys: tuple[TrustedKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Who may sign what; the technician pins its sha256 in the configuration."""

    roles: tuple[TrustedRole, ...]


def find_role(trust: Trust, role: Role) -> TrustedRole:
    """Return who may sign for a role; SignatureError when nobody may."""
    for trusted in trust.roles:
        if trusted.role is role:
            return trusted
    raise SignatureError(f"nobody is trusted to sign for {role}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A threshold and the error rates measured with it; it means nothing for another model or list size."""

    model_id: ModelId
    threshold: float
    fpir: float
    fnir: float
    gallery_size: int
    test_set: str
    measured_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """An officer's handset that may open this deployment's alerts; public keys as hexadecimal."""

    handset_id: HandsetId
    officer: PersonName
    sealing_key_hex: str
    signing_key_hex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorisation:
    """Permission to look for one list, at one place, with named cameras, from start to end."""

    authorisation_id: AuthorisationId
    appliance_id: ApplianceId
    purpose: str
    use_case: UseCase
    place: str
    camera_ids: tuple[CameraId, ...]
    starts_at: UtcTime
    ends_at: UtcTime
    watchlist_sha256: str
    operating_point: OperatingPoint
    recipients: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKey:
    """A single-use X25519 public key, as hexadecimal, to which one watchlist's content key is sealed."""

    key_id: KeyId
    public_key_hex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliancePublic:
    """What others must know of an appliance: its signing key, and the keys that lists are sealed to."""

    appliance_id: ApplianceId
    signing_key_hex: str
    list_keys: tuple[ListKey, ...]
