"""A network camera by RTSP over TCP, by PyAV."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from appliance.ports import Clock
from appliance.records.frames import PictureSize
from drivers.cameras.address import public_address
from drivers.cameras.live_stream import CODECS, OPEN_TIMEOUT_S, READ_TIMEOUT_S, LiveStream

if TYPE_CHECKING:
    from av.container import InputContainer

_OPTIONS = {
    "rtsp_transport": "tcp",  # over UDP a lost packet is a torn face
    "timeout": str(round(OPEN_TIMEOUT_S * 1e6)),  # of each act on the socket, in microseconds
    "protocol_whitelist": "rtsp,rtsps,rtp,tcp,tls",
    "codec_whitelist": CODECS,
    "allowed_media_types": "video",
    # What is read while probing comes late: stop as soon as the size is known, and do not wait for a rate.
    "analyzeduration": "1000000",
    "probesize": "1000000",
    "fpsprobesize": "0",
    "max_delay": "0",
}


class RtspCamera:
    """Implement the Camera port on an RTSP stream; see LiveStream for what its errors mean.

    Two of them may be open on one camera at once: each has a session of its own.

    Args:
        url: `rtsp://` or `rtsps://`, judged by `parse_address`; its credentials show nowhere.
        clock: For the time that a read may take.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._stream = LiveStream(public_address(url), self._connect, clock)

    @property
    def n_damaged(self) -> int:
        """Return how many packets or pictures were passed over because they were damaged."""
        return self._stream.n_damaged

    def open(self) -> None:
        """Connect, within 4 s; see LiveStream."""
        self._stream.open()

    def read_into(self, slot: npt.NDArray[np.uint8] | None, timeout_s: float) -> PictureSize | None:
        """Decode the next picture into `slot` as RGB; see ports.Camera and LiveStream."""
        return self._stream.read_into(slot, timeout_s)

    def close(self) -> None:
        """End the session."""
        self._stream.close()

    def _connect(self) -> InputContainer:
        import av

        return av.open(
            self._url,
            mode="r",
            format="rtsp",
            options=_OPTIONS,
            timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S),
            metadata_errors="replace",
        )
