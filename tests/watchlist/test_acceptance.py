"""Whether a list may be used at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.envelope import sign_payload
from appliance.errors import (
    ApplianceError,
    ExpiredError,
    ModelMismatchError,
    RecordError,
    RollbackError,
    SignatureError,
)
from appliance.records.deployment import Role, Trust, TrustedRole
from appliance.records.ids import ModelId
from appliance.records.watchlist import LARGEST_WATCHLIST, WatchlistHeader
from appliance.records.wire import dump_record
from appliance.watchlist.acceptance import LARGEST_HEADER_BYTES, accept_list
from tests.fakes.clock import START
from tests.fakes.lists import (
    MODEL,
    make_content,
    make_header,
    make_role,
    make_signer,
    make_trust,
    make_trusted_key,
    sign_header,
)

HEADER = make_header(make_content())


def accept(
    data: bytes,
    *,
    trust: Trust | None = None,
    now: datetime = START,
    is_clock_trusted: bool = True,
    last_version_seen: int = 3,
    model_id: ModelId = MODEL,
) -> WatchlistHeader:
    return accept_list(
        data,
        trust or make_trust(),
        now=now,
        is_clock_trusted=is_clock_trusted,
        last_version_seen=last_version_seen,
        model_id=model_id,
    )


def test_list_signed_by_two_of_three_is_accepted() -> None:
    assert accept(sign_header(HEADER)) == HEADER
    assert accept(sign_header(HEADER, "l1", "l2", "l3", "stranger")) == HEADER


@pytest.mark.parametrize(
    "names", [("l1",), ("l1", "stranger"), ("a1", "a2"), ("l1", "a1"), ("stranger",) * 2]
)
def test_list_without_two_signers_of_its_role_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(SignatureError):
        accept(sign_header(HEADER, *names))


def test_unsigned_list_is_refused() -> None:
    with pytest.raises(SignatureError):
        accept(sign_payload("watchlist", dump_record(HEADER), ()))


def test_two_keys_of_one_person_count_once() -> None:
    role = TrustedRole(
        role=Role.WATCHLIST,
        threshold=2,
        keys=(make_trusted_key("l1", "Ann"), make_trusted_key("l2", "Ann"), make_trusted_key("l3", "Ben")),
    )
    trust = Trust(roles=(role, make_role(Role.AUTHORISATION, "a1", "a2")))
    with pytest.raises(SignatureError, match="1 of the 2"):
        accept(sign_header(HEADER, "l1", "l2"), trust=trust)
    accept(sign_header(HEADER, "l1", "l3"), trust=trust)


def test_one_signature_twice_counts_once() -> None:
    signer = make_signer("l1")
    with pytest.raises(SignatureError):
        accept(sign_payload("watchlist", dump_record(HEADER), [signer, signer]))


def test_trust_without_the_role_accepts_nothing() -> None:
    trust = Trust(roles=(make_role(Role.AUTHORISATION, "l1", "l3"),))
    with pytest.raises(SignatureError):
        accept(sign_header(HEADER), trust=trust)


def test_header_signed_for_another_purpose_is_refused() -> None:
    data = sign_payload("authorisation", dump_record(HEADER), [make_signer("l1"), make_signer("l2")])
    with pytest.raises(SignatureError, match="another type"):
        accept(data)


def test_no_flipped_byte_changes_what_is_accepted() -> None:
    data = sign_header(HEADER, "l1", "l2")
    for place in range(len(data)):
        for bit in (0x01, 0x20):
            flipped = bytearray(data)
            flipped[place] ^= bit
            try:
                accepted = accept(bytes(flipped))
            except ApplianceError:
                continue
            # only base64's unused bits at the end of a signature or payload mean nothing
            assert accepted == HEADER
            assert data[place + 1 : place + 2] == b"="


def test_list_is_accepted_until_it_expires() -> None:
    accept(sign_header(HEADER), now=HEADER.expires_at - timedelta(seconds=1))
    with pytest.raises(ExpiredError, match="expired"):
        accept(sign_header(HEADER), now=HEADER.expires_at)


def test_untrusted_clock_is_refused() -> None:
    with pytest.raises(ExpiredError, match="clock"):
        accept(sign_header(HEADER), is_clock_trusted=False)


def test_older_version_than_seen_is_refused() -> None:
    accept(sign_header(HEADER), last_version_seen=3)
    with pytest.raises(RollbackError):
        accept(sign_header(HEADER), last_version_seen=4)


def test_list_of_another_model_is_refused() -> None:
    with pytest.raises(ModelMismatchError):
        accept(sign_header(HEADER), model_id=ModelId("model-2"))


@pytest.mark.parametrize(
    "changes",
    [
        {"n_entries": LARGEST_WATCHLIST + 1},
        {"n_entries": 0},
        {"template_length": 0},
        {"template_length": 5000},
        {"version": 0},
        {"content_sha256": "xyz"},
        {"expires_at": HEADER.issued_at},
    ],
)
def test_signed_header_that_cannot_be_right_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=next(iter(changes))):
        accept(sign_header(replace(HEADER, **changes)), last_version_seen=0)


@pytest.mark.parametrize("field", sorted(WatchlistHeader.__dataclass_fields__))
def test_header_with_a_missing_field_is_refused(field: str) -> None:
    payload = dump_record(HEADER).replace(f'"{field}"'.encode(), b'"other"')
    with pytest.raises(RecordError, match=field):
        accept(sign_payload("watchlist", payload, [make_signer("l1"), make_signer("l2")]))


def test_endless_header_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(RecordError, match="allowed"):
        accept(b" " * (LARGEST_HEADER_BYTES + 1))


@given(st.binary(max_size=200))
def test_any_bytes_give_our_error(data: bytes) -> None:
    with pytest.raises(ApplianceError):
        accept(data)
