"""Open what an address names; the one place that knows which adapter serves which kind of camera."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from appliance.ports import Camera, Clock
from drivers.cameras.address import parse_address
from drivers.cameras.file_camera import FileCamera
from drivers.cameras.jetson_camera import JetsonCamera
from drivers.cameras.rtsp_camera import RtspCamera
from drivers.cameras.usb_camera import UsbCamera

PlayRate = Literal["real", "fast"]
"""`real`: a file plays at its own pace, as a camera would; `fast`: as fast as it decodes."""
Decoder = Literal["software", "hardware"]
"""Who decodes rtsp and usb cameras; a file is always decoded in software, a CSI sensor never."""


def open_camera(source: str, rate: PlayRate, clock: Clock, decoder: Decoder = "software") -> Camera:
    """Return the camera that `source` names, not opened yet.

    Raises:
        SourceRefusedError: The address is not allowed.
    """
    address = parse_address(source)
    if address.kind == "file":
        return FileCamera(Path(address.target), rate, clock)
    if address.kind == "csi" or decoder == "hardware":
        return JetsonCamera(address)
    if address.kind == "rtsp":
        return RtspCamera(address.target, clock)
    return UsbCamera(Path(address.target), clock)
