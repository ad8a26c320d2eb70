"""What an entry must have."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from appliance.errors import ApplianceError, AuthorityError, ExpiredError, RecordError
from appliance.records.ids import PersonName
from appliance.records.watchlist import Category, Entry, Reference
from appliance.watchlist.rules import LONGEST_TEXT, MOST_REFERENCES, check_entry
from tests.fakes.clock import START
from tests.fakes.entries import make_entry


def check(entry: Entry) -> None:
    check_entry(entry, valid_until=START)


def test_complete_entry_is_accepted() -> None:
    check(make_entry())


@pytest.mark.parametrize(
    "field", ["name", "legal_basis", "case_reference", "source", "instruction", "enroller", "reviewer"]
)
def test_missing_or_endless_text_is_refused_by_field(field: str) -> None:
    for text in ("", "  ", "x" * (LONGEST_TEXT + 1)):
        changes: dict[str, Any] = {field: text}
        with pytest.raises(RecordError, match=field):
            check(make_entry(**changes))


def test_person_may_not_review_their_own_entry() -> None:
    with pytest.raises(AuthorityError, match="reviewer"):
        check(make_entry(enroller=PersonName("Ann Other"), reviewer=PersonName(" ann  OTHER ")))


@pytest.mark.parametrize("approver", [None, " ", "E. Enroller"])
def test_person_under_18_needs_another_persons_approval(approver: PersonName | None) -> None:
    with pytest.raises(AuthorityError, match="under_18_approved_by"):
        check(make_entry(is_under_18=True, under_18_approved_by=approver))


def test_approved_person_under_18_is_accepted() -> None:
    check(make_entry(is_under_18=True, under_18_approved_by=PersonName("S. Senior")))


@pytest.mark.parametrize("field", ["ground", "ground_dated_on"])
def test_risk_to_others_needs_ground_and_its_date(field: str) -> None:
    complete: dict[str, Any] = {"ground": "threats in writing", "ground_dated_on": "2026-11-02"}
    check(make_entry(category=Category.RISK_TO_OTHERS, **complete))
    for missing in (None, " "):
        with pytest.raises(RecordError, match=field):
            check(make_entry(category=Category.RISK_TO_OTHERS, **(complete | {field: missing})))


def test_ground_date_that_is_no_date_is_refused() -> None:
    with pytest.raises(RecordError, match="ground_dated_on"):
        check(make_entry(ground="threats", ground_dated_on="last week"))


def test_entry_without_references_or_with_too_many_is_refused() -> None:
    reference = make_entry().references[0]
    for references in ((), (reference,) * (MOST_REFERENCES + 1)):
        with pytest.raises(RecordError, match="references"):
            check(make_entry(references=references))


@pytest.mark.parametrize("changes", [{"captured_on": "2026-13-01"}, {"quality": 101}, {"quality": -1}])
def test_reference_with_a_wrong_field_is_refused(changes: dict[str, Any]) -> None:
    reference: Reference = replace(make_entry().references[0], **changes)
    with pytest.raises(RecordError, match=next(iter(changes))):
        check(make_entry(references=(reference,)))


def test_entry_that_expires_too_early_is_refused() -> None:
    check(make_entry(expires_at=START))
    with pytest.raises(ExpiredError, match="expires_at"):
        check(make_entry(expires_at=START - timedelta(seconds=1)))


def test_message_never_quotes_the_entry() -> None:
    secret = "Jane Q. Public" + "x" * LONGEST_TEXT
    refused: list[dict[str, Any]] = [{"name": secret}, {"enroller": secret, "reviewer": secret}]
    for changes in refused:
        with pytest.raises(ApplianceError) as caught:
            check(make_entry(**changes))
        assert "Jane" not in str(caught.value)
