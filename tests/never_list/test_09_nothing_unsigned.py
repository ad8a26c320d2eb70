"""Never list, line 9: nothing is accepted that is not signed by whoever may sign it, people in conflicting
roles included; verify the received bytes, then parse; fail closed.

Built and tested here: lists and authorisations by two of their role, answers of handsets and alerts by their
own key, the trust file by its pin, and models by theirs; for each of them the wrong signers, flipped bytes,
and that bytes with a bad signature are refused before anybody parses what is in them.

Not built yet: TUF for updates, X.509 for the broker's peers beyond TLS itself, revocation of a signer's key.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.alerts.message import AnswerRules, open_answer
from appliance.deployment.authority import load_trust, open_authorisation, parse_trust
from appliance.envelope import TYPE_PREFIX, open_by_role, sign_payload
from appliance.errors import (
    ApplianceError,
    AuthorityError,
    IntegrityError,
    ModelIntegrityError,
    SignatureError,
)
from appliance.handset.opening import open_message
from appliance.records.alerts import Receipt
from appliance.records.deployment import Role, Trust, TrustedRole
from appliance.records.ids import AlertId, HandsetId, KeyId, PersonName
from appliance.records.wire import dump_record
from appliance.sealing import signer_of
from appliance.watchlist.acceptance import open_header
from models.manifest import load_manifest
from models.store import load_model, model_path
from tests.fakes.alerts import APPLIANCE, DEPLOYMENT, HANDSET, AlertWorld, make_world
from tests.fakes.clock import START, FakeClock
from tests.fakes.lists import (
    make_authorisation,
    make_content,
    make_header,
    make_role,
    make_signer,
    make_trust,
    make_trusted_key,
    sign_authorisation,
    sign_header,
)
from tests.never_list.mutation import Mutation

NOT_JSON = b"{ this is no record"
Open = Callable[[bytes], object]

MUTATIONS = [
    Mutation(
        file="appliance/envelope.py",
        old="    if len(persons) < role.threshold:",
        new="    if not persons:",
        test="test_one_person_is_not_enough",
    ),
    Mutation(
        file="appliance/envelope.py",
        old="    return {\n        key.person\n",
        new="    return {\n        key.key_id\n",
        test="test_one_person_with_two_keys_counts_once",
    ),
    Mutation(
        file="appliance/envelope.py",
        old="    if envelope.payloadType != TYPE_PREFIX + kind:",
        new="    if False:",
        test="test_a_signature_for_something_else_counts_nothing",
    ),
    Mutation(
        file="appliance/envelope.py",
        old="    except (BadSignatureError, ValueError):\n        return False",
        new="    except (BadSignatureError, ValueError):\n        return True",
        test="test_a_flipped_byte_is_refused",
    ),
    Mutation(
        file="appliance/deployment/authority.py",
        old="    if listers & authorisers:",
        new="    if False:",
        test="test_nobody_signs_lists_and_authorisations",
    ),
    Mutation(
        file="appliance/deployment/authority.py",
        old="    if hashlib.sha256(data).hexdigest() != pinned_sha256:",
        new="    if False:",
        test="test_a_trust_file_that_is_not_pinned_is_refused",
    ),
    Mutation(
        file="appliance/watchlist/acceptance.py",
        old="    payload = open_by_role(PAYLOAD_WATCHLIST,",
        new="    from appliance.envelope import Envelope, _payload_of\n"
        "    early = _payload_of(parse_record(Envelope, signed_header, limit_bytes=LARGEST_HEADER_BYTES))\n"
        "    parse_record(WatchlistHeader, early, limit_bytes=LARGEST_HEADER_BYTES)\n"
        "    payload = open_by_role(PAYLOAD_WATCHLIST,",
        test="test_what_is_not_signed_is_not_even_parsed",
    ),
    Mutation(
        file="appliance/alerts/message.py",
        old="    if answer.handset_id != recipient.handset_id:",
        new="    if False:",
        test="test_a_handset_answers_for_itself_alone",
    ),
    Mutation(
        file="models/files.py",
        old="    if found != sha256:",
        new="    if False:",
        test="test_a_model_that_is_not_the_pinned_one_is_not_loaded",
    ),
]


def open_list(data: bytes) -> object:
    return open_header(data, make_trust())


def open_permission(data: bytes) -> object:
    return open_authorisation(data, make_trust())


def signed_list(*names: str) -> bytes:
    return sign_header(make_header(make_content()), *names)


def signed_permission(*names: str) -> bytes:
    return sign_authorisation(make_authorisation("ab" * 32), *names)


BOTH = pytest.mark.parametrize(
    ("sign", "open_it", "own", "others"),
    [
        pytest.param(signed_list, open_list, ("l1", "l2", "l3"), ("a1", "a2"), id="list"),
        pytest.param(
            signed_permission, open_permission, ("a1", "a2", "a3"), ("l1", "l2"), id="authorisation"
        ),
    ],
)
Sign = Callable[..., bytes]
Names = tuple[str, ...]


@BOTH
def test_two_of_the_role_are_enough(sign: Sign, open_it: Open, own: Names, others: Names) -> None:
    open_it(sign(*own[1:]))
    open_it(sign(*own[:2], *others, "stranger"))  # a stranger's signature harms nothing


@BOTH
def test_one_person_is_not_enough(sign: Sign, open_it: Open, own: Names, others: Names) -> None:
    for names in ((own[0],), (own[0], own[0]), (own[0], *others), (own[0], "stranger"), others):
        with pytest.raises(SignatureError):
            open_it(sign(*names))


def test_one_person_with_two_keys_counts_once() -> None:
    keys = (make_trusted_key("l1"), make_trusted_key("l1-second", person="l1"), make_trusted_key("l2"))
    role = TrustedRole(role=Role.WATCHLIST, threshold=2, keys=keys)
    one_person = [make_signer("l1"), make_signer("l1-second")]
    data = sign_payload("watchlist", b"{}", one_person)
    with pytest.raises(SignatureError):
        open_by_role("watchlist", data, role, limit_bytes=4096)
    data = sign_payload("watchlist", b"{}", [*one_person, make_signer("l2")])
    assert open_by_role("watchlist", data, role, limit_bytes=4096) == b"{}"


def test_a_signature_under_somebody_else_s_name_counts_nothing() -> None:
    stranger = replace(make_signer("stranger"), key_id=make_signer("l2").key_id)
    data = sign_payload("watchlist", b"{}", [make_signer("l1"), stranger])
    with pytest.raises(SignatureError):
        open_by_role("watchlist", data, make_trust().roles[0], limit_bytes=4096)


def test_a_signature_for_something_else_counts_nothing() -> None:
    role = make_trust().roles[0]
    signers = [make_signer("l1"), make_signer("l2")]
    receipt = sign_payload("receipt", b"{}", signers)
    with pytest.raises(SignatureError):
        open_by_role("watchlist", receipt, role, limit_bytes=4096)
    # The type is under the signature: relabelling does not help.
    relabelled = receipt.replace(f"{TYPE_PREFIX}receipt".encode(), f"{TYPE_PREFIX}watchlist".encode())
    assert relabelled != receipt
    with pytest.raises(SignatureError):
        open_by_role("watchlist", relabelled, role, limit_bytes=4096)


@BOTH
def test_a_flipped_byte_is_refused(sign: Sign, open_it: Open, own: Names, others: Names) -> None:
    document = json.loads(sign(*own[:2]))
    payload = bytearray(base64.b64decode(document["payload"]))
    for position in range(0, len(payload), 17):
        changed = bytearray(payload)
        changed[position] ^= 1
        flipped = {**document, "payload": base64.b64encode(changed).decode()}
        with pytest.raises(SignatureError):
            open_it(json.dumps(flipped).encode())


def test_what_is_not_signed_is_not_even_parsed(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    stranger = make_signer("stranger")
    seals: list[tuple[str, Open]] = [
        ("watchlist", open_list),
        ("authorisation", open_permission),
        ("receipt", lambda data: open_answer(f"receipts/{APPLIANCE}/{HANDSET}", data, rules_of(world))),
    ]
    for kind, open_it in seals:
        # With the parser first, this would be a RecordError.
        with pytest.raises(SignatureError):
            open_it(sign_payload(kind, NOT_JSON, [stranger, make_signer("other-stranger")]))


def test_an_alert_that_the_appliance_did_not_sign_is_refused(tmp_path: Path) -> None:
    world, forger = make_world(tmp_path / "one"), make_world(tmp_path / "two")
    message = world.pack(world.seal())
    open_message(message, world.public.signing_key_hex, FakeClock())
    with pytest.raises(SignatureError):
        open_message(forger.pack(world.seal()), world.public.signing_key_hex, FakeClock())
    for position in range(0, len(message), len(message) // 40):
        flipped = bytearray(message)
        flipped[position] ^= 1
        with pytest.raises(ApplianceError):
            open_message(bytes(flipped), world.public.signing_key_hex, FakeClock())


def rules_of(world: AlertWorld) -> AnswerRules:
    return AnswerRules(
        appliance_id=APPLIANCE,
        deployment_id=DEPLOYMENT,
        recipients={each.handset_id: each for each in world.recipients},
    )


def answer(world: AlertWorld, *, says: str, signed_by: str) -> bytes:
    receipt = Receipt(
        alert_id=AlertId("alert-1"), deployment_id=DEPLOYMENT, handset_id=HandsetId(says), shown_at=START
    )
    keys = next(each for each in world.handsets if each.recipient.handset_id == signed_by)
    signer = signer_of(KeyId(signed_by), bytes.fromhex(keys.signing_seed_hex))
    return sign_payload("receipt", dump_record(receipt), [signer])


def test_a_handset_answers_for_itself_alone(tmp_path: Path) -> None:
    world = make_world(tmp_path, ("handset-1", "handset-2"))
    topic = f"receipts/{APPLIANCE}/handset-1"
    open_answer(topic, answer(world, says="handset-1", signed_by="handset-1"), rules_of(world))
    for says, signed_by in (
        ("handset-1", "handset-2"),
        ("handset-2", "handset-1"),
        ("handset-2", "handset-2"),
    ):
        with pytest.raises(AuthorityError):
            open_answer(topic, answer(world, says=says, signed_by=signed_by), rules_of(world))


def test_a_trust_file_that_is_not_pinned_is_refused() -> None:
    data = dump_record(make_trust())
    load_trust(data, hashlib.sha256(data).hexdigest())
    with pytest.raises(IntegrityError):
        load_trust(data + b" ", hashlib.sha256(data).hexdigest())


def test_nobody_signs_lists_and_authorisations() -> None:
    listers, authorisers = make_trust().roles
    same_person = make_trusted_key("a9", person=" L1 ")
    for keys in ((*authorisers.keys, same_person), (*authorisers.keys, listers.keys[0])):
        with pytest.raises(AuthorityError):
            parse_trust(dump_record(Trust(roles=(listers, replace(authorisers, keys=keys)))))


@pytest.mark.parametrize(
    "roles",
    [
        (),
        (make_role(Role.WATCHLIST, "l1", "l2"),),
        (make_role(Role.WATCHLIST, "l1", "l2"), make_role(Role.WATCHLIST, "l3", "l4")),
        (make_role(Role.WATCHLIST, "l1", "l2"), make_role(Role.AUTHORISATION, "a1", threshold=1)),
        (make_role(Role.WATCHLIST, "l1", "l2"), make_role(Role.AUTHORISATION, "a1")),
    ],
    ids=["none", "one role", "a role twice", "one signer is enough", "fewer people than must sign"],
)
def test_a_trust_that_is_too_weak_is_refused(roles: tuple[TrustedRole, ...]) -> None:
    with pytest.raises(AuthorityError):
        parse_trust(dump_record(Trust(roles=roles)))


def test_a_person_is_one_person_however_written() -> None:
    keys = (make_trusted_key("l1", person="Ann  Lee"), make_trusted_key("l2", person="ann lee"))
    twice = TrustedRole(role=Role.WATCHLIST, threshold=2, keys=keys)
    assert keys[0].person != keys[1].person == PersonName("ann lee")
    with pytest.raises(AuthorityError):
        parse_trust(dump_record(Trust(roles=(twice, make_trust().roles[1]))))


def test_a_model_that_is_not_the_pinned_one_is_not_loaded(tmp_path: Path) -> None:
    entry = load_manifest().models[0]
    model_path(tmp_path, entry).write_bytes(b"another model")
    with pytest.raises(ModelIntegrityError):
        load_model(tmp_path, entry)
