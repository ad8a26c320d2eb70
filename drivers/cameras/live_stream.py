"""A live stream by PyAV: what network and USB cameras share. It connects once and never again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from appliance.errors import CameraError, CameraLostError, CameraSourceError, CameraStalledError
from appliance.ports import Clock
from appliance.records.frames import PictureSize
from drivers.cameras.picture import PictureWriter

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

OPEN_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 1.0
"""The longest silence of a camera. FFmpeg loses its place in a stream when a read is broken off, so it is no
less; and it hands out the last picture only then, so that a stall is told after one or two of these."""
CODECS = "h264,hevc,mpeg4,mjpeg,vp8,vp9,libdav1d,av1,rawvideo"
LARGEST_PICTURE_PX = 7680 * 4320  # 8K UHD, ITU-R BT.2020


class LiveStream:
    """Open, decode and close a stream of pictures. Thread: the process's own.

    A picture is given as soon as it is decoded. What cannot be decoded is passed over (`n_damaged`), so a
    stream that changes its codec gives None from then on and whoever watches the pictures sees a stall; one
    that changes its size goes on with the new size. Once broken it stays broken.

    Args:
        name: What errors call it; without credentials.
        open_container: Connects; raises PyAV's errors, which quote the address and therefore go no further.
        clock: For the time that a read may take.
    """

    def __init__(self, name: str, open_container: Callable[[], InputContainer], clock: Clock) -> None:
        self._name, self._open_container, self._clock = name, open_container, clock
        self._container: InputContainer | None = None
        self._packets: Iterator[Packet[VideoStream]] = iter(())
        self._decoded: deque[VideoFrame] = deque()
        self._broken: CameraError | None = None
        self.n_damaged = 0

    def open(self) -> None:
        """Connect; returns when the stream's codec is known.

        Raises:
            CameraLostError: Nobody answers, or not yet with a stream.
            CameraSourceError: The camera refuses our credentials, or sends no video that may be decoded.
        """
        from av import FFmpegError

        try:
            self._container = self._open_container()
        except (FFmpegError, ValueError) as err:
            raise self._opening_error(err) from None  # the cause quotes the address
        if not self._container.streams.video:
            raise CameraSourceError(f"{self._name}: has no video in it")
        stream = self._container.streams.video[0]
        context = stream.codec_context
        if context.name not in CODECS.split(","):
            raise CameraSourceError(f"{self._name}: sends video in a codec that is not allowed")
        # One thread: each more keeps another picture in memory, and gives it a picture later.
        context.thread_count = 1
        context.options = {"max_pixels": str(LARGEST_PICTURE_PX), "flags": "+low_delay"}
        self._writer = PictureWriter()
        self._packets = self._container.demux(stream)

    def read_into(self, slot: npt.NDArray[np.uint8] | None, timeout_s: float) -> PictureSize | None:
        """Decode the next picture; see ports.Camera. A silent stream is waited for 1 s, not less.

        Raises:
            CameraStalledError: Nothing came for 1 s.
            CameraLostError: The other side ended the stream, or it broke.
        """
        ends_s = self._clock.monotonic_s() + timeout_s
        while not self._decoded:
            self._decode(self._next_packet())
            if not self._decoded and self._clock.monotonic_s() >= ends_s:
                return None
        return self._writer.write(self._decoded.popleft(), slot)

    def close(self) -> None:
        """Let go of the stream; what the decoder remembered ends with the process."""
        self._packets = iter(())
        self._decoded.clear()
        if self._broken is None:
            self._broken = CameraLostError(f"{self._name}: is closed")
        if self._container is not None:
            self._container.close()
            self._container = None

    def _next_packet(self) -> Packet[VideoStream]:
        from av import FFmpegError

        if self._broken is not None:
            raise self._broken
        try:
            packet = next(self._packets, None)
        except FFmpegError as err:
            self._broken = self._reading_error(err)
            raise self._broken from None  # the cause quotes the address
        if packet is None:
            self._broken = CameraLostError(f"{self._name}: the camera ended the stream")
            raise self._broken
        return packet

    def _decode(self, packet: Packet[VideoStream]) -> None:
        from av import FFmpegError

        try:
            pictures = packet.decode()
        except FFmpegError:
            self.n_damaged += 1
            return
        for picture in pictures:
            if picture.is_corrupt:
                self.n_damaged += 1
            else:
                self._decoded.append(picture)

    def _opening_error(self, err: Exception) -> CameraError:
        from av import error

        if isinstance(err, (error.HTTPUnauthorizedError, error.HTTPForbiddenError)):
            return CameraSourceError(f"{self._name}: refuses the user name or the password")
        if isinstance(err, (PermissionError, error.DecoderNotFoundError)):
            return CameraSourceError(f"{self._name}: cannot be used ({_reason(err)})")
        if isinstance(err, error.ExitError):
            return CameraLostError(f"{self._name}: no stream within {OPEN_TIMEOUT_S:g} s")
        return CameraLostError(f"{self._name}: cannot be opened ({_reason(err)})")

    def _reading_error(self, err: Exception) -> CameraError:
        from av import error

        if isinstance(err, (error.ExitError, error.TimeoutError)):
            return CameraStalledError(f"{self._name}: nothing came for {READ_TIMEOUT_S:g} s")
        return CameraLostError(f"{self._name}: cannot be read any more ({_reason(err)})")


def _reason(err: Exception) -> str:
    """Return FFmpeg's own words; the rest of the exception's text quotes the address."""
    return str(getattr(err, "strerror", None) or type(err).__name__)
