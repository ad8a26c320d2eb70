"""What the worker tells about its work: counts and ages, never a score."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from appliance.records.channel import VisionReport


@dataclass(slots=True)
class Counts:
    """Collect counts from both threads; a report takes them all at one moment."""

    n_frames: int = 0
    n_faces: int = 0
    n_too_small: int = 0
    n_searched: int = 0
    n_probes_wiped: int = 0
    slowest_wipe_after_decision_ms: float = 0.0
    slowest_wipe_after_capture_ms: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note_frame(self, *, n_faces: int, n_too_small: int) -> None:
        """Count an analysed frame."""
        with self._lock:
            self.n_frames += 1
            self.n_faces += n_faces
            self.n_too_small += n_too_small

    def note_searched(self) -> None:
        """Count a comparison with the gallery."""
        with self._lock:
            self.n_searched += 1

    def note_wiped(self, *, n_probes: int, after_decision_ms: float, after_capture_ms: float) -> None:
        """Count wiped probes, and how long after decision and capture the wipe was done."""
        with self._lock:
            self.n_probes_wiped += n_probes
            self.slowest_wipe_after_decision_ms = max(self.slowest_wipe_after_decision_ms, after_decision_ms)
            self.slowest_wipe_after_capture_ms = max(self.slowest_wipe_after_capture_ms, after_capture_ms)

    def report(self, *, n_frames_dropped: int, n_tracks: int) -> VisionReport:
        """Return the counts since the worker started."""
        with self._lock:
            return VisionReport(
                n_frames=self.n_frames,
                n_frames_dropped=n_frames_dropped,
                n_faces=self.n_faces,
                n_too_small=self.n_too_small,
                n_searched=self.n_searched,
                n_tracks=n_tracks,
                n_probes_wiped=self.n_probes_wiped,
                slowest_wipe_after_decision_ms=round(self.slowest_wipe_after_decision_ms, 3),
                slowest_wipe_after_capture_ms=round(self.slowest_wipe_after_capture_ms, 3),
            )
