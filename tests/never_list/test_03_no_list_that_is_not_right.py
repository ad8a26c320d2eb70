"""Never list, line 3: no watchlist that is unsigned, expired, older than the last one seen, made by another
model, above 20,000 people, or with an entry that lacks what an entry needs. Categories are closed; a
volunteer's alert never reaches an officer as real.

Built and tested here: acceptance of a list's header, the rules for each entry, the content's limits, the
memory of the highest version, and the way of `volunteer` from the entry to the officer's card. Who may sign
is line 9.

Not built yet: several active lists at once (the limit holds for the one list that there is), and review of
entries while a list lives.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.app.state import open_state
from appliance.envelope import sign_payload
from appliance.errors import (
    ApplianceError,
    AuthorityError,
    ExpiredError,
    IntegrityError,
    ModelMismatchError,
    RecordError,
    RollbackError,
    SignatureError,
)
from appliance.handset.blind import Card
from appliance.records.alert_format import AlertParts
from appliance.records.ids import ModelId
from appliance.records.watchlist import LARGEST_WATCHLIST, Category, Entry
from appliance.records.wire import dump_record, parse_record
from appliance.watchlist.acceptance import accept_list
from appliance.watchlist.content import pack_content, unpack_content
from appliance.watchlist.rules import check_entry
from tests.fakes.alerts import DETAIL, jpeg, make_world
from tests.fakes.clock import START
from tests.fakes.entries import make_entry
from tests.fakes.house import House
from tests.fakes.lists import (
    LENGTH,
    MODEL,
    make_content,
    make_header,
    make_reference,
    make_trust,
    sign_header,
)
from tests.never_list.box import Box
from tests.never_list.mutation import Mutation

MUTATIONS = [
    Mutation(
        file="appliance/watchlist/acceptance.py",
        old="    if now >= header.expires_at:",
        new="    if False:",
        test="test_a_list_that_is_not_right_is_refused",
    ),
    Mutation(
        file="appliance/watchlist/acceptance.py",
        old="    if header.version < last_version_seen:",
        new="    if False:",
        test="test_a_list_that_is_not_right_is_refused",
    ),
    Mutation(
        file="appliance/watchlist/acceptance.py",
        old="    if header.model_id != model_id:",
        new="    if False:",
        test="test_a_list_that_is_not_right_is_refused",
    ),
    Mutation(
        file="appliance/watchlist/acceptance.py",
        old="    if not 1 <= header.n_entries <= LARGEST_WATCHLIST:",
        new="    if header.n_entries < 1:",
        test="test_a_list_of_20001_people_is_refused",
    ),
    Mutation(
        file="appliance/records/watchlist.py",
        old="LARGEST_WATCHLIST = 20_000",
        new="LARGEST_WATCHLIST = 50_000",
        test="test_a_list_of_20001_people_is_refused",
    ),
    Mutation(
        file="appliance/watchlist/rules.py",
        old="    _check_ground(entry)\n",
        new="",
        test="test_an_entry_that_lacks_something_is_refused",
    ),
    Mutation(
        file="appliance/watchlist/rules.py",
        old="    if _same_person(entry.enroller, entry.reviewer):",
        new="    if False:",
        test="test_an_entry_that_lacks_something_is_refused",
    ),
    Mutation(
        file="appliance/watchlist/content.py",
        old="        check_entry(entry, valid_until=valid_until)",
        new="        del entry",
        test="test_a_signed_list_with_a_bad_entry_is_refused_whole",
    ),
    Mutation(
        file="appliance/deployment/vault.py",
        old="highest_version_seen=max(state.highest_version_seen, header.version),",
        new="highest_version_seen=0,",
        test="test_the_highest_version_survives_the_erasure",
    ),
    Mutation(
        file="appliance/vision/claims.py",
        old="is_volunteer=entry.category is Category.VOLUNTEER,",
        new="is_volunteer=False,",
        test="test_a_volunteer_s_alert_leaves_the_worker_as_a_test",
    ),
    Mutation(
        file="appliance/handset/blind.py",
        old="is_test=header.is_test or detail.category is Category.VOLUNTEER,",
        new="is_test=header.is_test,",
        test="test_a_volunteer_s_card_says_test_whatever_the_header_says",
    ),
    Mutation(
        file="appliance/records/watchlist.py",
        old='    VOLUNTEER = "volunteer"',
        new='    VOLUNTEER = "volunteer"\n    OF_INTEREST = "of_interest"',
        test="test_categories_are_closed",
    ),
]


def accept(data: bytes, **changes: Any) -> None:
    given: dict[str, Any] = {
        "now": START,
        "is_clock_trusted": True,
        "last_version_seen": 3,
        "model_id": MODEL,
    }
    accept_list(data, make_trust(), **{**given, **changes})


def test_a_right_list_is_accepted() -> None:
    accept(sign_header(make_header(make_content())))


def test_an_unsigned_list_is_refused() -> None:
    header = dump_record(make_header(make_content()))
    for data in (sign_payload("watchlist", header, ()), sign_header(make_header(make_content()), "l1")):
        with pytest.raises(SignatureError):
            accept(data)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"now": START + timedelta(hours=20)}, ExpiredError),
        ({"is_clock_trusted": False}, ExpiredError),
        ({"last_version_seen": 4}, RollbackError),
        ({"model_id": ModelId("model-2")}, ModelMismatchError),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_list_that_is_not_right_is_refused(change: dict[str, Any], error: type[ApplianceError]) -> None:
    with pytest.raises(error):
        accept(sign_header(make_header(make_content())), **change)


def test_a_list_of_20001_people_is_refused() -> None:
    content = make_content()
    accept(sign_header(make_header(content, n_entries=LARGEST_WATCHLIST)))
    with pytest.raises(RecordError):
        accept(sign_header(make_header(content, n_entries=20_001)))
    entry, reference = make_entry(0), make_reference(0)
    with pytest.raises(RecordError):
        pack_content([(entry, [reference])] * 20_001, LENGTH)


def test_changed_content_is_refused() -> None:
    content = bytearray(make_content())
    header = make_header(bytes(content))
    content[-1] ^= 1
    with pytest.raises(IntegrityError):
        unpack_content(content, header)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        *(
            ({name: empty}, RecordError)
            for name in ("name", "legal_basis", "case_reference", "source", "instruction", "reviewer")
            for empty in ("", "  ")
        ),
        ({"references": ()}, RecordError),
        ({"reviewer": "e.  enroller"}, AuthorityError),
        ({"is_under_18": True}, AuthorityError),
        ({"is_under_18": True, "under_18_approved_by": "E. Enroller"}, AuthorityError),
        ({"category": Category.RISK_TO_OTHERS}, RecordError),
        ({"category": Category.RISK_TO_OTHERS, "ground": "made threats"}, RecordError),
        ({"category": Category.RISK_TO_OTHERS, "ground_dated_on": "2026-11-01"}, RecordError),
        ({"expires_at": START - timedelta(seconds=1)}, ExpiredError),
    ],
    ids=str,
)
def test_an_entry_that_lacks_something_is_refused(
    change: dict[str, Any], error: type[ApplianceError]
) -> None:
    check_entry(make_entry(0), valid_until=START)
    with pytest.raises(error):
        check_entry(make_entry(0, **change), valid_until=START)


def test_a_signed_list_with_a_bad_entry_is_refused_whole() -> None:
    entries = [(make_entry(0), [make_reference(0)]), (make_entry(1, legal_basis=""), [make_reference(1)])]
    content = pack_content(entries, LENGTH)
    with pytest.raises(RecordError, match="legal_basis"):
        unpack_content(content, make_header(content))


def test_categories_are_closed() -> None:
    assert {each.value for each in Category} == {
        "wanted_by_courts",
        "wanted_by_police",
        "risk_to_others",
        "at_risk_or_missing",
        "volunteer",
    }
    data = dump_record(make_entry(0)).replace(b'"volunteer"', b'"of_interest"')
    with pytest.raises(RecordError, match="category"):
        parse_record(Entry, data, limit_bytes=len(data))


def test_the_highest_version_survives_the_erasure(tmp_path: Path) -> None:
    box = Box(tmp_path)
    published = box.publish()
    box.install(published)
    assert box.state.vault.erase(published.authorisation.authorisation_id)
    assert open_state(tmp_path / "state").vault.highest_version_seen == published.header.version


def test_a_volunteer_s_alert_leaves_the_worker_as_a_test() -> None:
    house = House()
    house.pipeline.start()
    for number in range(2):
        house.show(number)
    house.stop()
    assert [alert.is_volunteer for alert in house.alerts] == [True]


def test_a_volunteer_s_card_says_test_whatever_the_header_says(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    header = world.header_of(world.seal())
    assert not header.is_test
    picture = jpeg((1, 2, 3))
    for category in Category:
        detail = dump_record(replace(DETAIL, category=category))
        card = Card(header, AlertParts(detail_json=detail, probe_jpeg=picture, reference_jpeg=picture))
        assert card.before.is_test is (category is Category.VOLUNTEER)
