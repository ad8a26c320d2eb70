"""The vault: opens inside its authorisation only, survives power cuts, forgets for good."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.deployment.vault import LIST_KEY_PREFIX, Vault, VaultState
from appliance.errors import (
    AuthorityError,
    ExpiredError,
    IntegrityError,
    KeyStoreError,
    RecordError,
    RollbackError,
)
from appliance.records.deployment import ListKey
from appliance.records.ids import AuthorisationId, KeyId
from appliance.records.watchlist import WrappedListKey
from appliance.records.wire import dump_record, parse_record
from appliance.sealing import open_key
from appliance.watchlist.content import open_content
from drivers.keystore_file import FileKeyStore
from drivers.list_store import FileListStore
from tests.fakes.clock import START
from tests.fakes.dying import DyingKeyStore, DyingListStore, PowerCutError, PowerSupply
from tests.fakes.lists import MadePacket, make_packet


def open_vault(folder: Path) -> Vault:
    return Vault(FileKeyStore(folder / "keys"), FileListStore(folder / "vault"))


def install(vault: Vault, made: MadePacket) -> None:
    vault.install(made.packet, made.header, made.authorisation)


def open_list(vault: Vault, made: MadePacket) -> bytes:
    key, descriptor = vault.open_for(made.authorisation, START, is_clock_trusted=True)
    with os.fdopen(descriptor, "rb") as file:
        return open_content(file.read(), key, made.header.content_sha256)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return open_vault(tmp_path)


@pytest.fixture
def list_keys(vault: Vault) -> tuple[ListKey, ...]:
    return vault.make_list_keys(4)


@pytest.fixture
def made(tmp_path: Path, list_keys: tuple[ListKey, ...]) -> MadePacket:
    return make_packet(tmp_path, list_keys[0])


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_installed_list_opens(vault: Vault, made: MadePacket, tmp_path: Path) -> None:
    install(vault, made)
    assert open_list(vault, made) == made.content
    assert vault.highest_version_seen == 3
    packet = open_vault(tmp_path).load_packet()
    assert packet is not None
    assert (packet.header, packet.authorisation) == (made.packet.header, made.packet.authorisation)
    assert open_list(open_vault(tmp_path), made) == made.content  # after a restart


def test_list_files_are_for_their_owner_alone(vault: Vault, made: MadePacket, tmp_path: Path) -> None:
    install(vault, made)
    for path in (tmp_path / "vault").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_content_key_is_never_on_disk(vault: Vault, made: MadePacket, tmp_path: Path) -> None:
    install(vault, made)
    open_list(vault, made)
    assert made.content_key not in all_bytes(tmp_path)


def test_vault_opens_inside_the_time_only(vault: Vault, made: MadePacket) -> None:
    install(vault, made)
    starts_at, ends_at = made.authorisation.starts_at, made.authorisation.ends_at
    for now in (starts_at - timedelta(seconds=1), ends_at, ends_at + timedelta(days=1)):
        with pytest.raises(ExpiredError):
            vault.open_for(made.authorisation, now, is_clock_trusted=True)
    os.close(vault.open_for(made.authorisation, starts_at, is_clock_trusted=True)[1])


def test_vault_opens_with_a_trusted_clock_only(vault: Vault, made: MadePacket) -> None:
    install(vault, made)
    with pytest.raises(ExpiredError, match="clock"):
        vault.open_for(made.authorisation, START, is_clock_trusted=False)


def test_vault_opens_for_its_own_authorisation_only(vault: Vault, made: MadePacket) -> None:
    with pytest.raises(AuthorityError, match="no list"):
        open_list(vault, made)
    install(vault, made)
    for other in (
        replace(made.authorisation, authorisation_id=AuthorisationId("auth-2")),
        replace(made.authorisation, watchlist_sha256="0" * 64),
    ):
        with pytest.raises(AuthorityError, match="another deployment"):
            vault.open_for(other, START, is_clock_trusted=True)


def test_longer_authorisation_of_the_same_name_does_not_lengthen_the_list(
    vault: Vault, made: MadePacket
) -> None:
    install(vault, made)
    longer = replace(made.authorisation, ends_at=made.authorisation.ends_at + timedelta(hours=2))
    with pytest.raises(AuthorityError):
        vault.open_for(longer, made.authorisation.ends_at, is_clock_trusted=True)


def test_after_erasing_everything_together_opens_nothing(
    vault: Vault, made: MadePacket, tmp_path: Path
) -> None:
    packet_key, sealed = made.packet.key, made.packet.sealed_content.read_bytes()
    install(vault, made)
    assert vault.erase(made.authorisation.authorisation_id)
    wrapped = parse_record(WrappedListKey, packet_key, limit_bytes=10_000)
    # what is left: the disk, the packet, and every other key of the appliance
    keys = FileKeyStore(tmp_path / "keys")
    assert wrapped.key_id not in keys.list_ids()
    for key_id in keys.list_ids():
        with pytest.raises(IntegrityError):
            open_key(base64.b64decode(wrapped.sealed_key_base64), keys.load(key_id))
        with pytest.raises(IntegrityError):
            open_content(sealed, keys.load(key_id), made.header.content_sha256)
    assert sealed[:64] not in all_bytes(tmp_path / "vault")
    with pytest.raises(KeyStoreError):
        install(vault, made)  # the very same packet never opens again
    with pytest.raises(AuthorityError):
        open_list(vault, made)


def test_copied_ciphertext_without_its_key_opens_nothing(
    vault: Vault, made: MadePacket, tmp_path: Path
) -> None:
    install(vault, made)
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "vault").rglob("*"):
        if path.is_file():
            (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    vault.erase(made.authorisation.authorisation_id)
    (tmp_path / "vault" / "state.json").write_bytes((tmp_path / "copy" / "state.json").read_bytes())
    restored = (
        tmp_path / "vault" / "lists" / parse_record(WrappedListKey, made.packet.key, limit_bytes=9999).key_id
    )
    restored.mkdir()
    for path in (tmp_path / "copy").iterdir():
        (restored / path.name).write_bytes(path.read_bytes())
    with pytest.raises(KeyStoreError):
        open_list(open_vault(tmp_path), made)


def test_erasing_another_deployment_touches_nothing(vault: Vault, made: MadePacket) -> None:
    install(vault, made)
    assert not vault.erase(AuthorisationId("auth-2"))
    assert open_list(vault, made) == made.content


def test_power_on_after_the_end_erases(vault: Vault, made: MadePacket, tmp_path: Path) -> None:
    install(vault, made)
    assert not open_vault(tmp_path).erase_if_over(made.authorisation.ends_at - timedelta(seconds=1))
    assert open_list(vault, made) == made.content
    assert open_vault(tmp_path).erase_if_over(made.authorisation.ends_at)
    assert vault.installed is None
    assert list((tmp_path / "vault" / "lists").iterdir()) == []


def test_highest_version_survives_erasing(vault: Vault, made: MadePacket, tmp_path: Path) -> None:
    install(vault, made)
    vault.erase(made.authorisation.authorisation_id)
    assert open_vault(tmp_path).highest_version_seen == 3


def test_older_version_is_refused_after_erasing(
    vault: Vault, made: MadePacket, list_keys: tuple[ListKey, ...], tmp_path: Path
) -> None:
    install(vault, made)
    vault.erase(made.authorisation.authorisation_id)
    with pytest.raises(RollbackError):
        install(vault, make_packet(tmp_path, list_keys[1], version=2, name="auth-2"))
    install(vault, make_packet(tmp_path, list_keys[1], version=3, name="auth-2"))


def test_newer_list_destroys_the_key_of_the_one_before(
    vault: Vault, made: MadePacket, list_keys: tuple[ListKey, ...], tmp_path: Path
) -> None:
    install(vault, made)
    newer = make_packet(tmp_path, list_keys[1], version=4, name="auth-2", n_entries=3)
    install(vault, newer)
    assert open_list(vault, newer) == newer.content
    assert list_keys[0].key_id not in FileKeyStore(tmp_path / "keys").list_ids()
    assert [path.name for path in (tmp_path / "vault" / "lists").iterdir()] == [list_keys[1].key_id]


def test_installing_the_same_packet_again_changes_nothing(vault: Vault, made: MadePacket) -> None:
    install(vault, made)
    install(vault, made)
    assert open_list(vault, made) == made.content


def test_list_key_is_used_once(
    vault: Vault, made: MadePacket, list_keys: tuple[ListKey, ...], tmp_path: Path
) -> None:
    install(vault, made)
    assert list_keys[0] not in vault.unused_list_keys()
    with pytest.raises(AuthorityError, match="list key already"):
        install(vault, make_packet(tmp_path, list_keys[0], version=4, name="auth-2"))


def change_key(made: MadePacket, **changes: str) -> MadePacket:
    wrapped = parse_record(WrappedListKey, made.packet.key, limit_bytes=10_000)
    return replace(made, packet=replace(made.packet, key=dump_record(replace(wrapped, **changes))))  # type: ignore[arg-type]  # text


def test_packet_for_another_key_is_refused(
    vault: Vault, made: MadePacket, list_keys: tuple[ListKey, ...]
) -> None:
    with pytest.raises(IntegrityError, match="another reader"):
        install(vault, change_key(made, key_id=list_keys[1].key_id))
    with pytest.raises(KeyStoreError):
        install(vault, change_key(made, key_id=LIST_KEY_PREFIX + "nobody"))
    with pytest.raises(AuthorityError):
        install(vault, change_key(made, key_id="appliance-signing"))
    with pytest.raises(IntegrityError):
        install(vault, change_key(made, content_sha256="0" * 64))
    with pytest.raises(IntegrityError):
        install(vault, change_key(made, sealed_key_base64="!"))
    assert vault.installed is None


def test_authorisation_for_another_list_is_refused(vault: Vault, made: MadePacket) -> None:
    other = replace(made.authorisation, watchlist_sha256="0" * 64)
    with pytest.raises(AuthorityError):
        vault.install(made.packet, made.header, other)


def test_damaged_state_opens_nothing(vault: Vault, made: MadePacket, tmp_path: Path) -> None:
    install(vault, made)
    for damage in (b"", b"{}x", b'{"highest_version_seen": -1}'):
        (tmp_path / "vault" / "state.json").write_bytes(damage)
        with pytest.raises(RecordError):
            open_list(vault, made)


def test_number_of_list_keys_is_bounded(vault: Vault) -> None:
    for n_keys in (0, -1, 1001):
        with pytest.raises(RecordError):
            vault.make_list_keys(n_keys)


Act = Callable[[Vault, MadePacket, MadePacket], None]


def cut_everywhere(tmp_path: Path, act: Act, check: Act) -> int:
    """Cut the power before and after every step of `act`, start again, and check; return the steps."""
    n_acts = 0
    for is_after in (False, True):
        for cut_at in range(1, 100):
            folder = tmp_path / f"{is_after}-{cut_at}"
            folder.mkdir()
            keys = open_vault(folder).make_list_keys(2)
            old = make_packet(folder, keys[0], version=3, name="old")
            new = make_packet(folder, keys[1], version=4, name="new", n_entries=3)
            install(open_vault(folder), old)
            power = PowerSupply()
            power.cut_at, power.is_after = cut_at, is_after
            dying = Vault(
                DyingKeyStore(FileKeyStore(folder / "keys"), power), DyingListStore(folder / "vault", power)
            )
            try:
                act(dying, old, new)
            except PowerCutError:
                vault = open_vault(folder)
                vault.recover()
                check(vault, old, new)
                names = [path.name for path in (folder / "vault" / "lists").iterdir()]
                assert len(names) <= 1, "something is left over"
                continue
            n_acts = cut_at - 1
            break
    return n_acts


def test_power_cut_while_installing_leaves_the_old_or_the_new_list_whole(tmp_path: Path) -> None:
    def check(vault: Vault, old: MadePacket, new: MadePacket) -> None:
        installed = vault.installed
        assert installed is not None
        kept, other = (new, old) if installed.version == 4 else (old, new)
        assert open_list(vault, kept) == kept.content
        with pytest.raises(AuthorityError):
            open_list(vault, other)
        if kept is old:
            install(vault, new)  # its key was not lost
            assert open_list(vault, new) == new.content

    assert cut_everywhere(tmp_path, lambda vault, old, new: install(vault, new), check) >= 6


def test_power_cut_while_erasing_leaves_it_whole_or_erases_it_at_power_on(tmp_path: Path) -> None:
    def erase(vault: Vault, old: MadePacket, new: MadePacket) -> None:
        assert vault.erase(old.authorisation.authorisation_id)

    def check(vault: Vault, old: MadePacket, new: MadePacket) -> None:
        if vault.installed is not None:
            assert open_list(vault, old) == old.content
            return
        with pytest.raises(KeyStoreError):
            install(vault, old)
        assert vault.highest_version_seen == 3

    assert cut_everywhere(tmp_path, erase, check) >= 4


def test_key_is_destroyed_before_the_ciphertext(tmp_path: Path) -> None:
    keys = open_vault(tmp_path).make_list_keys(1)
    made = make_packet(tmp_path, keys[0])
    install(open_vault(tmp_path), made)
    power = PowerSupply()
    store = DyingListStore(tmp_path / "vault", power)
    dying = Vault(DyingKeyStore(FileKeyStore(tmp_path / "keys"), power), store)
    power.cut_at, power.is_after = 2, True  # 1: the state; 2: the first thing to go
    with pytest.raises(PowerCutError):
        dying.erase(made.authorisation.authorisation_id)
    assert KeyId(keys[0].key_id) not in FileKeyStore(tmp_path / "keys").list_ids()
    assert store.list_names() == [keys[0].key_id]


def test_state_names_the_list_before_a_byte_of_it_is_written(tmp_path: Path) -> None:
    keys = open_vault(tmp_path).make_list_keys(1)
    made = make_packet(tmp_path, keys[0])
    power = PowerSupply()
    power.cut_at, power.is_after = 2, True  # 1: the state; 2: a half written folder
    dying = Vault(
        DyingKeyStore(FileKeyStore(tmp_path / "keys"), power), DyingListStore(tmp_path / "vault", power)
    )
    with pytest.raises(PowerCutError):
        install(dying, made)
    state = parse_record(VaultState, (tmp_path / "vault" / "state.json").read_bytes(), limit_bytes=10_000)
    assert state.incoming == keys[0].key_id
    assert open_vault(tmp_path).installed is None
