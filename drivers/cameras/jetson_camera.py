"""Cameras by NVIDIA's jetson_utils: CSI sensors, and decoding by the board's hardware.

Nothing here ran on a Jetson: it was written from the library's source, and the tests run it on a fake that
behaves as that source says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.errors import (
    CameraError,
    CameraLostError,
    CameraStalledError,
    DependencyError,
    SourceRefusedError,
)
from appliance.records.frames import PictureSize
from drivers.cameras.address import CameraAddress, has_launch_characters, public_address
from drivers.cameras.picture import check_room
from drivers.cameras.usb_camera import resolve_device

LATENCY_MS = 150
"""How long RTSP packets wait for their order: IP cameras want 100 to 200, jetson_utils' own is 10."""
FIRST_PICTURE_S = 5.0
LONGEST_SILENCE_S = 1.0
_N_BUFFERS = 4


class JetsonCamera:
    """Implement the Camera port on `jetson_utils.videoSource`. Thread: one, for all methods.

    A stream that broke does not say so: Capture gives None for ever. So silence is added up, and more than
    1 s of it is CameraStalledError (before the first picture 5 s, CameraLostError). Opening again would leak:
    the process has to end.

    The library's ring of four pictures is overwritten by the fourth capture after: each is copied into the
    slot at once, and zeroed. What the decoder itself remembers ends with the process.

    The library writes addresses, passwords included, to standard output: from `open` to `close` that goes
    nowhere.

    Args:
        address: A CSI, RTSP or USB camera, judged by `parse_address`.
        latency_ms: Of RTSP.
    """

    def __init__(self, address: CameraAddress, *, latency_ms: int = LATENCY_MS) -> None:
        self._address, self._latency_ms = address, latency_ms
        self._name = f"csi://{address.target}" if address.kind == "csi" else public_address(address.target)
        self._jetson: Any = None
        self._source: Any = None
        self._kept_stdout: int | None = None
        self._has_picture = False
        self._silent_s = 0.0

    def open(self) -> None:
        """Make the source; the library connects at the first capture.

        Raises:
            DependencyError: jetson_utils is not there, or another package goes by its name.
            SourceRefusedError: The address may not go into a GStreamer launch string.
            CameraLostError: The library could not make the source.
        """
        uri = self._uri()
        self._jetson = _load_jetson_utils()
        self._silence()
        options = {"latency": self._latency_ms, "numBuffers": _N_BUFFERS, "zeroCopy": True}
        try:
            self._source = self._jetson.videoSource(uri, options=options)
        except Exception as err:  # the library raises nothing more exact
            raise CameraLostError(f"{self._name}: cannot be opened") from err

    def read_into(self, slot: npt.NDArray[np.uint8] | None, timeout_s: float) -> PictureSize | None:
        """Copy the next picture into `slot`; see ports.Camera.

        Raises:
            CameraStalledError: More than 1 s without a picture.
            CameraLostError: No first picture within 5 s, an error, or the other side ended the stream.
        """
        if self._source is None:
            raise CameraLostError(f"{self._name}: is closed")
        try:
            image = self._source.Capture(format="rgb8", timeout=max(1, round(timeout_s * 1000)))
        except Exception as err:  # an error and the end of the stream are the same bare Exception
            raise self._broken() from err
        if image is None:
            self._note_silence(timeout_s)
            return None
        self._has_picture, self._silent_s = True, 0.0
        return self._take(image, slot)

    def close(self) -> None:
        """Close the source, on the thread that read it."""
        source, self._source = self._source, None
        if source is not None:
            source.Close()
        del source
        self._speak()

    def _take(self, image: Any, slot: npt.NDArray[np.uint8] | None) -> PictureSize:
        pixels = self._pixels_of(image)
        height_px, width_px = pixels.shape[:2]
        size = PictureSize(width_px=width_px, height_px=height_px)
        try:
            check_room(size, slot)
            if slot is not None:
                np.copyto(slot[: pixels.size].reshape(height_px, width_px, 3), pixels)
        finally:
            pixels.fill(0)
        return size

    def _pixels_of(self, image: Any) -> npt.NDArray[np.uint8]:
        try:
            self._jetson.cudaDeviceSynchronize()  # the conversion to RGB is only queued yet
            pixels: npt.NDArray[np.uint8] = self._jetson.cudaToNumpy(image)  # an alias, not a copy
        except Exception as err:  # the library raises nothing more exact
            raise CameraLostError(f"{self._name}: the picture cannot be read") from err
        return pixels

    def _note_silence(self, timeout_s: float) -> None:
        self._silent_s += timeout_s
        if self._has_picture and self._silent_s >= LONGEST_SILENCE_S:
            raise CameraStalledError(f"{self._name}: nothing came for {LONGEST_SILENCE_S:g} s")
        if self._silent_s >= FIRST_PICTURE_S:
            raise CameraLostError(f"{self._name}: no picture within {FIRST_PICTURE_S:g} s")

    def _broken(self) -> CameraError:
        is_error = bool(self._source.IsStreaming())
        what = "cannot be read any more" if is_error else "the camera ended the stream"
        return CameraLostError(f"{self._name}: {what}")

    def _uri(self) -> str:
        kind, target = self._address.kind, self._address.target
        if kind == "csi":
            return f"csi://{target}"
        if kind == "file":
            raise SourceRefusedError(f"{self._name}: files are decoded in software")
        if has_launch_characters(target):
            raise SourceRefusedError(f"{self._name}: may not hold spaces, quotes, backslashes or `!`")
        return f"v4l2://{resolve_device(Path(target))}" if kind == "usb" else target

    def _silence(self) -> None:
        self._kept_stdout = os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)

    def _speak(self) -> None:
        kept, self._kept_stdout = self._kept_stdout, None
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _load_jetson_utils() -> Any:
    try:
        import jetson_utils
    except ImportError as err:
        raise DependencyError("jetson_utils is missing: it comes with JetPack's jetson-inference") from err
    # The public package index has an unrelated package of this name.
    if not hasattr(jetson_utils, "videoSource"):
        raise DependencyError("jetson_utils is another package of that name: uninstall it, use NVIDIA's")
    return jetson_utils
