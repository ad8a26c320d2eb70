"""The seams: what the rules need of the machine, as protocols. Implementations do not inherit from them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from appliance.compat import Self
from appliance.records.frames import Box, Face, PictureSize, Pixels, Points, Template
from appliance.records.ids import KeyId, ModelId


class Clock(Protocol):
    """Tell the time; the only source of it."""

    def now(self) -> datetime:
        """Return the aware time in UTC, for records."""

    def monotonic_s(self) -> float:
        """Return seconds of a clock that is the same for all processes and never steps, for intervals."""

    def is_trusted(self) -> bool:
        """Say whether `now` may be used to judge expiry; without it the appliance fails closed."""

    async def sleep(self, delay_s: float) -> None:
        """Wait on the event loop."""


class Region(Protocol):
    """A named part of the arena: what is taken from it is zeroed when its scope ends.

    `with region:` is the scope; it zeroes on the way out, on exceptions too.
    """

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """Return a zeroed, C-contiguous, 64-byte aligned array that lives as long as the arena.

        Call it while building, never per frame: an arena does not grow.
        """

    def clear(self) -> None:
        """Zero everything that was taken."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Detector(Protocol):
    """Find faces. Thread: gpu."""

    @property
    def model_id(self) -> ModelId:
        """Name the model and its version."""

    def detect(self, pixels: Pixels) -> list[Face]:
        """Return the faces in a picture, in pixels of the picture given; leaves no copy behind."""


class Embedder(Protocol):
    """Make a template of a face. Thread: gpu."""

    @property
    def model_id(self) -> ModelId:
        """Name the model and its version; templates of two models are never compared."""

    @property
    def template_length(self) -> int:
        """Return D, the number of elements of a template."""

    def embed(self, pixels: Pixels, points: Points, out: Template) -> None:
        """Align the face at `points` and write its template into `out`, (D,) float32, unit L2 norm."""


class PictureCodec(Protocol):
    """Turn faces into portraits for an officer. Used for a match and at enrolment only."""

    def encode_portrait(self, pixels: Pixels, box: Box) -> bytes:
        """Return a JPEG of 240 x 320 px around the face, at most 12 KiB; outside the frame it is grey."""


class KeyStore(Protocol):
    """Keep secrets of 32 bytes by name; a destroyed one is gone. Thread: disk."""

    def create(self, key_id: KeyId) -> bytes:
        """Make, keep and return a random secret; KeyStoreError if the name is taken."""

    def load(self, key_id: KeyId) -> bytes:
        """Return a secret; KeyStoreError when missing or readable by others."""

    def destroy(self, key_id: KeyId) -> None:
        """Make a secret unreadable for ever; nothing happens when it is missing."""

    def list_ids(self) -> Sequence[KeyId]:
        """Return the names of all secrets, sorted."""


class BrokerMessage(Protocol):
    """A message as received."""

    @property
    def topic(self) -> str:
        """Return the topic it came on."""

    @property
    def payload(self) -> bytes:
        """Return the bytes as received."""


class BrokerLink(Protocol):
    """A connection to the MQTT broker. It does not reconnect: it raises BrokerError and is opened again."""

    async def publish(
        self, topic: str, payload: bytes, *, expiry_s: int | None, retain: bool = False
    ) -> None:
        """Hand a message to the broker at QoS 1; its acknowledgement is not a receipt."""

    async def subscribe(self, topic: str) -> None:
        """Ask for a topic at QoS 1; wildcards as in MQTT."""

    def messages(self) -> AsyncIterator[BrokerMessage]:
        """Yield messages until the link is lost (BrokerError)."""


class Camera(Protocol):
    """Give pictures, one after another. A process has one camera; thread: the process's own."""

    def open(self) -> None:
        """Connect; SourceRefusedError, CameraSourceError (a person must act) or CameraLostError."""

    def read_into(self, slot: npt.NDArray[np.uint8] | None, timeout_s: float) -> PictureSize | None:
        """Decode the next picture into `slot` as RGB.

        Args:
            slot: Flat uint8 buffer in the ring; None decodes and throws away (no slot was free).
            timeout_s: How long to wait for a picture.

        Returns:
            The picture's size, the first H*W*3 bytes of the slot being its rows; None when none came.

        Raises:
            EndOfStreamError: The file is over.
            CameraLostError: The stream broke.
            CameraSourceError: Larger than the slot, or not usable as video.
        """

    def close(self) -> None:
        """Let go of the device; what the decoder remembered ends with the process."""


class ServiceNotifier(Protocol):
    """Tell whoever started the supervisor how it is. No call waits or raises; nobody has to listen."""

    @property
    def watchdog_interval_s(self) -> float | None:
        """Return how often `watchdog` has to be called, in seconds; None when nobody waits for it."""

    def ready(self, status: str) -> None:
        """Say that the start is over: configuration, keys, a warm worker and the cameras, but not MQTT."""

    def status(self, text: str) -> None:
        """Say in one line what an operator sees; no names, keys or scores."""

    def watchdog(self) -> None:
        """Say that progress was made; never call it from a mere timer."""

    def stopping(self) -> None:
        """Say that the staged stop has begun."""
