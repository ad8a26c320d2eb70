"""The two threads of the vision worker on scripted networks, with everything that a test wants to look at."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from appliance.ports import Clock
from appliance.quality import FaceMeasures
from appliance.records.alerts import AlertDetail, SealedKey
from appliance.records.channel import VisionAlert
from appliance.records.frames import Box, Face, Frame, FrameStamp, Pixels
from appliance.records.ids import AlertId, CameraId
from appliance.vision.analysis import FrameAnalysis
from appliance.vision.claims import Matcher
from appliance.vision.counts import Counts
from appliance.vision.decision import LEAST_APART_S, Decider, OpenClaims
from appliance.vision.gallery import Gallery
from appliance.vision.gate import SizeGate
from appliance.vision.intake import Intake
from appliance.vision.pipeline import Pipeline
from appliance.vision.work import HeldFrame, TemplateBench
from drivers.clock import SystemClock
from tests.fakes.clock import START
from tests.fakes.entries import make_entry
from tests.fakes.networks import FakeDetector, FakeEmbedder, make_face, unit
from tests.fakes.region import FakeRegion

CAMERA, OTHER_CAMERA = CameraId("gate"), CameraId("yard")
TEMPLATE_LENGTH = 8
THRESHOLD = 0.9
WAIT_S = 5.0


class FakeCodec:
    """Implement the PictureCodec port; `on_encode` runs in the middle of an alert."""

    def __init__(self, on_encode: Callable[[], object]) -> None:
        self._on_encode = on_encode

    def encode_portrait(self, pixels: Pixels, box: Box) -> bytes:
        self._on_encode()
        return b"jpeg"


@dataclass
class House:
    """A pipeline of two cameras with a list of one: the volunteer whose template is `unit(1.0)`."""

    faces: list[Face] = field(default_factory=lambda: [make_face()])
    template_of: Callable[..., np.ndarray] = field(default=lambda pixels, points: unit(1.0))
    on_encode: Callable[[], object] = field(default=lambda: None)
    alerts: list[VisionAlert] = field(default_factory=list)
    details: list[AlertDetail] = field(default_factory=list)
    bugs: list[BaseException] = field(default_factory=list)
    regions: list[FakeRegion] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    clock: Clock = field(default_factory=SystemClock)
    picture: Pixels | None = None
    """(240, 320, 3), what the frames show; None is a grey wall."""
    is_choosing: bool = False
    """Embed at best moments, as the worker does; else every face in every frame."""

    def __post_init__(self) -> None:
        self.intake = Intake()
        detector_region, embedder_region = self.region(), self.region()
        self.open_claims = OpenClaims() if self.is_choosing else None
        self.analysis = FrameAnalysis(
            detector=FakeDetector(lambda pixels: self.faces, detector_region),
            embedder=FakeEmbedder(lambda *parts: self.template_of(*parts), embedder_region),
            detector_region=detector_region,
            embedder_region=embedder_region,
            gates={each: SizeGate(least_face_width_px=40) for each in (CAMERA, OTHER_CAMERA)},
            counts=self.counts,
            measures=FaceMeasures(self.region()) if self.is_choosing else None,
            open_claims=self.open_claims,
        )
        entry = make_entry(0)
        self.decider = Decider(
            frames_k=2,
            frames_n=3,
            least_apart_s=LEAST_APART_S if self.is_choosing else 0.0,
            open_claims=self.open_claims,
        )
        self.matcher = Matcher(
            gallery=Gallery(
                [entry],
                np.stack([unit(1.0)]),
                threshold=THRESHOLD,
                gallery_region=FakeRegion(),
                score_region=self.region(),
            ),
            entries={entry.entry_id: entry},
            decider=self.decider,
            codec=FakeCodec(lambda: self.on_encode()),
            portrait_of=lambda reference: b"reference",
            sealer=self.seal,
            emit=lambda alert, ciphertext: self.alerts.append(alert),
            clock=self.clock,
            counts=self.counts,
        )
        self.benches = [TemplateBench(self.region(), TEMPLATE_LENGTH) for _ in range(2)]
        self.pipeline = Pipeline(
            intake=self.intake,
            analysis=self.analysis,
            matcher=self.matcher,
            benches=self.benches,
            on_bug=self.bugs.append,
            clock=self.clock,
        )

    def region(self) -> FakeRegion:
        self.regions.append(FakeRegion())
        return self.regions[-1]

    def seal(
        self, detail: AlertDetail, probe_jpeg: bytes, reference_jpeg: bytes
    ) -> tuple[AlertId, tuple[SealedKey, ...], bytes]:
        self.details.append(detail)
        return AlertId(f"alert-{len(self.details)}"), (), b"sealed"

    def show(self, number: int, camera_id: CameraId = CAMERA) -> Pixels:
        """Put a frame in and wait until its slot came back."""
        pixels = np.full((240, 320, 3), 7, dtype=np.uint8)
        if self.picture is not None:
            pixels[:] = self.picture
        came_back = threading.Event()

        def release() -> None:
            pixels.fill(0)
            came_back.set()

        stamp = FrameStamp(
            camera_id=camera_id,
            frame_number=number,
            captured_at=START,
            captured_monotonic_s=self.clock.monotonic_s(),
        )
        self.intake.frames.put(camera_id, HeldFrame(frame=Frame(stamp=stamp, pixels=pixels), release=release))
        assert came_back.wait(WAIT_S)
        return pixels

    def stop(self) -> None:
        """End both threads; every frame is back and every bench is zeroed."""
        self.pipeline.stop()
        self.intake.stop()

    def is_clear(self) -> bool:
        return not any(array.any() for region in self.regions for array in region.arrays)
