"""What a production profile refuses, whatever is signed (never list 2); no I/O."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping

from appliance.errors import AuthorityError
from appliance.records.deployment import Profile
from appliance.records.ids import CameraId

LIVE_KINDS = frozenset({"rtsp", "usb", "csi"})


def refuse_unfit(
    profile: Profile,
    *,
    camera_kinds: Mapping[CameraId, str],
    camera_hosts: Mapping[CameraId, str | None],
    pair: str,
    is_pair_production: bool,
) -> None:
    """Refuse files, streams from this machine and the demonstration's networks in production.

    Recognition on recorded pictures is what a live system must not be turned into: whoever could feed it a
    file could search old footage for anybody on the list.

    Args:
        camera_kinds: Each camera's kind of source.
        camera_hosts: Each camera's host, None where it has none.

    Raises:
        AuthorityError: With the camera or the pair that is refused.
    """
    if profile is not Profile.PRODUCTION:
        return
    for camera_id, kind in camera_kinds.items():
        if kind not in LIVE_KINDS:
            raise AuthorityError(f"camera {camera_id}: a {kind} is refused in production: live cameras only")
        if _is_this_machine(camera_hosts[camera_id]):
            raise AuthorityError(f"camera {camera_id}: a stream from this machine is refused in production")
    if not is_pair_production:
        raise AuthorityError(f"models.pair: {pair} is for demonstration and development only")


def _is_this_machine(host: str | None) -> bool:
    if host is None:
        return False
    name = host.lower().rstrip(".")
    if name in ("localhost", "localhost.localdomain", "ip6-localhost") or name.endswith(".localhost"):
        return True
    address = _address_of(name)
    if address is None:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    try:
        # The C library also takes 127.1, 2130706433 and 0x7f.0.0.1, and so does whoever opens the stream.
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except OSError:
        return None
