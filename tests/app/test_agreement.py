"""Enrolment and stream agree: the same picture gives the same template on both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from appliance.records.channel import CaptureStart
from appliance.records.frames import FrameStamp, PictureSize, Pixels, Template
from appliance.records.ids import CameraId
from appliance.vision.analysis import FrameAnalysis
from appliance.vision.counts import Counts
from appliance.vision.gate import SizeGate
from appliance.vision.work import HeldFrame, TemplateBench
from drivers.arena import Arena
from drivers.cameras.factory import open_camera
from drivers.cameras.writer import VideoWriter
from drivers.clock import SystemClock
from drivers.pictures import read_picture
from drivers.ring import RingReader, RingWriter, create_ring
from models.pairs import open_pair, pair_bytes
from provisioning.ops.networks import open_networks

CAMERA = CameraId("gate")
REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_MODELS = REPOSITORY / ".cache" / "models"
SIZE = PictureSize(width_px=1280, height_px=720)
PAIRS = ("centerface-dlib", "yunet-mobilefacenet")


def folder_of(pair: str) -> Path:
    if pair != "centerface-dlib" and not (DEFAULT_MODELS / "mobilefacenet-arcface-1.onnx").exists():
        pytest.skip("YuNet and MobileFaceNet are not fetched: models fetch yunet-mobilefacenet --from ...")
    return DEFAULT_MODELS


@pytest.fixture(scope="module")
def scene() -> Pixels:
    """Return a frame of 1280 x 720 px with one portrait in it, its face about 100 px wide."""
    frame = np.full((SIZE.height_px, SIZE.width_px, 3), 110, dtype=np.uint8)
    portrait = read_picture(DEFAULT_MODELS / "astronaut.png")
    frame[100:612, 300:812] = portrait
    return frame


def enrolled(pair: str, picture: Pixels) -> Template:
    return open_networks(pair, folder_of(pair)).enroller.enrol_picture(picture).template


def streamed(pair: str, video: Path) -> Template:
    """Return the template that the worker's own analysis makes of the first frame, taken from a real ring."""
    frame_bytes = SIZE.width_px * SIZE.height_px * 3
    room = pair_bytes(pair, detector_width_px=640, detector_height_px=384, largest_frame_bytes=frame_bytes)
    arena = Arena(room.detector_bytes + room.embedder_bytes + (4 << 20))
    regions = arena.region(), arena.region()
    networks = open_pair(
        pair,
        folder_of(pair),
        detector_region=regions[0],
        embedder_region=regions[1],
        detector_width_px=640,
        detector_height_px=384,
        largest_frame_bytes=frame_bytes,
        threads=1,
    )
    analysis = FrameAnalysis(
        detector=networks.detector,
        embedder=networks.embedder,
        detector_region=regions[0],
        embedder_region=regions[1],
        gates={CAMERA: SizeGate(least_face_width_px=40)},
        counts=Counts(),
    )
    bench = TemplateBench(arena.region(), networks.embedder.template_length)
    with_frame = through_ring(video)
    work = analysis.analyse(with_frame, bench)
    template: Template = work.probes[0].template.copy()
    with_frame.release()
    return template


def through_ring(video: Path) -> HeldFrame:
    """Return a frame that went through a camera and a ring; its release lets go of both."""
    clock = SystemClock()
    start = CaptureStart(
        camera_id=CAMERA,
        source=str(video),
        rate="fast",
        n_slots=2,
        slot_bytes=SIZE.width_px * SIZE.height_px * 3,
    )
    ring = create_ring(start.n_slots, start.slot_bytes)
    writer = RingWriter(ring.fd, ring.writer_end, start.n_slots, start.slot_bytes)
    reader = RingReader(ring.fd, ring.reader_end, start.n_slots, start.slot_bytes, CAMERA)
    camera = open_camera(start.source, start.rate, clock)
    camera.open()
    slot = writer.next_slot()
    assert slot is not None
    size = camera.read_into(slot.buffer, 5.0)
    assert size == SIZE
    stamp = FrameStamp(
        camera_id=CAMERA, frame_number=0, captured_at=clock.now(), captured_monotonic_s=clock.monotonic_s()
    )
    writer.commit(slot, stamp, size)
    received = reader.receive(1.0)
    assert received is not None
    camera.close()

    def release() -> None:
        reader.release(received)
        reader.close()
        writer.close()
        ring.close()

    return HeldFrame(frame=received.frame, release=release)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_lossless_picture_gives_the_same_template(pair: str, scene: Pixels, tmp_path: Path) -> None:
    video = tmp_path / "lossless.mkv"
    with VideoWriter(video, SIZE, 10, is_lossless=True) as writer:
        writer.add(scene)
    cosine = float(enrolled(pair, scene) @ streamed(pair, video))
    print(f"\n{pair}, lossless: cosine {cosine:.6f}")
    assert cosine > 0.9999


@pytest.mark.parametrize("pair", PAIRS)
def test_through_h264_the_template_stays_close(pair: str, scene: Pixels, tmp_path: Path) -> None:
    video = tmp_path / "street.mp4"
    with VideoWriter(video, SIZE, 10) as writer:
        for _ in range(5):
            writer.add(scene)
    cosine = float(enrolled(pair, scene) @ streamed(pair, video))
    print(f"\n{pair}, H.264: cosine {cosine:.4f}")
    assert cosine > 0.98
