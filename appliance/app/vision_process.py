"""The vision worker's process: `python -s -m appliance.app.vision_process --channel PATH`.

It has no network and no event loop. What is concrete in it is named here.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from appliance import __version__
from appliance.alerts.sealing import seal_alert
from appliance.app.capture_watch import EXIT_CLOSED
from appliance.app.watchlist_source import OpenedList, open_sealed_list
from appliance.errors import ChannelClosedError
from appliance.logs import set_up_logging
from appliance.ports import Clock
from appliance.quality import FaceMeasures
from appliance.records.alerts import AlertDetail, SealedKey
from appliance.records.channel import (
    VisionAlert,
    VisionArm,
    VisionArmed,
    VisionAttach,
    VisionReport,
    VisionStart,
)
from appliance.records.ids import AlertId, CameraId
from appliance.vision.analysis import FrameAnalysis
from appliance.vision.claims import AlertSealer, Matcher
from appliance.vision.counts import CameraWatch, Counts
from appliance.vision.decision import LEAST_APART_S, Decider, OpenClaims
from appliance.vision.gallery import Gallery
from appliance.vision.gate import SizeGate
from appliance.vision.intake import FrameSource, Intake
from appliance.vision.picture_state import PictureWatch
from appliance.vision.picture_statistics import PictureBench
from appliance.vision.pipeline import Pipeline
from appliance.vision.warm_up import warm_up
from appliance.vision.work import HeldFrame, TemplateBench
from appliance.vision.worker import VisionWorker
from appliance.vision.zone import Zone
from drivers.arena import Arena, ArenaRegion
from drivers.channel import connect_channel
from drivers.clock import SystemClock
from drivers.pictures import PillowCodec
from drivers.process_settings import check_clearing, check_swap, harden_process, lock_memory
from drivers.ring import RingReader
from models.pairs import ModelPair, open_pair, pair_bytes
from models.synthetic import synthetic_face, synthetic_points

logger = logging.getLogger(__name__)
OTHER_BYTES = 6 << 20
"""Benches, the warm-up picture, alignment and one frame's statistics; networks and gallery come on top."""
CAMERA_BYTES = 48 << 10
"""The reference of one camera's scene."""
N_BENCHES = 2


def main() -> int:
    """Run the worker; its exit status is 0 when it was told to end or the supervisor went."""
    parser = argparse.ArgumentParser(description="The appliance's vision worker; started by the supervisor.")
    parser.add_argument("--channel", type=Path, required=True, help="the supervisor's socket")
    arguments = parser.parse_args()
    set_up_logging()
    signal.signal(signal.SIGTERM, _end_now)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the supervisor's to handle
    warnings = harden_process() + lock_memory() + check_clearing() + check_swap()
    clock = SystemClock()
    try:
        channel = connect_channel(arguments.channel)
    except ChannelClosedError as err:
        logger.warning("%s", err)
        return EXIT_CLOSED
    worker = VisionWorker(
        channel=channel,
        clock=clock,
        version=__version__,
        settings_warnings=warnings,
        arm=lambda *parts: ArmedParts(*parts, clock=clock),
        open_source=_open_source,
    )
    worker.run()
    return 0


class ArmedParts:
    """Everything that exists only while the appliance is armed: networks, gallery, threads."""

    def __init__(
        self,
        start: VisionStart,
        arm: VisionArm,
        key: bytes,
        descriptor: int,
        intake: Intake,
        emit: Callable[[VisionAlert, bytes], None],
        on_bug: Callable[[BaseException], None],
        *,
        clock: Clock,
        is_clearing: bool = True,
    ) -> None:
        self._intake = intake
        self._counts = Counts()
        opened = open_sealed_list(descriptor, key, arm)
        self._arena = Arena(_arena_bytes(start) + opened.template_bytes, is_clearing=is_clearing)
        regions = self._arena.region(), self._arena.region()
        pair = _open_networks(start, regions)
        self._watches = _watches(start, self._arena)
        measures = FaceMeasures(self._arena.region())
        self._open_claims = OpenClaims()
        self._analysis = _analysis(
            start, pair, regions, self._counts, self._watches, measures, self._open_claims
        )
        began_s = clock.monotonic_s()
        codec = PillowCodec()
        warm_up(
            pair.detector,
            pair.embedder,
            codec,
            pixels=synthetic_face(),
            points=synthetic_points(),
            network_regions=regions,
            own_region=self._arena.region(),
        )
        self.armed = VisionArmed(
            n_entries=len(opened.entries),
            n_references=len(opened.templates),
            warm_up_s=round(clock.monotonic_s() - began_s, 3),
            warnings=self._arena.warnings,
        )
        self.pipeline = Pipeline(
            intake=intake,
            analysis=self._analysis,
            matcher=self._matcher(start, arm, opened, codec, emit, clock),
            benches=[
                TemplateBench(self._arena.region(), pair.embedder.template_length) for _ in range(N_BENCHES)
            ],
            on_bug=on_bug,
            clock=clock,
        )

    def report(self) -> VisionReport:
        """Return the counts so far."""
        return self._counts.report(
            n_frames_dropped=self._intake.frames.n_dropped,
            n_tracks=self._analysis.n_faces_seen,
            cameras=tuple(watch.report() for watch in self._watches.values()),
        )

    def clear(self) -> None:
        """Zero the arena."""
        self._arena.clear()

    def _matcher(
        self,
        start: VisionStart,
        arm: VisionArm,
        opened: OpenedList,
        codec: PillowCodec,
        emit: Callable[[VisionAlert, bytes], None],
        clock: Clock,
    ) -> Matcher:
        gallery = Gallery(
            opened.entries,
            opened.templates,
            threshold=arm.operating_point.threshold,
            gallery_region=self._arena.region(),
            score_region=self._arena.region(),
        )
        return Matcher(
            gallery=gallery,
            entries={entry.entry_id: entry for entry in opened.entries},
            decider=Decider(
                frames_k=start.frames_k,
                frames_n=start.frames_n,
                least_apart_s=LEAST_APART_S,
                open_claims=self._open_claims,
            ),
            codec=codec,
            portrait_of=opened.portrait_of,
            sealer=_sealer(arm),
            emit=emit,
            clock=clock,
            counts=self._counts,
        )


def _arena_bytes(start: VisionStart) -> int:
    networks = pair_bytes(
        start.pair,
        detector_width_px=start.detector_width_px,
        detector_height_px=start.detector_height_px,
        largest_frame_bytes=start.largest_frame_bytes,
    )
    cameras_bytes = CAMERA_BYTES * len(start.cameras)
    return networks.detector_bytes + networks.embedder_bytes + cameras_bytes + OTHER_BYTES


def _open_networks(start: VisionStart, regions: tuple[ArenaRegion, ArenaRegion]) -> ModelPair:
    return open_pair(
        start.pair,
        Path(start.models_folder),
        detector_region=regions[0],
        embedder_region=regions[1],
        detector_width_px=start.detector_width_px,
        detector_height_px=start.detector_height_px,
        largest_frame_bytes=start.largest_frame_bytes,
        threads=start.threads,
    )


def _analysis(
    start: VisionStart,
    pair: ModelPair,
    regions: tuple[ArenaRegion, ArenaRegion],
    counts: Counts,
    watches: dict[CameraId, CameraWatch],
    measures: FaceMeasures,
    open_claims: OpenClaims,
) -> FrameAnalysis:
    return FrameAnalysis(
        detector=pair.detector,
        embedder=pair.embedder,
        detector_region=regions[0],
        embedder_region=regions[1],
        gates={
            camera.camera_id: SizeGate(
                least_face_width_px=camera.least_face_width_px, zone=Zone(points=camera.zone)
            )
            for camera in start.cameras
        },
        counts=counts,
        watches=watches,
        measures=measures,
        open_claims=open_claims,
    )


def _watches(start: VisionStart, arena: Arena) -> dict[CameraId, CameraWatch]:
    bench = PictureBench(arena.region())
    return {
        camera.camera_id: CameraWatch(
            camera_id=camera.camera_id,
            picture=PictureWatch(
                least_face_width_px=camera.least_face_width_px,
                bench=bench,
                reference_region=arena.region(),
            ),
        )
        for camera in start.cameras
    }


def _sealer(arm: VisionArm) -> AlertSealer:
    def seal(
        detail: AlertDetail, probe_jpeg: bytes, reference_jpeg: bytes
    ) -> tuple[AlertId, tuple[SealedKey, ...], bytes]:
        alert_id = AlertId(uuid4().hex)
        sealed_keys, ciphertext = seal_alert(
            detail,
            probe_jpeg,
            reference_jpeg,
            alert_id=alert_id,
            appliance_id=arm.appliance_id,
            deployment_id=arm.deployment_id,
            recipients=arm.recipients,
        )
        return alert_id, sealed_keys, ciphertext

    return seal


def _open_source(attach: VisionAttach, ring_descriptor: int, socket_descriptor: int) -> FrameSource:
    sock = socket.socket(fileno=socket_descriptor)
    try:
        return RingSource(
            RingReader(ring_descriptor, sock, attach.n_slots, attach.slot_bytes, camera_id=attach.camera_id)
        )
    finally:
        os.close(ring_descriptor)


class RingSource:
    """Give a ring's frames together with the way back to their slots."""

    def __init__(self, reader: RingReader) -> None:
        self._reader = reader

    def receive(self, timeout_s: float) -> HeldFrame | None:
        """Return the next frame; its release zeroes the slot."""
        received = self._reader.receive(timeout_s)
        if received is None:
            return None
        return HeldFrame(frame=received.frame, release=lambda: self._reader.release(received))

    def retire(self) -> None:
        """Let go of the ring when the last frame has been released."""
        self._reader.retire()


def _end_now(number: int, frame: object) -> None:
    # Raised on the main thread, so that the worker's `finally` zeroes the arena on the way out.
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
