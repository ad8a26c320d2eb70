"""The vault: one sealed list, and the single-use key without which it is noise (never list 7).

Every act is announced in the durable state before it is done, so that `recover` can finish or undo it after
a power cut. Private halves of list keys live in the KeyStore alone; erasing destroys them first.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Protocol

from nacl.public import PrivateKey
from pydantic import Field

from appliance.errors import AuthorityError, ExpiredError, IntegrityError, RecordError, RollbackError
from appliance.ports import KeyStore
from appliance.records.deployment import Authorisation, ListKey
from appliance.records.ids import AuthorisationId, KeyId
from appliance.records.times import UtcTime
from appliance.records.watchlist import ListPacket, WatchlistHeader, WrappedListKey
from appliance.records.wire import dump_record, parse_record
from appliance.sealing import open_key

logger = logging.getLogger(__name__)
LIST_KEY_PREFIX = "list-"
MOST_LIST_KEYS = 1000
_LIMIT_BYTES = 64 * 1024


class ListStore(Protocol):
    """Keep lists and the vault's state on disk; see drivers/list_store.py. Thread: disk."""

    def load_state(self) -> bytes | None:
        """Return the state as last saved; None when there never was one."""

    def save_state(self, data: bytes) -> None:
        """Replace the state; when this returns, it survives a power cut."""

    def put(self, name: str, packet: ListPacket) -> None:
        """Copy a packet in under a name, all of it or nothing."""

    def load(self, name: str) -> ListPacket:
        """Return an installed packet; RecordError when it is not there."""

    def open_sealed(self, name: str) -> int:
        """Return a descriptor of a list's sealed content, for reading; the caller closes it."""

    def remove(self, name: str) -> None:
        """Remove a list, and what a killed `put` left of it."""

    def list_names(self) -> Sequence[str]:
        """Return the names under which something lies here, whole or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledList:
    """The list that the vault holds, and the deployment it may be opened for."""

    key_id: KeyId
    deployment_id: AuthorisationId
    version: int
    content_sha256: str
    ends_at: UtcTime


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultState:
    """What survives a power cut.

    `incoming` is a list whose files are being written; `erasing` are those whose keys must go, and may be
    half gone. `highest_version_seen` only rises and survives every erasure.
    """

    highest_version_seen: Annotated[int, Field(ge=0)] = 0
    current: InstalledList | None = None
    incoming: KeyId | None = None
    erasing: tuple[KeyId, ...] = ()


class Vault:
    """Keep one list, open it inside its authorisation only, erase it for good. Thread: disk.

    Args:
        keys: Where the single-use private keys are.
        store: Where the ciphertext and the state are.

    Raises:
        StorageError, KeyStoreError: From every method, when disk or key store fail.
        RecordError: From every method, when the saved state is damaged; nothing is opened then.
    """

    def __init__(self, keys: KeyStore, store: ListStore) -> None:
        self._keys = keys
        self._store = store

    @property
    def highest_version_seen(self) -> int:
        """Return the highest version of a list that was ever installed; 0 for none."""
        return self._load().highest_version_seen

    @property
    def installed(self) -> InstalledList | None:
        """Return what the vault holds."""
        return self._load().current

    def make_list_keys(self, n_keys: int) -> tuple[ListKey, ...]:
        """Make single-use keys and return their public halves, for ops."""
        if not 1 <= n_keys <= MOST_LIST_KEYS:
            raise RecordError(f"list keys: 1 to {MOST_LIST_KEYS} at a time")
        ids = [KeyId(LIST_KEY_PREFIX + secrets.token_hex(8)) for _ in range(n_keys)]
        return tuple(_public_of(key_id, self._keys.create(key_id)) for key_id in ids)

    def unused_list_keys(self) -> tuple[ListKey, ...]:
        """Return the public halves of the keys that no installed list uses."""
        current = self._load().current
        ids = [key_id for key_id in self._keys.list_ids() if key_id.startswith(LIST_KEY_PREFIX)]
        return tuple(
            _public_of(key_id, self._keys.load(key_id))
            for key_id in ids
            if current is None or key_id != current.key_id
        )

    def load_packet(self) -> ListPacket | None:
        """Return the installed packet as it was received, to be accepted anew; None when there is none."""
        current = self._load().current
        return None if current is None else self._store.load(current.key_id)

    def install(
        self, packet: ListPacket, header: WatchlistHeader, authorisation: Authorisation
    ) -> InstalledList:
        """Take in a list that was accepted, in place of the one before, whose key is destroyed.

        Args:
            packet: As received.
            header: What `accept_list` returned for this packet.
            authorisation: What `accept_authorisation` returned for this packet.

        Raises:
            RollbackError: Older than a list that was installed before.
            AuthorityError: Authorisation and header are for different lists, or its key is in use already.
            KeyStoreError: Sealed to a key that is not here: of another appliance, or used already.
            IntegrityError: The content key does not open, or belongs to another content.
        """
        self.recover()
        state = self._load()
        wrapped = parse_record(WrappedListKey, packet.key, limit_bytes=_LIMIT_BYTES)
        if state.current is not None and state.current.key_id == wrapped.key_id:
            return self._installed_again(state.current, packet)
        self._check_incoming(state, wrapped, header, authorisation)
        state = self._save(replace(state, incoming=wrapped.key_id))
        self._store.put(wrapped.key_id, packet)
        installed = InstalledList(
            key_id=wrapped.key_id,
            deployment_id=authorisation.authorisation_id,
            version=header.version,
            content_sha256=header.content_sha256,
            ends_at=authorisation.ends_at,
        )
        replaced = () if state.current is None else (state.current.key_id,)
        state = self._save(
            replace(
                state,
                highest_version_seen=max(state.highest_version_seen, header.version),
                current=installed,
                incoming=None,
                erasing=state.erasing + replaced,
            )
        )
        self._finish_erasing(state)
        logger.info("installed list version %d", header.version)
        return installed

    def open_for(
        self, authorisation: Authorisation, now: datetime, *, is_clock_trusted: bool
    ) -> tuple[bytes, int]:
        """Return the content key and a descriptor of the sealed content; the caller closes it.

        Nothing is decrypted here: that is the vision worker's to do.

        Args:
            authorisation: Accepted by `accept_authorisation`; its time is checked once more.

        Raises:
            ExpiredError: Outside the authorisation, or the clock is not trusted.
            AuthorityError: The vault holds no list, or one for another deployment.
            IntegrityError: The content key does not open.
        """
        if not is_clock_trusted:
            raise ExpiredError("vault: the clock is not trusted")
        if not authorisation.starts_at <= now < authorisation.ends_at:
            raise ExpiredError("vault: outside the authorisation's time")
        current = self._load().current
        if current is None:
            raise AuthorityError("vault: it holds no list")
        if (
            current.deployment_id != authorisation.authorisation_id
            or current.content_sha256 != authorisation.watchlist_sha256
            or now >= current.ends_at
        ):
            raise AuthorityError("vault: its list is for another deployment")
        packet = self._store.load(current.key_id)
        wrapped = parse_record(WrappedListKey, packet.key, limit_bytes=_LIMIT_BYTES)
        content_key = self._unwrap(wrapped, current.key_id, current.content_sha256)
        return content_key, self._store.open_sealed(current.key_id)

    def erase(self, deployment_id: AuthorisationId) -> bool:
        """Destroy a deployment's key, then its ciphertext; False when it is not the one that is here."""
        self.recover()
        state = self._load()
        if state.current is None or state.current.deployment_id != deployment_id:
            return False
        self._erase_current(state)
        return True

    def erase_if_over(self, now: datetime) -> bool:
        """Erase what is over; the first thing to do at power-on, before a network or a camera is there.

        A clock that is wrong and late erases too early, and ops publishes again; one that is wrong and early
        erases nothing, and then opens nothing either.
        """
        self.recover()
        state = self._load()
        if state.current is None or now < state.current.ends_at:
            return False
        self._erase_current(state)
        return True

    def recover(self) -> None:
        """Finish what a power cut interrupted: erasures are completed, half installations undone."""
        state = self._load()
        if state.incoming is not None:
            self._store.remove(state.incoming)
            state = self._save(replace(state, incoming=None))
        self._finish_erasing(state)
        kept = None if state.current is None else state.current.key_id
        for name in self._store.list_names():
            if name != kept:  # no state knows it
                self._store.remove(name)

    def _erase_current(self, state: VaultState) -> None:
        assert state.current is not None
        version = state.current.version
        erasing = (*state.erasing, state.current.key_id)
        self._finish_erasing(self._save(replace(state, current=None, erasing=erasing)))
        logger.info("erased list version %d", version)

    def _finish_erasing(self, state: VaultState) -> None:
        for key_id in state.erasing:
            self._keys.destroy(key_id)  # first: without it the rest is noise
            self._store.remove(key_id)
        if state.erasing:
            self._save(replace(state, erasing=()))

    def _check_incoming(
        self,
        state: VaultState,
        wrapped: WrappedListKey,
        header: WatchlistHeader,
        authorisation: Authorisation,
    ) -> None:
        if header.version < state.highest_version_seen:
            raise RollbackError(f"vault: version {header.version} is older than {state.highest_version_seen}")
        if authorisation.watchlist_sha256 != header.content_sha256:
            raise AuthorityError("vault: the authorisation is for another list")
        if not wrapped.key_id.startswith(LIST_KEY_PREFIX):
            raise AuthorityError("vault: sealed to a key that is not a list key")
        self._unwrap(wrapped, wrapped.key_id, header.content_sha256)

    def _unwrap(self, wrapped: WrappedListKey, key_id: KeyId, content_sha256: str) -> bytes:
        if wrapped.key_id != key_id or wrapped.content_sha256 != content_sha256:
            raise IntegrityError("vault: the content key belongs to another list")
        try:
            sealed = base64.b64decode(wrapped.sealed_key_base64, validate=True)
        except ValueError:
            raise IntegrityError("vault: the sealed content key is not base64") from None
        return open_key(sealed, self._keys.load(key_id))

    def _installed_again(self, current: InstalledList, packet: ListPacket) -> InstalledList:
        kept = self._store.load(current.key_id)
        if (kept.header, kept.authorisation, kept.key) != (packet.header, packet.authorisation, packet.key):
            raise AuthorityError("vault: another publication used this list key already")
        return current

    def _load(self) -> VaultState:
        data = self._store.load_state()
        return VaultState() if data is None else parse_record(VaultState, data, limit_bytes=_LIMIT_BYTES)

    def _save(self, state: VaultState) -> VaultState:
        self._store.save_state(dump_record(state))
        return state


def _public_of(key_id: KeyId, private: bytes) -> ListKey:
    return ListKey(key_id=key_id, public_key_hex=bytes(PrivateKey(private).public_key).hex())
