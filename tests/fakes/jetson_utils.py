"""NVIDIA's jetson_utils as its source says it behaves, as far as a camera uses it.

After a loss Capture gives None for ever; an error and the end of the stream are the same bare Exception, and
IsStreaming tells the end; pictures lie in a ring of four that the fourth capture after overwrites; conversion
is done when the device is synchronised and not before; nothing is locked, so another thread is a crash.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
What = Literal["end", "error", "loss"]
N_BUFFERS = 4
NOT_CONVERTED = 170
OPTIONS = {
    "width",
    "height",
    "numBuffers",
    "loop",
    "latency",
    "zeroCopy",
    "framerate",
    "codec",
    "flipMethod",
    "codecType",
    "bitrate",
    "save",
    "sslCert",
    "sslKey",
    "stunServer",
}


@dataclass(eq=False)
class FakeImage:
    """A cudaImage: a pointer into the source's ring, which it does not keep alive."""

    source: FakeVideoSource
    buffer: Picture


class FakeVideoSource:
    """One source; what it shows comes from its module."""

    def __init__(self, module: FakeJetsonUtils, uri: str, options: dict[str, Any]) -> None:
        self._module, self._thread = module, threading.get_ident()
        self.uri, self.options = uri, options
        self._pictures = list(module.pictures)
        self._ring = [np.full(0, NOT_CONVERTED, np.uint8) for _ in range(N_BUFFERS)]
        self._n_captured = 0
        self._is_streaming = True
        self.is_closed = False
        self.n_empty = 0

    @property
    def ring(self) -> list[Picture]:
        return self._ring

    def Capture(self, format: str = "rgb8", timeout: int = 1000) -> FakeImage | None:  # noqa: A002, N802
        self._check_thread()
        assert (format, type(timeout)) == ("rgb8", int)
        self._module.log(f"[gstreamer] gstDecoder -- pipeline: rtspsrc location={self.uri} latency=10")
        if self._module.n_connecting:
            self._module.n_connecting -= 1
            return None
        if self._pictures:
            return self._convert(self._pictures.pop(0))
        if self._module.then == "loss":
            self.n_empty += 1
            return None
        self._is_streaming = self._module.then == "error"
        raise Exception("jetson.utils -- videoSource failed to capture image")

    def IsStreaming(self) -> bool:  # noqa: N802
        self._check_thread()
        return self._is_streaming

    def Close(self) -> None:  # noqa: N802
        self._check_thread()
        self.is_closed = True

    def Open(self) -> None:  # noqa: N802
        raise AssertionError("a failing Open returns without the GIL: never call it")

    def _convert(self, picture: Picture) -> FakeImage:
        at = self._n_captured % N_BUFFERS
        self._n_captured += 1
        if self._ring[at].shape == picture.shape:
            self._ring[at].fill(NOT_CONVERTED)  # overwritten under whoever still looks at it
        else:
            self._ring[at] = np.full(picture.shape, NOT_CONVERTED, np.uint8)
        buffer = self._ring[at]
        self._module.queued.append(lambda: np.copyto(buffer, picture))
        return FakeImage(source=self, buffer=buffer)

    def _check_thread(self) -> None:
        assert threading.get_ident() == self._thread, "two threads in one videoSource"


class FakeJetsonUtils:
    """Stand in sys.modules for the library.

    Args:
        pictures: What each source shows, (H, W, 3) RGB.
        then: What comes after.
        n_connecting: So many captures time out before the first picture.
        refused: Sources whose address has this in it cannot be made.
    """

    def __init__(
        self, pictures: Sequence[Picture], then: What = "end", *, n_connecting: int = 0, refused: str = "\0"
    ) -> None:
        self.pictures, self.then, self.n_connecting, self._refused = pictures, then, n_connecting, refused
        self.queued: list[Any] = []
        self.sources: list[FakeVideoSource] = []

    def videoSource(self, uri: str, options: dict[str, Any] | None = None) -> FakeVideoSource:  # noqa: N802
        self.log(f"[video]  created gstDecoder from {uri}")
        assert set(options or {}) <= OPTIONS
        assert not any(character in uri for character in " \t\"'!\\`"), "goes into a launch string"
        if self._refused in uri or "/by-id/" in uri or "/by-path/" in uri:
            raise Exception("jetson.utils -- failed to create videoSource device")
        self.sources.append(FakeVideoSource(self, uri, options or {}))
        return self.sources[-1]

    def cudaDeviceSynchronize(self) -> None:  # noqa: N802
        for conversion in self.queued:
            conversion()
        self.queued.clear()

    def cudaToNumpy(self, image: FakeImage) -> Picture:  # noqa: N802
        assert not image.source.is_closed, "the pointer dangles after its source is gone"
        return image.buffer

    def log(self, line: str) -> None:
        os.write(1, f"{line}\n".encode())  # as the C library does: past sys.stdout
