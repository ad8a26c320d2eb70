"""Secrets as files: the contract, and modes."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import KeyStoreError, StorageError
from appliance.records.ids import KeyId
from drivers.keystore_file import FileKeyStore
from tests.contracts.keystore import ONE, KeyStoreContract


@pytest.fixture
def keys(tmp_path: Path) -> FileKeyStore:
    return FileKeyStore(tmp_path / "keys")


class TestFileKeyStore(KeyStoreContract):
    """The contract, on files."""


def test_folder_and_files_are_for_their_owner_alone(tmp_path: Path, keys: FileKeyStore) -> None:
    keys.create(ONE)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keys" / "one").stat().st_mode & 0o777 == 0o600


def test_file_open_to_others_is_refused(tmp_path: Path, keys: FileKeyStore) -> None:
    keys.create(ONE)
    (tmp_path / "keys" / "one").chmod(0o640)
    with pytest.raises(KeyStoreError, match="open to others"):
        keys.load(ONE)


def test_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o750)
    with pytest.raises(KeyStoreError, match="open to others"):
        FileKeyStore(tmp_path / "keys")


def test_link_in_place_of_folder_is_refused(tmp_path: Path, keys: FileKeyStore) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "keys")
    with pytest.raises(KeyStoreError, match="plain folder"):
        FileKeyStore(tmp_path / "link")


def test_link_in_place_of_secret_is_refused(tmp_path: Path, keys: FileKeyStore) -> None:
    keys.create(ONE)
    (tmp_path / "keys" / "two").symlink_to(tmp_path / "keys" / "one")
    with pytest.raises(KeyStoreError):
        keys.load(KeyId("two"))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_secret_of_another_length_is_refused(tmp_path: Path, keys: FileKeyStore, length: int) -> None:
    keys.create(ONE)
    (tmp_path / "keys" / "one").write_bytes(bytes(length))
    with pytest.raises(KeyStoreError, match="32 bytes"):
        keys.load(ONE)


def test_destroy_overwrites_before_it_unlinks(tmp_path: Path, keys: FileKeyStore) -> None:
    secret = keys.create(ONE)
    (tmp_path / "kept").hardlink_to(tmp_path / "keys" / "one")
    keys.destroy(ONE)
    assert secret not in (tmp_path / "kept").read_bytes()


def test_secret_whose_creation_was_cut_short_does_not_exist(tmp_path: Path, keys: FileKeyStore) -> None:
    (tmp_path / "keys" / ".one").write_bytes(b"half")
    assert list(keys.list_ids()) == []
    assert len(keys.create(ONE)) == 32
    assert not (tmp_path / "keys" / ".one").exists()


def test_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        FileKeyStore(tmp_path / "file" / "keys")
