"""What the worker tells about its work: counts and ages, never a score."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.records.channel import PictureState, VisionCameraReport, VisionReport
from appliance.records.frames import Frame
from appliance.records.ids import CameraId, TrackId
from appliance.vision.field_counts import FieldCounts, PassRate
from appliance.vision.picture_state import PictureWatch


@dataclass(slots=True)
class Counts:
    """Collect counts from both threads; a report takes them all at one moment."""

    n_frames: int = 0
    n_faces: int = 0
    n_too_small: int = 0
    n_too_poor: int = 0
    n_not_best: int = 0
    n_embedded: int = 0
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

    def note_chosen(self, *, n_embedded: int, n_not_best: int, n_too_poor: int) -> None:
        """Count what became of a frame's faces that are wide enough."""
        with self._lock:
            self.n_embedded += n_embedded
            self.n_not_best += n_not_best
            self.n_too_poor += n_too_poor

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

    def report(
        self, *, n_frames_dropped: int, n_tracks: int, cameras: tuple[VisionCameraReport, ...] = ()
    ) -> VisionReport:
        """Return the counts since the worker started."""
        with self._lock:
            return VisionReport(
                n_frames=self.n_frames,
                n_frames_dropped=n_frames_dropped,
                n_faces=self.n_faces,
                n_too_small=self.n_too_small,
                n_too_poor=self.n_too_poor,
                n_not_best=self.n_not_best,
                n_embedded=self.n_embedded,
                n_searched=self.n_searched,
                n_tracks=n_tracks,
                n_probes_wiped=self.n_probes_wiped,
                slowest_wipe_after_decision_ms=round(self.slowest_wipe_after_decision_ms, 3),
                slowest_wipe_after_capture_ms=round(self.slowest_wipe_after_capture_ms, 3),
                cameras=cameras,
            )


@dataclass(slots=True, kw_only=True)
class CameraWatch:
    """What is watched of one camera: its picture, its field counts and its pass rate.

    Threads: gpu notes, main reports; a report may be a frame behind.
    """

    camera_id: CameraId
    picture: PictureWatch
    field_counts: FieldCounts = field(default_factory=FieldCounts)
    pass_rate: PassRate = field(default_factory=PassRate)
    _low_since_s: float | None = None

    def is_stopped(self, frame: Frame) -> bool:
        """Look at a frame's picture; say whether the camera was moved, so that no face may be looked for."""
        return self.picture.note(frame) is PictureState.MOVED

    def note_pass_rate(self, passed: Mapping[TrackId, bool], now_s: float) -> None:
        """Take the tracks of a frame, each with whether its face is fit for a search."""
        self.pass_rate.note(passed, now_s)
        if not self.pass_rate.is_low:
            self._low_since_s = None
        elif self._low_since_s is None:
            self._low_since_s = now_s

    def report(self) -> VisionCameraReport:
        """Return the state of the picture, and the current and the last full minute's counts."""
        state, since_s = self.picture.state, self.picture.state_since_s
        if state is PictureState.OK and self._low_since_s is not None:
            state, since_s = PictureState.LOW_PASS_RATE, self._low_since_s
        minutes = self.field_counts.minutes()
        return VisionCameraReport(
            camera_id=self.camera_id,
            state=state,
            state_since_monotonic_s=round(since_s, 3),
            is_scene_known=self.picture.is_scene_known,
            current_minute=minutes[-1] if minutes else None,
            last_minute=minutes[-2] if len(minutes) > 1 else None,
        )
