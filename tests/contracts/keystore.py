"""What every KeyStore must do, the file store and the TPM's alike. Subclass it and give `keys`."""

from __future__ import annotations

import pytest

from appliance.errors import KeyStoreError
from appliance.ports import KeyStore
from appliance.records.ids import KeyId

ONE, OTHER = KeyId("one"), KeyId("other-2_B")


class KeyStoreContract:
    """The tests; a subclass has a fixture `keys` that gives an empty store."""

    def test_created_secret_is_32_random_bytes(self, keys: KeyStore) -> None:
        one, other = keys.create(ONE), keys.create(OTHER)
        assert len(one) == len(other) == 32
        assert one != other

    def test_secret_is_loaded_as_created(self, keys: KeyStore) -> None:
        assert keys.create(ONE) == keys.load(ONE)

    def test_taken_name_is_refused_and_kept(self, keys: KeyStore) -> None:
        secret = keys.create(ONE)
        with pytest.raises(KeyStoreError):
            keys.create(ONE)
        assert keys.load(ONE) == secret

    def test_missing_secret_is_refused(self, keys: KeyStore) -> None:
        with pytest.raises(KeyStoreError):
            keys.load(ONE)

    def test_destroyed_secret_is_gone(self, keys: KeyStore) -> None:
        keys.create(ONE)
        kept = keys.create(OTHER)
        keys.destroy(ONE)
        with pytest.raises(KeyStoreError):
            keys.load(ONE)
        assert keys.load(OTHER) == kept
        assert list(keys.list_ids()) == [OTHER]

    def test_name_of_a_destroyed_secret_gives_another(self, keys: KeyStore) -> None:
        secret = keys.create(ONE)
        keys.destroy(ONE)
        assert keys.create(ONE) != secret

    def test_destroying_what_is_missing_does_nothing(self, keys: KeyStore) -> None:
        keys.destroy(ONE)
        assert list(keys.list_ids()) == []

    def test_names_are_sorted(self, keys: KeyStore) -> None:
        for name in ("b", "a", "c"):
            keys.create(KeyId(name))
        assert list(keys.list_ids()) == ["a", "b", "c"]

    @pytest.mark.parametrize("name", ["", "../one", "a/b", ".hidden", "a b", "x" * 65, "a\n"])
    def test_name_that_is_no_id_is_refused(self, keys: KeyStore, name: str) -> None:
        for act in (keys.create, keys.load, keys.destroy):
            with pytest.raises(KeyStoreError):
                act(KeyId(name))
