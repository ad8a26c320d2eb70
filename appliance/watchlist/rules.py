"""What an entry must have before anybody may be looked for (never list 3)."""

from __future__ import annotations

import re
from datetime import datetime

from appliance.errors import AuthorityError, ExpiredError, RecordError
from appliance.records.watchlist import Category, Entry

MOST_REFERENCES = 10
"""Pictures of one person; more add little and make the list, and its false alerts, grow."""
LONGEST_TEXT = 500
UNKNOWN_DATE = "unknown"
_ISO_DATE = re.compile(r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")
_REQUIRED_TEXTS = ("name", "legal_basis", "case_reference", "source", "instruction", "enroller", "reviewer")


def check_entry(entry: Entry, *, valid_until: datetime) -> None:
    """Refuse an entry that lacks what an entry needs.

    Args:
        entry: As parsed; its category is one of the closed set already.
        valid_until: The entry must not expire before this: its list's end, or now at enrolment.

    Raises:
        RecordError: A field is empty, too long or not a date, or there are no references, or too many.
        AuthorityError: Enroller and reviewer are one person, or nobody approved a person under 18.
        ExpiredError: The entry expires before `valid_until`.

    The message names the entry by its opaque id, and the field; never the field's value.
    """
    _check_texts(entry)
    _check_persons(entry)
    _check_ground(entry)
    _check_references(entry)
    if entry.expires_at < valid_until:
        raise ExpiredError(f"{entry.entry_id}: expires_at: before the time it must be valid until")


def _check_texts(entry: Entry) -> None:
    for field in _REQUIRED_TEXTS:
        text: str = getattr(entry, field)
        if not text.strip():
            raise RecordError(f"{entry.entry_id}: {field}: missing")
        if len(text) > LONGEST_TEXT:
            raise RecordError(f"{entry.entry_id}: {field}: longer than {LONGEST_TEXT} characters")


def _check_persons(entry: Entry) -> None:
    if _same_person(entry.enroller, entry.reviewer):
        raise AuthorityError(f"{entry.entry_id}: reviewer: the enroller may not review their own entry")
    approver = entry.under_18_approved_by
    if entry.is_under_18 and (approver is None or not approver.strip()):
        raise AuthorityError(f"{entry.entry_id}: under_18_approved_by: a person under 18 needs an approval")
    if entry.is_under_18 and approver is not None and _same_person(entry.enroller, approver):
        raise AuthorityError(f"{entry.entry_id}: under_18_approved_by: the enroller may not approve")


def _check_ground(entry: Entry) -> None:
    needs_ground = entry.category is Category.RISK_TO_OTHERS
    for field, text in (("ground", entry.ground), ("ground_dated_on", entry.ground_dated_on)):
        if needs_ground and (text is None or not text.strip()):
            raise RecordError(f"{entry.entry_id}: {field}: required for {entry.category}")
        if text is not None and len(text) > LONGEST_TEXT:
            raise RecordError(f"{entry.entry_id}: {field}: longer than {LONGEST_TEXT} characters")
    if entry.ground_dated_on is not None and not _ISO_DATE.match(entry.ground_dated_on):
        raise RecordError(f"{entry.entry_id}: ground_dated_on: not a date (YYYY-MM-DD)")


def _check_references(entry: Entry) -> None:
    if not entry.references:
        raise RecordError(f"{entry.entry_id}: references: none")
    if len(entry.references) > MOST_REFERENCES:
        raise RecordError(f"{entry.entry_id}: references: more than {MOST_REFERENCES}")
    for reference in entry.references:
        if reference.captured_on != UNKNOWN_DATE and not _ISO_DATE.match(reference.captured_on):
            raise RecordError(f"{entry.entry_id}: references.captured_on: not a date or '{UNKNOWN_DATE}'")
        if not 0 <= reference.quality <= 100:
            raise RecordError(f"{entry.entry_id}: references.quality: not 0 to 100")


def _same_person(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
