"""Measure what zone, picture state and field counts cost: `python -m tests.benchmarks.picture_state`.

The same analysis on scripted networks runs with and without them, side by side: one frame each in turn, so
that whatever else the machine does falls on both. The median of the differences counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
from time import perf_counter

import numpy as np

from appliance.quality import FaceMeasures
from appliance.records.frames import Face, Frame, FrameStamp, Pixels
from appliance.vision.analysis import FrameAnalysis
from appliance.vision.counts import CameraWatch, Counts
from appliance.vision.gate import SizeGate
from appliance.vision.picture_state import PictureWatch
from appliance.vision.picture_statistics import PictureBench
from appliance.vision.work import HeldFrame, TemplateBench
from appliance.vision.zone import Zone
from drivers.arena import Arena
from tests.fakes.clock import START
from tests.fakes.house import CAMERA
from tests.fakes.networks import FakeDetector, FakeEmbedder, make_face, unit

ARENA_BYTES = 8 << 20
WARM_UP = 100
"""Frames before the measuring: the scene is known after 15 s of film."""
ZONE = ((0.05, 0.2), (0.9, 0.1), (0.95, 0.6), (0.6, 0.95), (0.1, 0.9))


def make_analysis(arena: Arena, faces: list[Face], *, is_watched: bool) -> FrameAnalysis:
    """Return an analysis whose networks cost nothing."""
    regions = arena.region(), arena.region()
    picture = PictureWatch(
        least_face_width_px=40, bench=PictureBench(arena.region()), reference_region=arena.region()
    )
    return FrameAnalysis(
        detector=FakeDetector(faces, regions[0]),
        embedder=FakeEmbedder(lambda *_: unit(1.0), regions[1]),
        detector_region=regions[0],
        embedder_region=regions[1],
        gates={CAMERA: SizeGate(least_face_width_px=40, zone=Zone(points=ZONE) if is_watched else Zone())},
        counts=Counts(),
        watches={CAMERA: CameraWatch(camera_id=CAMERA, picture=picture)} if is_watched else None,
        measures=FaceMeasures(arena.region()) if is_watched else None,
    )


def make_pictures(n_pictures: int) -> list[Pixels]:
    """Return 1280 x 720 px pictures of one made scene, each with its own noise."""
    random = np.random.default_rng(1)
    walls = random.integers(20, 230, (24, 40, 1)).repeat(30, 0).repeat(32, 1)
    return [
        np.clip(walls + random.normal(0, 3, (720, 1280, 3)), 0, 255).astype(np.uint8)
        for _ in range(n_pictures)
    ]


def run_side_by_side(n_frames: int, interval_s: float, n_faces: int) -> dict[str, float]:
    """Return medians and the 95th percentile in ms per frame, of frames `interval_s` apart."""
    arena = Arena(ARENA_BYTES)
    faces = [
        make_face(x_px=300 + 90 * (n % 8), y_px=200 + 120 * (n // 8), width_px=60) for n in range(n_faces)
    ]
    analyses = [make_analysis(arena, faces, is_watched=is_watched) for is_watched in (False, True)]
    bench = TemplateBench(arena.region(), 8)
    pictures = make_pictures(8)
    times_ms: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM_UP + n_frames):
        step_s = 0.25 if number < WARM_UP else interval_s
        stamp = FrameStamp(
            camera_id=CAMERA,
            frame_number=number,
            captured_at=START,
            captured_monotonic_s=number * 0.25 if number < WARM_UP else WARM_UP * 0.25 + number * step_s,
        )
        frame = Frame(stamp=stamp, pixels=pictures[number % len(pictures)])
        order = (0, 1) if number % 2 else (1, 0)
        for which in order:
            began_s = perf_counter()
            analyses[which].analyse(HeldFrame(frame=frame, release=lambda: None), bench)
            if number >= WARM_UP:
                times_ms[which].append((perf_counter() - began_s) * 1e3)
    extra_ms = [watched - bare for bare, watched in zip(*times_ms, strict=True)]
    return {
        "without_ms": statistics.median(times_ms[0]),
        "with_ms": statistics.median(times_ms[1]),
        "extra_ms": statistics.median(extra_ms),
        "extra_mean_ms": statistics.fmean(extra_ms),
        "extra_p95_ms": statistics.quantiles(extra_ms, n=20)[-1],
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=400, help="frames to measure of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON for a script")
    arguments = parser.parse_args()
    kinds = {
        "a frame whose picture is looked at, no face": (0.26, 0),
        "a frame whose picture is looked at, 8 faces": (0.26, 8),
        "a frame at 25 per second, no face": (0.04, 0),
        "a frame at 25 per second, 8 faces": (0.04, 8),
    }
    found = {name: run_side_by_side(arguments.frames, *kind) for name, kind in kinds.items()}
    if arguments.json:
        print(json.dumps(found))
        return
    print("1280 x 720 px, extra time per frame over the same analysis without, ms:")
    for name, figures in found.items():
        print(f"{name:45}", *(f"{key.removesuffix('_ms')} {value:.3f}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
