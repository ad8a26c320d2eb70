"""Who may allow recognition, and whether it is allowed now."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.deployment.authority import (
    LARGEST_AUTHORISATION_BYTES,
    accept_authorisation,
    check_list,
    is_over,
    load_trust,
    parse_trust,
)
from appliance.envelope import sign_payload
from appliance.errors import (
    ApplianceError,
    AuthorityError,
    ExpiredError,
    IntegrityError,
    ModelMismatchError,
    RecordError,
    SignatureError,
)
from appliance.records.deployment import Authorisation, Role, Trust, TrustedRole
from appliance.records.ids import ApplianceId, CameraId, ModelId
from appliance.records.wire import dump_record
from tests.fakes.clock import START
from tests.fakes.lists import (
    APPLIANCE,
    CAMERA,
    MODEL,
    make_authorisation,
    make_content,
    make_header,
    make_role,
    make_signer,
    make_trust,
    make_trusted_key,
    sign_authorisation,
)

HEADER = make_header(make_content())
RIGHT = make_authorisation(HEADER.content_sha256)


def accept(
    data: bytes,
    *,
    now: datetime = START,
    is_clock_trusted: bool = True,
    appliance_id: ApplianceId = APPLIANCE,
    camera_ids: tuple[CameraId, ...] = (CAMERA,),
    model_id: ModelId = MODEL,
    **header: Any,
) -> Authorisation:
    return accept_authorisation(
        data,
        make_trust(),
        now=now,
        is_clock_trusted=is_clock_trusted,
        appliance_id=appliance_id,
        camera_ids=camera_ids,
        list_header=replace(HEADER, **header),
        model_id=model_id,
    )


def accept_changed(**changes: Any) -> Authorisation:
    return accept(sign_authorisation(replace(RIGHT, **changes)))


def test_authorisation_signed_by_two_is_accepted() -> None:
    assert accept(sign_authorisation(RIGHT)) == RIGHT


@pytest.mark.parametrize("names", [("a1",), ("a1", "a1"), ("l1", "l2"), ("a1", "l1"), ("stranger", "a1")])
def test_authorisation_without_two_of_its_role_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(SignatureError):
        accept(sign_authorisation(RIGHT, *names))


def test_list_signature_is_no_authorisation() -> None:
    data = sign_payload("watchlist", dump_record(RIGHT), [make_signer("a1"), make_signer("a2")])
    with pytest.raises(SignatureError, match="another type"):
        accept(data)


def test_no_flipped_byte_changes_what_is_accepted() -> None:
    data = sign_authorisation(RIGHT)
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x01
        try:
            accepted = accept(bytes(flipped))
        except ApplianceError:
            continue
        assert accepted == RIGHT
        assert data[place + 1 : place + 2] == b"="  # base64's unused bits


def test_not_yet_started_is_refused() -> None:
    accept(sign_authorisation(RIGHT), now=RIGHT.starts_at)
    with pytest.raises(ExpiredError, match="starts_at"):
        accept(sign_authorisation(RIGHT), now=RIGHT.starts_at - timedelta(seconds=1))


def test_over_is_refused() -> None:
    accept(sign_authorisation(RIGHT), now=RIGHT.ends_at - timedelta(seconds=1))
    with pytest.raises(ExpiredError, match="ends_at"):
        accept(sign_authorisation(RIGHT), now=RIGHT.ends_at)
    assert is_over(RIGHT, RIGHT.ends_at)
    assert not is_over(RIGHT, RIGHT.ends_at - timedelta(microseconds=1))


def test_13_hours_are_refused_and_12_accepted() -> None:
    accept_changed(ends_at=RIGHT.starts_at + timedelta(hours=12))
    with pytest.raises(ExpiredError, match="12 hours"):
        accept_changed(ends_at=RIGHT.starts_at + timedelta(hours=13))
    with pytest.raises(ExpiredError, match="12 hours"):
        accept_changed(ends_at=RIGHT.starts_at + timedelta(hours=12, microseconds=1))


def test_end_before_start_is_refused() -> None:
    with pytest.raises(RecordError, match="ends_at"):
        accept_changed(ends_at=RIGHT.starts_at)


def test_end_after_the_lists_is_refused() -> None:
    with pytest.raises(ExpiredError, match="the list expires"):
        accept(sign_authorisation(RIGHT), expires_at=RIGHT.ends_at - timedelta(seconds=1))


def test_untrusted_clock_is_refused() -> None:
    with pytest.raises(ExpiredError, match="clock"):
        accept(sign_authorisation(RIGHT), is_clock_trusted=False)


def test_another_appliances_authorisation_is_refused() -> None:
    with pytest.raises(AuthorityError, match="appliance_id"):
        accept(sign_authorisation(RIGHT), appliance_id=ApplianceId("box-2"))


def test_camera_that_is_not_named_is_refused() -> None:
    with pytest.raises(AuthorityError, match="garden"):
        accept(sign_authorisation(RIGHT), camera_ids=(CAMERA, CameraId("garden")))


def test_another_lists_hash_is_refused() -> None:
    with pytest.raises(AuthorityError, match="another list"):
        accept_changed(watchlist_sha256="0" * 64)


def test_operating_point_for_a_smaller_list_is_refused() -> None:
    accept_changed(operating_point=replace(RIGHT.operating_point, gallery_size=2))
    with pytest.raises(AuthorityError, match="gallery_size"):
        accept_changed(operating_point=replace(RIGHT.operating_point, gallery_size=1))


def test_operating_point_of_another_model_is_refused() -> None:
    with pytest.raises(ModelMismatchError):
        accept_changed(operating_point=replace(RIGHT.operating_point, model_id=ModelId("model-2")))
    with pytest.raises(ModelMismatchError):
        accept(sign_authorisation(RIGHT), model_id=ModelId("model-2"))
    with pytest.raises(ModelMismatchError):
        check_list(RIGHT, replace(HEADER, model_id=ModelId("model-2")), MODEL)


@pytest.mark.parametrize("changes", [{"threshold": 0.0}, {"threshold": 1.5}, {"fpir": 0.0}, {"fpir": 1.0}])
def test_operating_point_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=next(iter(changes))):
        accept_changed(operating_point=replace(RIGHT.operating_point, **changes))


def test_no_recipient_and_a_doubled_one_are_refused() -> None:
    with pytest.raises(AuthorityError, match="recipients"):
        accept_changed(recipients=())
    with pytest.raises(RecordError, match="twice"):
        accept_changed(recipients=RIGHT.recipients * 2)


@pytest.mark.parametrize("field", ["sealing_key_hex", "signing_key_hex"])
def test_recipient_without_a_key_is_refused(field: str) -> None:
    changes: dict[str, Any] = {field: "11"}
    with pytest.raises(RecordError, match="hexadecimal"):
        accept_changed(recipients=(replace(RIGHT.recipients[0], **changes),))


@pytest.mark.parametrize("changes", [{"purpose": " "}, {"place": ""}, {"camera_ids": ()}])
def test_empty_field_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=next(iter(changes))):
        accept_changed(**changes)


@pytest.mark.parametrize("field", sorted(Authorisation.__dataclass_fields__))
def test_missing_field_is_refused(field: str) -> None:
    payload = dump_record(RIGHT).replace(f'"{field}":'.encode(), b'"other":', 1)
    data = sign_payload("authorisation", payload, [make_signer("a1"), make_signer("a2")])
    with pytest.raises(RecordError):
        accept(data)


def test_endless_authorisation_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(RecordError, match="allowed"):
        accept(b" " * (LARGEST_AUTHORISATION_BYTES + 1))


@given(st.binary(max_size=200))
def test_any_bytes_give_our_error(data: bytes) -> None:
    with pytest.raises(ApplianceError):
        accept(data)
    with pytest.raises(ApplianceError):
        parse_trust(data)


def test_pinned_trust_is_loaded() -> None:
    data = dump_record(make_trust())
    assert load_trust(data, hashlib.sha256(data).hexdigest()) == make_trust()


def test_trust_that_is_not_pinned_is_refused() -> None:
    data = dump_record(make_trust())
    for changed in (data + b" ", data.replace(b"key-l1", b"key-l9")):
        with pytest.raises(IntegrityError):
            load_trust(changed, hashlib.sha256(data).hexdigest())


def refuse_trust(*roles: TrustedRole, match: str) -> None:
    with pytest.raises(AuthorityError, match=match):
        parse_trust(dump_record(Trust(roles=roles)))


LISTERS, AUTHORISERS = make_trust().roles


def test_person_in_both_roles_is_refused() -> None:
    both = (make_trusted_key("x1", "L1 "), make_trusted_key("x2", "x2"))
    listers = replace(LISTERS, keys=(make_trusted_key("l1", "l1"), make_trusted_key("l2", "l2")))
    refuse_trust(listers, replace(AUTHORISERS, keys=both), match="one person")


def test_key_in_both_roles_is_refused() -> None:
    keys = (make_trusted_key("l1", "somebody else"), make_trusted_key("a1"))
    refuse_trust(LISTERS, replace(AUTHORISERS, keys=keys), match="occurs twice")


def test_threshold_below_two_is_refused() -> None:
    for threshold in (1, 0, -1):
        refuse_trust(replace(LISTERS, threshold=threshold), AUTHORISERS, match="threshold")


def test_fewer_persons_than_must_sign_are_refused() -> None:
    keys = (make_trusted_key("l1", "Ann"), make_trusted_key("l2", " ann"))
    refuse_trust(replace(LISTERS, keys=keys), AUTHORISERS, match="fewer persons")
    refuse_trust(replace(LISTERS, threshold=4), AUTHORISERS, match="fewer persons")


def test_missing_and_doubled_role_are_refused() -> None:
    refuse_trust(LISTERS, match="each role once")
    refuse_trust(LISTERS, AUTHORISERS, make_role(Role.AUTHORISATION, "b1", "b2"), match="each role once")


def test_key_that_is_no_key_is_refused() -> None:
    keys = (replace(make_trusted_key("l1"), public_key_hex="11"), make_trusted_key("l2"))
    refuse_trust(replace(LISTERS, keys=keys), AUTHORISERS, match="hexadecimal")
