"""What a production profile refuses, whatever is signed (never list 2); no I/O."""

from __future__ import annotations

import ipaddress
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
    if host.lower().rstrip(".") in ("localhost", "localhost.localdomain", "ip6-localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)
