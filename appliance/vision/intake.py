"""Take frames out of each camera's ring; the newest wins, what it replaces is zeroed and counted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from appliance.errors import ApplianceError
from appliance.flow import LatestSlots
from appliance.records.ids import CameraId
from appliance.vision.work import HeldFrame

logger = logging.getLogger(__name__)
RECEIVE_TIMEOUT_S = 0.2


class FrameSource(Protocol):
    """The reading end of a camera's ring."""

    def receive(self, timeout_s: float) -> HeldFrame | None:
        """Return the next frame; ChannelClosedError when the capture process is gone."""

    def retire(self) -> None:
        """Receive no more; let go of the ring when the last frame has been released."""


class Intake:
    """Run one thread per camera that empties its ring into the newest-wins slots."""

    def __init__(self) -> None:
        self.frames: LatestSlots[CameraId, HeldFrame] = LatestSlots(on_drop=_release)
        self._is_stopping = threading.Event()
        self._threads: dict[CameraId, threading.Thread] = {}

    def attach(self, camera_id: CameraId, open_source: Callable[[], FrameSource]) -> None:
        """Read a camera's new ring; the thread of its old one has ended with the old capture process."""
        old = self._threads.pop(camera_id, None)
        if old is not None:
            old.join(timeout=1.0)
        thread = threading.Thread(
            target=self._run, args=(camera_id, open_source()), name=f"intake-{camera_id}", daemon=True
        )
        self._threads[camera_id] = thread
        thread.start()

    def stop(self) -> None:
        """Stop reading and give back every frame that was not taken."""
        self._is_stopping.set()
        for thread in self._threads.values():
            thread.join(timeout=2.0)
        self.frames.close()

    def _run(self, camera_id: CameraId, source: FrameSource) -> None:
        try:
            while not self._is_stopping.is_set():
                received = source.receive(RECEIVE_TIMEOUT_S)
                if received is not None:
                    self.frames.put(camera_id, received)
        except ApplianceError as err:
            logger.info("a camera's ring ended: %s", err, extra={"camera_id": camera_id})
        finally:
            source.retire()


def _release(held: HeldFrame) -> None:
    held.release()
