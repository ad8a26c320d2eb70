"""Write pictures into a video file: for the demonstration and for tests, never for what a camera saw."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from appliance.compat import Self
from appliance.errors import StorageError
from appliance.records.frames import PictureSize, Pixels

if TYPE_CHECKING:
    from av import VideoFrame


class VideoWriter:
    """Encode RGB pictures: H.264 in MP4, or without loss (FFV1, RGB, in Matroska).

    What is written without loss decodes to the same bytes. A context manager; the file is whole after it.

    Args:
        path: The file to write; its ending is of no account.
        size: Of every picture; H.264 needs even sides.
        fps: Pictures per second.
        is_lossless: FFV1 instead of H.264.

    Raises:
        StorageError: The file cannot be written, here and in all methods.
    """

    def __init__(self, path: Path, size: PictureSize, fps: int, *, is_lossless: bool = False) -> None:
        import av
        from av.video.stream import VideoStream

        self._path, self._size, self._n_pictures = path, size, 0
        self._time_base = Fraction(1, fps)
        try:
            self._container = av.open(
                f"file:{path.absolute()}", mode="w", format="matroska" if is_lossless else "mp4"
            )
            # Superfast, because a demonstration is waited for; 23 is x264's own default quality.
            options = {} if is_lossless else {"preset": "superfast", "crf": "23", "tune": "fastdecode"}
            codec = "ffv1" if is_lossless else "libx264"
            stream = self._container.add_stream(codec, rate=fps, options=options)
        except (av.FFmpegError, OSError) as err:
            raise StorageError(f"{path} cannot be written: {err.strerror}") from err
        assert isinstance(stream, VideoStream)  # both codecs are for video
        stream.width, stream.height = size.width_px, size.height_px
        stream.pix_fmt = "bgr0" if is_lossless else "yuv420p"  # bgr0 only moves bytes: no rounding
        stream.time_base = self._time_base
        self._stream = stream

    def add(self, pixels: Pixels) -> None:
        """Encode the next picture, (H, W, 3) uint8 RGB of the writer's size."""
        import av

        if pixels.shape != (self._size.height_px, self._size.width_px, 3):
            raise ValueError(f"a picture of shape {pixels.shape}")
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.pts, picture.time_base = self._n_pictures, self._time_base
        self._n_pictures += 1
        self._encode(picture)

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        import av

        self._encode(None)
        try:
            self._container.close()
        except (av.FFmpegError, OSError) as err:
            raise StorageError(f"{self._path} cannot be written: {err.strerror}") from err

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()

    def _encode(self, picture: VideoFrame | None) -> None:
        import av

        try:
            self._container.mux(self._stream.encode(picture))
        except (av.FFmpegError, OSError) as err:
            raise StorageError(f"{self._path} cannot be written: {err.strerror}") from err
