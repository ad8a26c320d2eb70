"""A key store and a list store that lose power before or after a chosen act."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from appliance.ports import KeyStore
from appliance.records.ids import KeyId
from appliance.records.watchlist import ListPacket
from drivers.list_store import FileListStore

ResultT = TypeVar("ResultT")


class PowerCutError(BaseException):
    """Not an Exception: nothing may catch it and tidy up."""


class PowerSupply:
    """Count the acts that change something; cut the power at one of them."""

    def __init__(self) -> None:
        self.n_acts = 0
        self.cut_at: int | None = None
        self.is_after = False

    def act(self, call: Callable[[], ResultT]) -> ResultT:
        self.n_acts += 1
        is_now = self.n_acts == self.cut_at
        if is_now and not self.is_after:
            raise PowerCutError
        result = call()
        if is_now:
            raise PowerCutError
        return result


class DyingKeyStore:
    """Implement the KeyStore port on another one."""

    def __init__(self, keys: KeyStore, power: PowerSupply) -> None:
        self._keys, self._power = keys, power

    def create(self, key_id: KeyId) -> bytes:
        return self._power.act(lambda: self._keys.create(key_id))

    def load(self, key_id: KeyId) -> bytes:
        return self._keys.load(key_id)

    def destroy(self, key_id: KeyId) -> None:
        self._power.act(lambda: self._keys.destroy(key_id))

    def list_ids(self) -> Sequence[KeyId]:
        return self._keys.list_ids()


class DyingListStore:
    """Implement the vault's ListStore; a `put` that is cut short leaves a half written folder aside."""

    def __init__(self, folder: Path, power: PowerSupply) -> None:
        self._folder, self._store, self._power = folder, FileListStore(folder), power

    def load_state(self) -> bytes | None:
        return self._store.load_state()

    def save_state(self, data: bytes) -> None:
        self._power.act(lambda: self._store.save_state(data))

    def put(self, name: str, packet: ListPacket) -> None:
        self._power.act(lambda: self._leave_half(name))
        self._power.act(lambda: self._store.put(name, packet))

    def load(self, name: str) -> ListPacket:
        return self._store.load(name)

    def open_sealed(self, name: str) -> int:
        return self._store.open_sealed(name)

    def remove(self, name: str) -> None:
        self._power.act(lambda: self._store.remove(name))

    def list_names(self) -> Sequence[str]:
        return self._store.list_names()

    def _leave_half(self, name: str) -> None:
        aside = self._folder / "lists" / f".partial-{name}"
        aside.mkdir(mode=0o700)
        (aside / "watchlist.sealed").write_bytes(b"half")
