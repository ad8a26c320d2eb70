"""The gpu thread's work on one frame: detect, track, gate, embed."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.ports import Detector, Embedder, Region
from appliance.records.frames import Face, Frame
from appliance.records.ids import CameraId, TrackId
from appliance.vision.counts import Counts
from appliance.vision.gate import SizeGate
from appliance.vision.tracks import Tracker
from appliance.vision.work import MOST_PROBES, FrameWork, HeldFrame, Probe, TemplateBench


class FrameAnalysis:
    """Turn a frame into probes. Thread: gpu.

    Args:
        detector_region, embedder_region: What the networks hold of a frame; zeroed after each step.
        gates: The size gate of each camera.
    """

    def __init__(
        self,
        *,
        detector: Detector,
        embedder: Embedder,
        detector_region: Region,
        embedder_region: Region,
        gates: Mapping[CameraId, SizeGate],
        counts: Counts,
    ) -> None:
        self._detector, self._embedder = detector, embedder
        self._detector_region, self._embedder_region = detector_region, embedder_region
        self._gates = gates
        self._counts = counts
        self._trackers = {camera_id: Tracker() for camera_id in gates}

    @property
    def n_faces_seen(self) -> int:
        """Return how many tracks there were, all cameras together."""
        return sum(tracker.n_faces_seen for tracker in self._trackers.values())

    def analyse(self, held: HeldFrame, bench: TemplateBench) -> FrameWork:
        """Return the probes of a frame; their templates lie in `bench`."""
        frame = held.frame
        with self._detector_region:
            faces = self._detector.detect(frame.pixels)
        camera_id = frame.stamp.camera_id
        track_ids = self._trackers[camera_id].update(
            [face.box for face in faces], frame.stamp.captured_monotonic_s
        )
        chosen, n_too_small = self._gates[camera_id].choose(faces, most=MOST_PROBES)
        self._counts.note_frame(n_faces=len(faces), n_too_small=n_too_small)
        probes = tuple(
            self._embed(frame, faces[position], track_ids[position], bench, row)
            for row, position in enumerate(chosen)
        )
        return FrameWork(held=held, probes=probes, bench=bench)

    def _embed(self, frame: Frame, face: Face, track_id: TrackId, bench: TemplateBench, row: int) -> Probe:
        template = bench.row(row)
        with self._embedder_region:
            self._embedder.embed(frame.pixels, face.points, template)
        return Probe(track_id=track_id, box=face.box, template=template)
