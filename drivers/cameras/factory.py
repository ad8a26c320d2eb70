"""Open what an address names; the one place that knows which adapter serves which kind of camera."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from appliance.errors import SourceRefusedError
from appliance.ports import Camera, Clock
from drivers.cameras.address import CameraAddress, CameraKind, parse_address, public_address
from drivers.cameras.file_camera import FileCamera

PlayRate = Literal["real", "fast"]
"""`real`: a file plays at its own pace, as a camera would; `fast`: as fast as it decodes."""
_Maker = Callable[[CameraAddress, PlayRate, Clock], Camera]


def open_camera(source: str, rate: PlayRate, clock: Clock) -> Camera:
    """Return the camera that `source` names, not opened yet.

    Raises:
        SourceRefusedError: The address is not allowed, or this version has no adapter for its kind.
    """
    address = parse_address(source)
    maker = _MAKERS.get(address.kind)
    if maker is None:
        raise SourceRefusedError(
            f"{public_address(source)}: this version opens {', '.join(sorted(_MAKERS))} cameras only"
        )
    return maker(address, rate, clock)


def _file_camera(address: CameraAddress, rate: PlayRate, clock: Clock) -> Camera:
    return FileCamera(Path(address.target), rate, clock)


_MAKERS: dict[CameraKind, _Maker] = {"file": _file_camera}
