"""A video file as a camera, by PyAV: hostile input, decoded in a process of its own."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from appliance.errors import CameraLostError, CameraSourceError, EndOfStreamError
from appliance.ports import Clock
from appliance.records.frames import PictureSize
from drivers.cameras.picture import PictureWriter

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

# FFmpeg would also take playlists that name other files and hosts, and draw plain text as a picture.
_FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,ivf,h264,hevc"
_CODECS = "h264,hevc,mpeg1video,mpeg2video,mpeg4,mjpeg,vp8,vp9,libdav1d,av1,ffv1,png,rawvideo"
_LARGEST_PICTURE_PX = 7680 * 4320  # 8K UHD, ITU-R BT.2020
_MOST_DAMAGED_READS = 100
_LATE_S = 0.25
_MOST_PASSED_OVER = 10
_LONGEST_GAP_S = 5.0
_USUAL_RATE_HZ = 25.0


class FileCamera:
    """Implement the Camera port on a video file.

    What can go wrong, and what it is called: missing, empty, not a regular file, not a video, a video that
    was cut off before its index, and one without a single usable picture are CameraSourceError when opened.
    A damaged part is passed over (`n_damaged`), as a player does; when the file was cut off in the middle,
    all that decodes is used, and then comes EndOfStreamError, whose message tells of the damage: opening it
    again would bring nothing new. A disk or stick that is pulled out is CameraLostError.

    At `real` rate a picture is given when it is due by its own time. One more than 0.25 s late is passed
    over, at most ten in a row: a slow machine sees fewer pictures, not older ones.

    Args:
        path: A regular file.
        rate: `real` or `fast`.
        clock: For the pace.
        wait: Blocks for so many seconds; tests turn their clock instead.
    """

    def __init__(
        self,
        path: Path,
        rate: Literal["real", "fast"],
        clock: Clock,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._path, self._rate, self._clock = path, rate, clock
        self._wait = threading.Event().wait if wait is None else wait
        self._container: InputContainer | None = None
        self._pictures: Iterator[VideoFrame] = iter(())
        self._pending: VideoFrame | None = None
        self._pace = _Pace(clock)
        self.n_damaged = 0
        self.n_passed_over = 0

    def open(self) -> None:
        """Open the file and decode its first picture; CameraSourceError when there is none."""
        import av

        self._check_file()
        try:
            container = av.open(
                f"file:{self._path.absolute()}",
                mode="r",
                options={
                    "protocol_whitelist": "file",
                    "format_whitelist": _FORMATS,
                    "codec_whitelist": _CODECS,
                },
                metadata_errors="replace",
            )
        except (av.FFmpegError, ValueError) as err:
            raise CameraSourceError(f"{self._path}: not a video that can be read ({_reason(err)})") from err
        self._container = container
        if not container.streams.video:
            raise CameraSourceError(f"{self._path}: has no video in it")
        self._writer = PictureWriter()
        self._pictures = self._decode(container, container.streams.video[0])
        self._pending = next(self._pictures, None)
        if self._pending is None:
            raise CameraSourceError(f"{self._path}: holds no picture that can be decoded")

    def read_into(self, slot: npt.NDArray[np.uint8] | None, timeout_s: float) -> PictureSize | None:
        """Decode the next picture into `slot` as RGB; see ports.Camera."""
        ends_s = self._clock.monotonic_s() + timeout_s
        for n_passed_over in range(_MOST_PASSED_OVER + 1):
            picture = self._next_picture()
            delay_s = self._pace.delay_s(picture.time) if self._rate == "real" else 0.0
            left_s = ends_s - self._clock.monotonic_s()
            if delay_s > left_s:
                self._pending = picture
                self._wait(max(0.0, left_s))
                return None
            if delay_s >= -_LATE_S or n_passed_over == _MOST_PASSED_OVER:
                break
            self.n_passed_over += 1
        if delay_s > 0:
            self._wait(delay_s)
        self._pace.passed(picture.time)
        return self._writer.write(picture, slot)

    def close(self) -> None:
        """Close the file; what the decoder remembered ends with the process."""
        self._pictures, self._pending = iter(()), None
        if self._container is not None:
            self._container.close()
            self._container = None

    def _check_file(self) -> None:
        try:
            found = self._path.stat()
        except OSError as err:
            raise CameraSourceError(f"{self._path}: {err.strerror}") from err
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for without end
            raise CameraSourceError(f"{self._path}: not a file")
        if found.st_size == 0:
            raise CameraSourceError(f"{self._path}: the file is empty")

    def _next_picture(self) -> VideoFrame:
        picture, self._pending = self._pending or next(self._pictures, None), None
        if picture is None:
            damage = f"; {self.n_damaged} damaged parts were passed over" if self.n_damaged else ""
            raise EndOfStreamError(f"{self._path}: end of the file{damage}")
        return picture

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        from av import FFmpegError

        # One thread: each more keeps another picture in memory.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(_LARGEST_PICTURE_PX)}
        for packet in self._demux(container, stream):
            try:
                pictures = packet.decode()
            except FFmpegError:
                self.n_damaged += 1
                continue
            for picture in pictures:
                if picture.is_corrupt:
                    self.n_damaged += 1
                else:
                    yield picture

    def _demux(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
        """Yield packets; the last is empty and makes the decoder give what it still holds."""
        from av import FFmpegError

        for _ in range(_MOST_DAMAGED_READS):
            try:
                yield from container.demux(stream)
                return
            except FFmpegError as err:
                if isinstance(err, OSError):
                    raise CameraLostError(f"{self._path}: cannot be read any more ({_reason(err)})") from err
                self.n_damaged += 1


class _Pace:
    """Say when a picture is due, by its own time against the clock's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_s: float | None = None  # from media time to the clock's
        self._last_s = 0.0

    def delay_s(self, media_s: float | None) -> float:
        """Return how long to wait; negative when it is late. A jump in time starts anew."""
        now_s = self._clock.monotonic_s()
        media_s = self._known(media_s)
        if self._offset_s is None or not 0 <= media_s - self._last_s <= _LONGEST_GAP_S:
            self._offset_s = now_s - media_s
            self._last_s = media_s
        return media_s + self._offset_s - now_s

    def passed(self, media_s: float | None) -> None:
        """Note the picture that was given."""
        self._last_s = self._known(media_s)

    def _known(self, media_s: float | None) -> float:
        return self._last_s + 1 / _USUAL_RATE_HZ if media_s is None else media_s


def _reason(err: Exception) -> str:
    return str(getattr(err, "strerror", None) or err)
