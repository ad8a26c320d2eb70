"""A USB camera by Video4Linux, by PyAV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from appliance.errors import CameraLostError, SourceRefusedError
from appliance.ports import Clock
from appliance.records.frames import PictureSize
from drivers.cameras.address import is_video_node
from drivers.cameras.live_stream import CODECS, OPEN_TIMEOUT_S, READ_TIMEOUT_S, LiveStream

if TYPE_CHECKING:
    from av.container import InputContainer

OpenDevice = Callable[[Path], "InputContainer"]


class UsbCamera:
    """Implement the Camera port on a video device; see LiveStream for what its errors mean.

    A device serves one process at a time: a second one is told that it is busy (CameraLostError). A device
    that hangs is not noticed here, because the kernel's wait cannot be broken off: the capture process's
    watch ends it.

    Args:
        device: `/dev/videoN`, or a link to one under /dev/v4l, which is followed when it is opened: a camera
            that was plugged in again may have another number.
        clock: For the time that a read may take.
        open_device: Opens it by PyAV; tests put a file in its place.
    """

    def __init__(self, device: Path, clock: Clock, open_device: OpenDevice | None = None) -> None:
        self._device = device
        opener = open_v4l2 if open_device is None else open_device
        self._stream = LiveStream(str(device), lambda: opener(device), clock)

    def open(self) -> None:
        """Open the device; see LiveStream. CameraLostError when it is not plugged in or in use."""
        self._stream.open()

    def read_into(self, slot: npt.NDArray[np.uint8] | None, timeout_s: float) -> PictureSize | None:
        """Decode the next picture into `slot` as RGB; see ports.Camera and LiveStream."""
        return self._stream.read_into(slot, timeout_s)

    def close(self) -> None:
        """Close the device."""
        self._stream.close()


def resolve_device(device: Path) -> Path:
    """Return the `/dev/videoN` that a device or a link names.

    Raises:
        CameraLostError: It is not there: not plugged in.
        SourceRefusedError: It leads to something else.
    """
    found = device.resolve()
    if is_video_node(found):
        return found
    if not found.exists():
        raise CameraLostError(f"{device}: no such camera: is it plugged in?")
    raise SourceRefusedError(f"{device} leads to {found}, which is no video device")


def open_v4l2(device: Path) -> InputContainer:
    """Open a video device by PyAV, its links followed; raises PyAV's errors and those of `resolve_device`."""
    import av

    return av.open(
        str(resolve_device(device)),
        mode="r",
        format="v4l2",
        options={"codec_whitelist": CODECS},
        timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S),
    )
