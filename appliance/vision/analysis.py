"""The gpu thread's work on one frame: detect, track, gate, choose the best moments, embed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.ports import Detector, Embedder, Region
from appliance.quality import FaceFaults, FaceMeasures, FaceQuality
from appliance.records.frames import Face, Frame, PictureSize
from appliance.records.ids import CameraId, TrackId
from appliance.vision.counts import CameraWatch, Counts
from appliance.vision.decision import LEAST_APART_S, OpenClaims
from appliance.vision.gate import GatedFaces, SizeGate
from appliance.vision.moments import BestMoments
from appliance.vision.tracks import Tracker
from appliance.vision.work import MOST_PROBES, FrameWork, HeldFrame, Probe, TemplateBench


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What came of looking at a frame's faces: those to embed, and what was measured, by position."""

    chosen: tuple[int, ...]
    qualities: Mapping[int, FaceQuality]
    n_too_poor: int


class FrameAnalysis:
    """Turn a frame into probes. Thread: gpu.

    Args:
        detector_region, embedder_region: What the networks hold of a frame; zeroed after each step.
        gates: Zone and least face width of each camera.
        watches: What is watched of each camera's picture; a camera without one is not watched.
        measures: Tells how good a face is; with it the quality gate stands before the embedder.
        open_claims: Which tracks wait for a confirmation. With it and `measures` a track is embedded at its
            best moments; without, in every frame, the widest faces first.
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
        open_claims: OpenClaims | None = None,
    ) -> None:
        self._detector, self._embedder = detector, embedder
        self._detector_region, self._embedder_region = detector_region, embedder_region
        self._gates = gates
        self._counts = counts
        self._watches = watches or {}
        self._measures = measures
        self._open_claims = open_claims
        self._trackers = {camera_id: Tracker() for camera_id in gates}
        self._moments = {camera_id: BestMoments(least_apart_s=LEAST_APART_S) for camera_id in gates}

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
        gated = self._gates[camera_id].choose(faces, size)
        # Nobody outside the zone is followed.
        tracks = self._trackers[camera_id].update(
            [faces[position].box for position in gated.inside], frame.stamp.captured_monotonic_s
        )
        track_ids = dict(zip(gated.inside, tracks, strict=True))
        looked = self._look(frame, faces, gated.wide, track_ids)
        self._count(watch, frame, len(faces), gated, looked, track_ids)
        probes = tuple(
            self._embed(frame, faces[position], track_ids[position], bench, row)
            for row, position in enumerate(looked.chosen)
        )
        return FrameWork(held=held, probes=probes, bench=bench)

    def _look(
        self, frame: Frame, faces: Sequence[Face], wide: Sequence[int], track_ids: Mapping[int, TrackId]
    ) -> _Looked:
        """Measure at most `MOST_PROBES` faces, and choose among them."""
        if self._measures is None:
            return _Looked(chosen=tuple(wide[:MOST_PROBES]), qualities={}, n_too_poor=0)
        if self._open_claims is None:
            qualities = {n: self._measures.assess(frame.pixels, faces[n]) for n in wide[:MOST_PROBES]}
            fit = tuple(n for n, quality in qualities.items() if not quality.refused_for)
            return _Looked(chosen=fit, qualities=qualities, n_too_poor=len(qualities) - len(fit))
        return self._look_for_best(self._measures, self._open_claims, frame, faces, wide, track_ids)

    def _look_for_best(
        self,
        measures: FaceMeasures,
        open_claims: OpenClaims,
        frame: Frame,
        faces: Sequence[Face],
        wide: Sequence[int],
        track_ids: Mapping[int, TrackId],
    ) -> _Looked:
        camera_id, now_s = frame.stamp.camera_id, frame.stamp.captured_monotonic_s
        moments = self._moments[camera_id]
        position_of = {track_ids[position]: position for position in wide}
        claimed = frozenset(each for each in position_of if open_claims.is_open(camera_id, each))
        chosen, qualities, n_too_poor = [], {}, 0
        for track_id in moments.waiting(tuple(position_of), now_s, claimed)[:MOST_PROBES]:
            position = position_of[track_id]
            moments.note_looked(track_id, now_s)
            quality = qualities[position] = measures.assess(frame.pixels, faces[position])
            if quality.refused_for:
                n_too_poor += 1
            elif moments.is_best(track_id, quality.score, now_s, is_claimed=track_id in claimed):
                moments.note_embedded(track_id, quality.score, now_s)
                chosen.append(position)
        return _Looked(chosen=tuple(chosen), qualities=qualities, n_too_poor=n_too_poor)

    def _count(
        self,
        watch: CameraWatch | None,
        frame: Frame,
        n_faces: int,
        gated: GatedFaces,
        looked: _Looked,
        track_ids: Mapping[int, TrackId],
    ) -> None:
        n_chosen = len(looked.chosen)
        self._counts.note_frame(n_faces=n_faces, n_too_small=gated.n_too_small)
        self._counts.note_chosen(
            n_embedded=n_chosen,
            n_not_best=len(gated.wide) - n_chosen - looked.n_too_poor,
            n_too_poor=looked.n_too_poor,
        )
        if watch is None or self._measures is None:
            return
        faults: dict[int, FaceFaults] = {n: quality.faults for n, quality in looked.qualities.items()}
        now_s = frame.stamp.captured_monotonic_s
        watch.field_counts.note(
            now_s,
            n_detected=n_faces,
            n_outside_zone=gated.n_outside,
            n_too_small=gated.n_too_small,
            n_searched=n_chosen,
            faults=faults.values(),
        )
        watch.note_pass_rate({track_ids[n]: n in faults and not faults[n] for n in gated.inside}, now_s)

    def _embed(self, frame: Frame, face: Face, track_id: TrackId, bench: TemplateBench, row: int) -> Probe:
        template = bench.row(row)
        with self._embedder_region:
            self._embedder.embed(frame.pixels, face.points, template)
        return Probe(track_id=track_id, box=face.box, template=template)
