"""A real Mosquitto for the tests marked `broker`; not a fake, it only stands where tests find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import DependencyError
from appliance.records.broker import BrokerAccess
from drivers.mosquitto import BrokerIdentity, MosquittoProcess, MosquittoProgram, find_mosquitto

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "mosquitto"


def require_mosquitto() -> MosquittoProgram:
    """Return the program, fetched when needed, or skip the test where it cannot be had."""
    try:
        return find_mosquitto(CACHE)
    except DependencyError as err:
        pytest.skip(str(err))


def access_of(
    process: MosquittoProcess, identity: BrokerIdentity, *, password: str | None = None
) -> BrokerAccess:
    """Return how this identity reaches the broker."""
    return BrokerAccess(
        address=process.address,
        identifier=identity.name,
        username=identity.name,
        password=password or identity.password,
    )
