"""The gpu thread's work on one frame: detect, track, gate, embed."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.ports import Detector, Embedder, Region
from appliance.records.frames import Face, Frame, PictureSize
from appliance.records.ids import CameraId, TrackId
from appliance.vision.counts import CameraWatch, Counts
from appliance.vision.field_counts import FaceFaults, FaceMeasures
from appliance.vision.gate import GatedFaces, SizeGate
from appliance.vision.tracks import Tracker
from appliance.vision.work import MOST_PROBES, FrameWork, HeldFrame, Probe, TemplateBench


class FrameAnalysis:
    """Turn a frame into probes. Thread: gpu.

    Args:
        detector_region, embedder_region: What the networks hold of a frame; zeroed after each step.
        gates: Zone and least face width of each camera.
        watches: What is watched of each camera's picture; a camera without one is not watched.
        measures: Tells why faces are poor; needed where there are watches.
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
        watches: Mapping[CameraId, CameraWatch] | None = None,
        measures: FaceMeasures | None = None,
    ) -> None:
        self._detector, self._embedder = detector, embedder
        self._detector_region, self._embedder_region = detector_region, embedder_region
        self._gates = gates
        self._counts = counts
        self._watches = watches or {}
        self._measures = measures
        self._trackers = {camera_id: Tracker() for camera_id in gates}

    @property
    def n_faces_seen(self) -> int:
        """Return how many tracks there were, all cameras together."""
        return sum(tracker.n_faces_seen for tracker in self._trackers.values())

    def analyse(self, held: HeldFrame, bench: TemplateBench) -> FrameWork:
        """Return the probes of a frame; their templates lie in `bench`. A moved camera gives none."""
        frame = held.frame
        camera_id = frame.stamp.camera_id
        watch = self._watches.get(camera_id)
        if watch is not None and watch.is_stopped(frame):
            return FrameWork(held=held, probes=(), bench=bench)
        with self._detector_region:
            faces = self._detector.detect(frame.pixels)
        size = PictureSize(width_px=frame.pixels.shape[1], height_px=frame.pixels.shape[0])
        gated = self._gates[camera_id].choose(faces, size, most=MOST_PROBES)
        # Nobody outside the zone is followed.
        tracks = self._trackers[camera_id].update(
            [faces[position].box for position in gated.inside], frame.stamp.captured_monotonic_s
        )
        track_ids = dict(zip(gated.inside, tracks, strict=True))
        self._counts.note_frame(n_faces=len(faces), n_too_small=gated.n_too_small)
        if watch is not None and self._measures is not None:
            self._note_field(watch, self._measures, frame, faces, gated, track_ids)
        probes = tuple(
            self._embed(frame, faces[position], track_ids[position], bench, row)
            for row, position in enumerate(gated.wide)
        )
        return FrameWork(held=held, probes=probes, bench=bench)

    def _note_field(
        self,
        watch: CameraWatch,
        measures: FaceMeasures,
        frame: Frame,
        faces: list[Face],
        gated: GatedFaces,
        track_ids: Mapping[int, TrackId],
    ) -> None:
        faults: dict[int, FaceFaults] = {
            position: measures.faults_of(frame.pixels, faces[position]) for position in gated.wide
        }
        now_s = frame.stamp.captured_monotonic_s
        watch.field_counts.note(
            now_s,
            n_detected=len(faces),
            n_outside_zone=gated.n_outside,
            n_too_small=gated.n_too_small,
            n_searched=len(gated.wide),
            faults=faults.values(),
        )
        watch.note_pass_rate(
            {track_ids[n]: n in faults and not faults[n] for n in gated.inside},
            now_s,
        )

    def _embed(self, frame: Frame, face: Face, track_id: TrackId, bench: TemplateBench, row: int) -> Probe:
        template = bench.row(row)
        with self._embedder_region:
            self._embedder.embed(frame.pixels, face.points, template)
        return Probe(track_id=track_id, box=face.box, template=template)
