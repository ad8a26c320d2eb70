"""Entries of a list, valid unless a test says otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from appliance.records.ids import EntryId, PersonName
from appliance.records.watchlist import Category, Entry, Reference
from tests.fakes.clock import START


def make_entry(number: int = 0, **changes: Any) -> Entry:
    """Return the entry whose template is row `number`."""
    entry = Entry(
        entry_id=EntryId(f"entry-{number}"),
        name=f"Volunteer {number}",
        category=Category.VOLUNTEER,
        legal_basis="consent in writing",
        case_reference=f"TEST-{number}",
        source="taken on site",
        expires_at=START + timedelta(days=1),
        enroller=PersonName("E. Enroller"),
        reviewer=PersonName("R. Reviewer"),
        instruction="a test: say hello",
        references=(
            Reference(
                template_row=number,
                picture_start_bytes=0,
                picture_length_bytes=4,
                captured_on="2026-11-01",
                quality=80,
            ),
        ),
    )
    return replace(entry, **changes)
