"""How to reach an MQTT broker, and as whom."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAccess:
    """A broker's address and who connects to it.

    `address` is `host:port` (`[::1]:1883` for an IPv6 host). `identifier` names the session, which the broker
    keeps for `session_expiry_s` after the link ends; a second link of the same identifier ends the first. A
    password is for development on loopback; elsewhere `ca_file`, `certificate_file` and `key_file` (PEM) turn
    TLS on, and the certificate is the identity.
    """

    address: str
    identifier: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    session_expiry_s: int = 86_400
