"""The bytes of an alert, from the worker to the handset."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.alerts.message import AnswerRules, open_answer, pack_alert
from appliance.alerts.sealing import seal_alert
from appliance.envelope import sign_payload
from appliance.errors import (
    ApplianceError,
    AuthorityError,
    ExpiredError,
    IntegrityError,
    RecordError,
    SignatureError,
)
from appliance.handset.opening import open_alert, open_message
from appliance.records.alert_format import (
    LARGEST_MESSAGE_BYTES,
    MAGIC,
    AlertParts,
    frame_message,
    pack_parts,
    split_message,
    unpack_parts,
)
from appliance.records.alerts import AlertDetail, Receipt
from appliance.records.ids import AlertId, AuthorisationId, HandsetId, KeyId
from appliance.records.wire import dump_record, parse_record
from appliance.sealing import signer_of
from tests.fakes.alerts import APPLIANCE, DEPLOYMENT, DETAIL, HANDSET, AlertWorld, jpeg, make_world
from tests.fakes.clock import START, FakeClock


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> AlertWorld:
    return make_world(tmp_path_factory.mktemp("world"), ["handset-1", "handset-2"])


def test_each_recipient_opens_the_alert(world: AlertWorld) -> None:
    alert = world.seal()
    header, ciphertext = open_message(world.pack(alert), world.public.signing_key_hex, FakeClock())
    for keys in world.handsets:
        parts = open_alert(
            header, ciphertext, keys.recipient.handset_id, bytes.fromhex(keys.sealing_private_hex)
        )
        assert parse_record(AlertDetail, parts.detail_json, limit_bytes=4096) == DETAIL
        assert (parts.probe_jpeg, parts.reference_jpeg) == (jpeg((200, 30, 30)), jpeg((30, 30, 200)))


def test_ciphertext_hides_name_and_tells_a_size_class_only(world: AlertWorld) -> None:
    short, long = world.seal(name="Jo"), world.seal(name="J" * 90)
    assert b"Jo Bloggs" not in world.pack(world.seal())
    assert len(short.ciphertext) == len(long.ciphertext)
    assert (len(short.ciphertext) - 40) % 4096 == 0


def test_alert_without_a_recipient_is_refused() -> None:
    with pytest.raises(AuthorityError):
        seal_alert(
            DETAIL,
            b"",
            b"",
            alert_id=AlertId("a"),
            appliance_id=APPLIANCE,
            deployment_id=DEPLOYMENT,
            recipients=(),
        )


def test_alert_signed_by_a_stranger_is_refused(world: AlertWorld, tmp_path: Path) -> None:
    stranger = make_world(tmp_path)
    alert = world.seal()
    data = pack_alert(world.header_of(alert), alert.ciphertext, stranger.signer)
    with pytest.raises(SignatureError):
        open_message(data, world.public.signing_key_hex, FakeClock())


def test_alert_signed_for_another_purpose_is_refused(world: AlertWorld) -> None:
    alert = world.seal()
    envelope = sign_payload("receipt", dump_record(world.header_of(alert)), [world.signer])
    with pytest.raises(SignatureError):
        open_message(frame_message(envelope, alert.ciphertext), world.public.signing_key_hex, FakeClock())


def test_tampered_ciphertext_is_refused(world: AlertWorld) -> None:
    data = bytearray(world.pack(world.seal()))
    data[-1] ^= 1
    with pytest.raises(IntegrityError):
        open_message(bytes(data), world.public.signing_key_hex, FakeClock())


def test_ciphertext_of_another_alert_is_refused_under_its_own_header(world: AlertWorld) -> None:
    first, second = world.seal(1), world.seal(2)
    mixed = replace(first, ciphertext=second.ciphertext, sealed_keys=second.sealed_keys)
    header, ciphertext = open_message(world.pack(mixed), world.public.signing_key_hex, FakeClock())
    keys = world.handsets[0]
    with pytest.raises(IntegrityError):
        open_alert(header, ciphertext, HANDSET, bytes.fromhex(keys.sealing_private_hex))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_a_message_is_refused(world: AlertWorld, data: st.DataObject) -> None:
    message = bytearray(world.pack(world.seal()))
    position = data.draw(st.integers(0, len(message) - 1))
    message[position] ^= data.draw(st.integers(1, 255))
    try:
        header, ciphertext = open_message(bytes(message), world.public.signing_key_hex, FakeClock())
    except ApplianceError:
        return
    # what is not signed is the key's name and base64's spare bits: the alert itself is unchanged
    assert header.alert_id == "alert-1"
    open_alert(header, ciphertext, HANDSET, bytes.fromhex(world.handsets[0].sealing_private_hex))


@given(st.binary(max_size=300))
def test_garbage_is_refused(garbage: bytes) -> None:
    for data in (garbage, MAGIC + garbage, MAGIC + len(garbage).to_bytes(4, "big") + garbage):
        with pytest.raises(ApplianceError):
            open_message(data, "00" * 32, FakeClock())


@given(st.binary(max_size=100))
def test_unpacking_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(RecordError):
        unpack_parts(garbage + b"\x01" * 5)


def test_message_of_another_format_is_refused(world: AlertWorld) -> None:
    with pytest.raises(RecordError, match="not an alert"):
        split_message(b"AL2\n" + world.pack(world.seal())[4:])


@pytest.mark.parametrize("data", [MAGIC + b"\x00\x00\x00\x02x", MAGIC + b"\xff\xff\xff\xff"])
def test_length_past_the_end_is_refused(data: bytes) -> None:
    with pytest.raises(RecordError, match="past the end"):
        split_message(data)
    with pytest.raises(RecordError, match="past the end"):
        unpack_parts(data[4:])


def test_answer_for_another_deployment_is_refused(world: AlertWorld) -> None:
    keys = world.handsets[0]
    receipt = Receipt(
        alert_id=AlertId("alert-1"), deployment_id=DEPLOYMENT, handset_id=HANDSET, shown_at=START
    )
    signer = signer_of(KeyId("key"), bytes.fromhex(keys.signing_seed_hex))
    data = sign_payload("receipt", dump_record(receipt), [signer])
    rules = AnswerRules(
        appliance_id=APPLIANCE, deployment_id=DEPLOYMENT, recipients={HANDSET: keys.recipient}
    )
    topic = f"receipts/{APPLIANCE}/{HANDSET}"
    assert open_answer(topic, data, rules) == receipt
    with pytest.raises(AuthorityError, match="another deployment"):
        open_answer(topic, data, replace(rules, deployment_id=AuthorisationId("deployment-2")))


@given(st.binary(max_size=9000), st.binary(max_size=9000))
def test_packed_parts_come_back(probe: bytes, reference: bytes) -> None:
    parts = AlertParts(detail_json=b"{}", probe_jpeg=probe, reference_jpeg=reference)
    packed = pack_parts(parts)
    assert unpack_parts(packed) == parts
    assert len(packed) % 4096 == 0


@pytest.mark.parametrize("change", ["longer", "shorter", "not zeros"])
def test_padding_that_is_not_ours_is_refused(change: str) -> None:
    packed = pack_parts(AlertParts(detail_json=b"{}", probe_jpeg=b"p", reference_jpeg=b"r"))
    wrong = {"longer": packed + bytes(4096), "shorter": packed[:-1], "not zeros": packed[:-1] + b"x"}[change]
    with pytest.raises(RecordError):
        unpack_parts(wrong)


def test_oversized_message_is_refused_before_it_is_looked_at(world: AlertWorld) -> None:
    with pytest.raises(RecordError, match="allowed"):
        open_message(bytes(LARGEST_MESSAGE_BYTES + 1), world.public.signing_key_hex, FakeClock())
    with pytest.raises(RecordError, match="allowed"):
        split_message(world.pack(world.seal()), 100)


def test_oversized_alert_is_not_packed(world: AlertWorld) -> None:
    alert = replace(world.seal(), ciphertext=bytes(LARGEST_MESSAGE_BYTES))
    with pytest.raises(RecordError, match="allowed"):
        world.pack(alert)


def test_header_of_another_ciphertext_is_not_packed(world: AlertWorld) -> None:
    alert = world.seal()
    with pytest.raises(RecordError):
        pack_alert(world.header_of(alert), alert.ciphertext + b"x", world.signer)


def test_expired_alert_is_refused(world: AlertWorld) -> None:
    data = world.pack(world.seal(), expires_at=START + timedelta(seconds=5))
    clock = FakeClock()
    clock.advance(4.9)
    open_message(data, world.public.signing_key_hex, clock)
    clock.advance(0.1)
    with pytest.raises(ExpiredError):
        open_message(data, world.public.signing_key_hex, clock)


def test_alert_is_refused_while_the_clock_is_not_trusted(world: AlertWorld) -> None:
    with pytest.raises(ExpiredError):
        open_message(world.pack(world.seal()), world.public.signing_key_hex, FakeClock(is_trusted=False))


def test_alert_for_other_handsets_is_refused(world: AlertWorld) -> None:
    header, ciphertext = open_message(world.pack(world.seal()), world.public.signing_key_hex, FakeClock())
    private = bytes.fromhex(world.handsets[0].sealing_private_hex)
    with pytest.raises(AuthorityError):
        open_alert(header, ciphertext, HandsetId("handset-9"), private)
    with pytest.raises(IntegrityError):
        open_alert(header, ciphertext, HandsetId("handset-2"), private)


def test_sealed_key_that_is_not_base64_is_refused(world: AlertWorld) -> None:
    alert = world.seal()
    wrong = tuple(replace(one, sealed_key_base64="?") for one in alert.sealed_keys)
    header = replace(world.header_of(alert), sealed_keys=wrong)
    with pytest.raises(RecordError):
        open_alert(header, alert.ciphertext, HANDSET, bytes(32))
