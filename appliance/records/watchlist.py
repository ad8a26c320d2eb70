"""The list of people looked for: what is signed, and what is sealed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appliance.compat import StrEnum
from appliance.records.frames import Template
from appliance.records.ids import EntryId, KeyId, ModelId, PersonName, WatchlistId
from appliance.records.times import UtcTime

LARGEST_WATCHLIST = 20_000
"""People on all active lists together; compiled in, no configuration raises it (never list 3)."""


class Category(StrEnum):
    """Why somebody may be looked for; there is no other reason."""

    WANTED_BY_COURTS = "wanted_by_courts"
    WANTED_BY_POLICE = "wanted_by_police"
    RISK_TO_OTHERS = "risk_to_others"
    AT_RISK_OR_MISSING = "at_risk_or_missing"
    VOLUNTEER = "volunteer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where one enrolled picture's template and portrait lie in the list's blocks.

    `template_row` counts rows of the template block; `picture_start_bytes` and `picture_length_bytes` cut
    the portrait (JPEG) out of the picture block.
    """

    template_row: int
    picture_start_bytes: int
    picture_length_bytes: int
    captured_on: str
    quality: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One listed person: on what ground, from what source, until when, and who answers for it.

    `instruction` is what the officer must know; `ground` and `ground_dated_on` are required for risk of harm
    to others. `enroller` and `reviewer` are different persons.
    """

    entry_id: EntryId
    name: str
    category: Category
    legal_basis: str
    case_reference: str
    source: str
    expires_at: UtcTime
    enroller: PersonName
    reviewer: PersonName
    instruction: str
    references: tuple[Reference, ...]
    is_under_18: bool = False
    under_18_approved_by: PersonName | None = None
    ground: str | None = None
    ground_dated_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchlistHeader:
    """What the signers of a list sign: its version, life, model, size and the sha256 of its plain content."""

    watchlist_id: WatchlistId
    version: int
    issued_at: UtcTime
    expires_at: UtcTime
    model_id: ModelId
    template_length: int
    n_entries: int
    content_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchlistIndex:
    """The entries of a list, in the order of the gallery; the first part of the sealed content."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedListKey:
    """A list's content key, sealed (X25519 sealed box, base64) to one of an appliance's single-use keys."""

    key_id: KeyId
    content_sha256: str
    sealed_key_base64: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPacket:
    """What ops publishes to one appliance, as received; the sealed content stays in its file.

    `header` and `authorisation` are signed envelopes, `key` is a WrappedListKey as JSON.
    """

    header: bytes
    authorisation: bytes
    key: bytes
    sealed_content: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An entry that a search returned at or above the threshold; `score` is cosine, -1..1."""

    entry_id: EntryId
    score: float
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnrolledReference:
    """A template with the portrait that it was made from, before they are packed into a list."""

    template: Template
    portrait_jpeg: bytes
    captured_on: str
    quality: int
