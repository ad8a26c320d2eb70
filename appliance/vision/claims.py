"""The match thread's work on one frame: search, decide, wipe, and put an alert together when one is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from appliance.ports import Clock, PictureCodec
from appliance.records.alerts import AlertDetail, SealedKey
from appliance.records.channel import VisionAlert
from appliance.records.frames import Frame
from appliance.records.ids import AlertId, EntryId
from appliance.records.watchlist import Candidate, Category, Entry, Reference
from appliance.vision.counts import Counts
from appliance.vision.decision import Decider
from appliance.vision.gallery import Gallery
from appliance.vision.work import FrameWork, Probe


class AlertSealer(Protocol):
    """Encrypt an alert so that its recipients alone can open it."""

    def __call__(
        self, detail: AlertDetail, probe_jpeg: bytes, reference_jpeg: bytes
    ) -> tuple[AlertId, tuple[SealedKey, ...], bytes]:
        """Return the alert's id, its content key sealed to each recipient, and the ciphertext."""


class Matcher:
    """Search, decide and wipe. Thread: match.

    Args:
        portrait_of: Returns a reference's portrait as JPEG.
        emit: Takes a sealed alert and its ciphertext; the only way out of the worker.
    """

    def __init__(
        self,
        *,
        gallery: Gallery,
        entries: Mapping[EntryId, Entry],
        decider: Decider,
        codec: PictureCodec,
        portrait_of: Callable[[Reference], bytes],
        sealer: AlertSealer,
        emit: Callable[[VisionAlert, bytes], None],
        clock: Clock,
        counts: Counts,
    ) -> None:
        self._gallery, self._entries, self._decider = gallery, entries, decider
        self._codec, self._portrait_of, self._sealer, self._emit = codec, portrait_of, sealer, emit
        self._clock, self._counts = clock, counts

    def decide(self, work: FrameWork) -> None:
        """Compare each probe, wipe it, and emit what has become an alert; then give the frame back, wiped.

        A probe's template is zeroed right after its own comparison, whatever happened in it; the pixels go
        with the frame's slot when the last probe is decided, so the age counts from the first decision.
        """
        first_decided_s: float | None = None
        try:
            for probe in work.probes:
                try:
                    candidates = self._gallery.search(probe.template)
                finally:
                    probe.template.fill(0)
                first_decided_s = first_decided_s or self._clock.monotonic_s()
                self._counts.note_searched()
                self._claim(work.held.frame, probe, candidates)
        finally:
            captured_s = work.held.frame.stamp.captured_monotonic_s
            work.held.release()
            wiped_s = self._clock.monotonic_s()
            self._counts.note_wiped(
                n_probes=len(work.probes),
                after_decision_ms=(wiped_s - (first_decided_s or wiped_s)) * 1e3,
                after_capture_ms=(wiped_s - captured_s) * 1e3,
            )

    def _claim(self, frame: Frame, probe: Probe, candidates: tuple[Candidate, ...]) -> None:
        stamp = frame.stamp
        for candidate in self._decider.note(
            stamp.camera_id, probe.track_id, candidates, stamp.captured_monotonic_s
        ):
            entry = self._entries[candidate.entry_id]
            detail = self._detail(frame, probe, candidate, entry)
            alert_id, sealed_keys, ciphertext = self._sealer(
                detail,
                self._codec.encode_portrait(frame.pixels, probe.box),
                self._portrait_of(entry.references[0]),
            )
            self._emit(
                VisionAlert(
                    alert_id=alert_id,
                    camera_id=stamp.camera_id,
                    entry_id=entry.entry_id,
                    is_volunteer=entry.category is Category.VOLUNTEER,
                    captured_at=stamp.captured_at,
                    sealed_keys=sealed_keys,
                ),
                ciphertext,
            )

    def _detail(self, frame: Frame, probe: Probe, candidate: Candidate, entry: Entry) -> AlertDetail:
        height_px, width_px = frame.pixels.shape[:2]
        camera_id = frame.stamp.camera_id
        return AlertDetail(
            camera_id=camera_id,
            captured_at=frame.stamp.captured_at,
            face_box=probe.box,
            frame_width_px=width_px,
            frame_height_px=height_px,
            category=entry.category,
            instruction=entry.instruction,
            entry_id=entry.entry_id,
            name=entry.name,
            score=candidate.score,
            threshold=self._gallery.threshold,
            n_frames_agreed=self._decider.n_agreed(camera_id, probe.track_id, entry.entry_id),
        )
