"""The two threads on scripted networks: what is wiped, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from appliance.records.alerts import AlertDetail, SealedKey
from appliance.records.channel import VisionAlert
from appliance.records.frames import Box, Face, Frame, FrameStamp, Pixels
from appliance.records.ids import AlertId, CameraId
from appliance.vision.analysis import FrameAnalysis
from appliance.vision.claims import Matcher
from appliance.vision.counts import Counts
from appliance.vision.decision import Decider
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

CAMERA = CameraId("gate")
WAIT_S = 5.0


class FakeCodec:
    def encode_portrait(self, pixels: Pixels, box: Box) -> bytes:
        return b"jpeg"


@dataclass
class House:
    """A pipeline with everything that a test wants to look at."""

    faces: list[Face] = field(default_factory=lambda: [make_face()])
    template_of: Callable[..., np.ndarray] = field(default=lambda pixels, points: unit(1.0))
    alerts: list[VisionAlert] = field(default_factory=list)
    details: list[AlertDetail] = field(default_factory=list)
    bugs: list[BaseException] = field(default_factory=list)
    regions: list[FakeRegion] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.intake = Intake()
        detector_region, embedder_region = self.region(), self.region()
        analysis = FrameAnalysis(
            detector=FakeDetector(lambda pixels: self.faces, detector_region),
            embedder=FakeEmbedder(lambda *parts: self.template_of(*parts), embedder_region),
            detector_region=detector_region,
            embedder_region=embedder_region,
            gates={CAMERA: SizeGate(least_face_width_px=40)},
            counts=self.counts,
        )
        entry = make_entry(0)
        matcher = Matcher(
            gallery=Gallery(
                [entry],
                np.stack([unit(1.0)]),
                threshold=0.9,
                gallery_region=FakeRegion(),
                score_region=self.region(),
            ),
            entries={entry.entry_id: entry},
            decider=Decider(frames_k=2, frames_n=3),
            codec=FakeCodec(),
            portrait_of=lambda reference: b"reference",
            sealer=self.seal,
            emit=lambda alert, ciphertext: self.alerts.append(alert),
            clock=SystemClock(),
            counts=self.counts,
        )
        self.benches = [TemplateBench(self.region(), 8) for _ in range(2)]
        self.pipeline = Pipeline(
            intake=self.intake,
            analysis=analysis,
            matcher=matcher,
            benches=self.benches,
            on_bug=self.bugs.append,
        )

    def region(self) -> FakeRegion:
        self.regions.append(FakeRegion())
        return self.regions[-1]

    def seal(
        self, detail: AlertDetail, probe_jpeg: bytes, reference_jpeg: bytes
    ) -> tuple[AlertId, tuple[SealedKey, ...], bytes]:
        self.details.append(detail)
        return AlertId(f"alert-{len(self.details)}"), (), b"sealed"

    def show(self, number: int) -> Pixels:
        """Put a frame in and wait until its slot came back."""
        pixels = np.full((240, 320, 3), 7, dtype=np.uint8)
        came_back = threading.Event()

        def release() -> None:
            pixels.fill(0)
            came_back.set()

        stamp = FrameStamp(
            camera_id=CAMERA,
            frame_number=number,
            captured_at=START,
            captured_monotonic_s=SystemClock().monotonic_s(),
        )
        self.intake.frames.put(CAMERA, HeldFrame(frame=Frame(stamp=stamp, pixels=pixels), release=release))
        assert came_back.wait(WAIT_S)
        return pixels

    def is_clear(self) -> bool:
        return not any(array.any() for region in self.regions for array in region.arrays)


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    house.pipeline.start()
    yield house
    house.pipeline.stop()
    house.intake.stop()


def test_two_frames_that_agree_raise_one_alert(house: House) -> None:
    for number in range(5):
        house.show(number)
    assert [alert.entry_id for alert in house.alerts] == ["entry-0"]
    assert house.alerts[0].is_volunteer
    assert house.details[0].n_frames_agreed == 2


def test_a_stranger_raises_none_and_is_counted(house: House) -> None:
    house.template_of = lambda pixels, points: unit(0.0, 1.0)
    for number in range(5):
        house.show(number)
    assert house.alerts == []
    assert house.counts.n_searched == 5


def test_small_faces_are_never_embedded(house: House) -> None:
    house.faces = [make_face(width_px=39.9)]
    house.show(0)
    assert (house.counts.n_too_small, house.counts.n_searched) == (1, 0)


def test_everything_is_zero_after_each_frame(house: House) -> None:
    for number in range(3):
        assert not house.show(number).any()
    house.pipeline.stop()
    assert house.is_clear()
    assert house.counts.n_probes_wiped == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_everything_is_zero_after_a_bug_in_mid_frame(house: House) -> None:
    def fail(pixels: Pixels, points: object) -> np.ndarray:
        raise RuntimeError("in mid-frame")

    house.template_of = fail
    house.show(0)
    house.pipeline.stop()
    assert [str(bug) for bug in house.bugs] == ["in mid-frame"]
    assert house.is_clear()
