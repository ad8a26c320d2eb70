"""Make central ops' keys, and the file that says who may sign what."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from appliance.deployment.authority import parse_trust
from appliance.deployment.identity import make_signer, public_key_hex
from appliance.errors import UsageError
from appliance.records.deployment import Role, Trust, TrustedKey, TrustedRole
from appliance.records.ids import KeyId, PersonName
from appliance.records.wire import dump_record
from drivers.keystore_file import FileKeyStore
from provisioning.ops.folder import OpsFolder, OpsSigner, OpsSigners, OpsState, as_storage_error

THRESHOLD = 2
DEFAULT_LIST_SIGNERS = ("Lister A", "Lister B", "Lister C")
DEFAULT_AUTHORISERS = ("Authoriser A", "Authoriser B", "Authoriser C")


def init_ops(
    path: Path,
    *,
    is_development: bool,
    list_signers: Sequence[str] = DEFAULT_LIST_SIGNERS,
    authorisers: Sequence[str] = DEFAULT_AUTHORISERS,
) -> OpsFolder:
    """Make ops' folder with a key for each person and the trust file.

    Args:
        path: Made if missing; must be empty.
        is_development: Private keys are kept without a passphrase. Nothing else is there yet.
        list_signers, authorisers: Different persons; two of each must sign.

    Raises:
        UsageError: The folder is in use, or keys without a passphrase were not agreed to.
        AuthorityError: A person is in both roles, or there are fewer than two in one.
    """
    if not is_development:
        raise UsageError("keys under a passphrase are not there yet; `--development` makes keys without one")
    with as_storage_error(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise UsageError(f"{path}: not empty")
        path.chmod(0o700)
    people = {Role.WATCHLIST: tuple(list_signers), Role.AUTHORISATION: tuple(authorisers)}
    signers = tuple(
        OpsSigner(person=PersonName(person), role=role, key_id=_key_id(role, number, person))
        for role, persons in people.items()
        for number, person in enumerate(persons, start=1)
    )
    keys = FileKeyStore(path / "keys")
    public = {signer.key_id: public_key_hex(make_signer(keys, signer.key_id)) for signer in signers}
    trust = Trust(roles=tuple(_role(role, signers, public) for role in Role))
    parse_trust(dump_record(trust))  # what an appliance would refuse is not made
    state = OpsState(is_development=is_development)
    return OpsFolder.create(path, trust=trust, signers=OpsSigners(signers=signers), state=state)


def trust_sha256(ops: OpsFolder) -> str:
    """Return what the technician pins in an appliance's configuration."""
    return hashlib.sha256(ops.trust_path.read_bytes()).hexdigest()


def _role(role: Role, signers: Sequence[OpsSigner], public: dict[KeyId, str]) -> TrustedRole:
    keys = tuple(
        TrustedKey(key_id=signer.key_id, person=signer.person, public_key_hex=public[signer.key_id])
        for signer in signers
        if signer.role is role
    )
    return TrustedRole(role=role, threshold=THRESHOLD, keys=keys)


def _key_id(role: Role, number: int, person: str) -> KeyId:
    name = re.sub(r"[^A-Za-z0-9]+", "-", person).strip("-").lower()[:40]
    return KeyId(f"{role.value}-{number}-{name}".rstrip("-"))
