"""Embed at best moments or in every frame, side by side: `python -m tests.benchmarks.embeddings`.

The demonstration's film, two people, real networks: each frame goes through all ways in turn, so that
whatever else the machine does falls on all of them. Every person of the film is listed once, and once nobody
is: both passings count. Time to alert is film time from the first frame with the
person's face wide enough in it; a decision takes no film time, as on a device that keeps up.

Ways: `every_frame` is how it was (k of n frames, however near); `every_frame_apart` counts frames that share
a blur once; `best_moments` is what runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.progress import track as show_progress

from appliance.app.demo.enrolment_picture import make_enrolment_picture
from appliance.app.demo.scene import Truth, load_truth, make_scene_video
from appliance.errors import EndOfStreamError
from appliance.quality import FaceMeasures
from appliance.records.frames import Frame, FrameStamp, PictureSize, Pixels, Template
from appliance.records.ids import CameraId, EntryId
from appliance.records.watchlist import Candidate
from appliance.vision.analysis import FrameAnalysis
from appliance.vision.counts import Counts
from appliance.vision.decision import LEAST_APART_S, Decider, OpenClaims
from appliance.vision.gate import SizeGate
from appliance.vision.work import HeldFrame, TemplateBench
from drivers.arena import Arena
from drivers.cameras.factory import open_camera
from drivers.clock import SystemClock
from drivers.pictures import read_picture
from models.pairs import open_pair, pair_bytes
from provisioning.ops.networks import open_networks
from tests.fakes.clock import START

CAMERA = CameraId("gate")
SIZE = PictureSize(width_px=1280, height_px=720)
PORTRAITS = {"Eileen Collins": "astronaut.png", "Grace Hopper": "grace_hopper.jpg"}
FILM_FPS = 25
FRAMES_K, FRAMES_N = 3, 5
DETECTOR_WIDTH_PX, DETECTOR_HEIGHT_PX = 640, 384
FRAME_BYTES = SIZE.width_px * SIZE.height_px * 3
WAYS = ("every_frame", "every_frame_apart", "best_moments")


@dataclass
class Way:
    """One way of embedding, and what came of it."""

    analysis: FrameAnalysis
    decider: Decider
    bench: TemplateBench
    arena: Arena
    spent_s: list[float] = field(default_factory=list)
    n_embedded: Counter[str] = field(default_factory=Counter)
    alerted_s: dict[str, float] = field(default_factory=dict)
    wrong: int = 0


def make_way(name: str, pair: str, models: Path) -> Way:
    """Return a way with networks of its own."""
    room = pair_bytes(
        pair,
        detector_width_px=DETECTOR_WIDTH_PX,
        detector_height_px=DETECTOR_HEIGHT_PX,
        largest_frame_bytes=FRAME_BYTES,
    )
    arena = Arena(room.detector_bytes + room.embedder_bytes + (4 << 20))
    regions = arena.region(), arena.region()
    networks = open_pair(
        pair,
        models,
        detector_region=regions[0],
        embedder_region=regions[1],
        threads=1,
        detector_width_px=DETECTOR_WIDTH_PX,
        detector_height_px=DETECTOR_HEIGHT_PX,
        largest_frame_bytes=FRAME_BYTES,
    )
    claims = OpenClaims() if name == "best_moments" else None
    analysis = FrameAnalysis(
        detector=networks.detector,
        embedder=networks.embedder,
        detector_region=regions[0],
        embedder_region=regions[1],
        gates={CAMERA: SizeGate(least_face_width_px=40)},
        counts=Counts(),
        measures=FaceMeasures(arena.region()) if claims else None,
        open_claims=claims,
    )
    decider = Decider(
        frames_k=FRAMES_K,
        frames_n=FRAMES_N,
        least_apart_s=0.0 if name == "every_frame" else LEAST_APART_S,
        open_claims=claims,
    )
    bench = TemplateBench(arena.region(), networks.embedder.template_length)
    return Way(analysis=analysis, decider=decider, bench=bench, arena=arena)


def frames_of(film: Path) -> Iterator[tuple[int, Pixels]]:
    """Yield the film's frames with their numbers, all in one buffer."""
    camera = open_camera(str(film), "fast", SystemClock())
    slot = np.zeros(FRAME_BYTES, np.uint8)
    camera.open()
    number = 0
    try:
        while True:
            if camera.read_into(slot, 5.0) is not None:
                yield number, slot.reshape(SIZE.height_px, SIZE.width_px, 3)
                number += 1
    except EndOfStreamError:
        return
    finally:
        camera.close()


def play(
    way: Way, number: int, pixels: Pixels, truth: Truth, gallery: dict[str, Template], threshold: float
) -> None:
    """Let a way have a frame, and note what it does with it."""
    at_s = number / FILM_FPS
    stamp = FrameStamp(
        camera_id=CAMERA,
        frame_number=number,
        captured_at=START + timedelta(seconds=at_s),
        captured_monotonic_s=1000 + at_s,
    )
    held = HeldFrame(frame=Frame(stamp=stamp, pixels=pixels), release=lambda: None)
    began_s = perf_counter()
    work = way.analysis.analyse(held, way.bench)
    way.spent_s.append(perf_counter() - began_s)
    for probe in work.probes:
        shown = truth.person_at(at_s, probe.box, SIZE) or "nobody"
        way.n_embedded[shown] += 1
        candidates = [
            Candidate(entry_id=EntryId(name), score=float(template @ probe.template), rank=1)
            for name, template in gallery.items()
            if float(template @ probe.template) >= threshold
        ]
        for raised in way.decider.note(CAMERA, probe.track_id, candidates, stamp.captured_monotonic_s):
            way.wrong += raised.entry_id != shown
            way.alerted_s.setdefault(shown, at_s)
    way.bench.region.clear()


def first_wide_s(truth: Truth, step: int) -> dict[str, float]:
    """Return when each person's face is first wide enough in a frame that is looked at."""
    seen: dict[str, float] = {}
    for face in truth.faces:
        if face.box.width_px >= 40 and face.frame_number % step == 0:
            seen.setdefault(face.name, face.media_time_s)
    return seen


def run_film(
    film: Path,
    truth: Truth,
    listed: dict[str, Template],
    *,
    pair: str,
    models: Path,
    threshold: float,
    step: int,
) -> dict[str, Way]:
    """Play a film once, every `step`-th frame, through all ways."""
    ways = {name: make_way(name, pair, models) for name in WAYS}
    for number, pixels in frames_of(film):
        if number % step == 0:
            turned = (number // step) % len(WAYS)
            for name in (*WAYS[turned:], *WAYS[:turned]):
                play(ways[name], number, pixels, truth, listed, threshold)
    return ways


def measure(
    pair: str, models: Path, *, seeds: list[int], step: int, threshold: float, folder: Path
) -> dict[str, dict[str, float]]:
    """Return the figures of all films at one frame rate."""
    found: dict[str, defaultdict[str, list[float]]] = {name: defaultdict(list) for name in WAYS}
    enroller = open_networks(pair, models).enroller
    gallery = {}
    for name, file in PORTRAITS.items():
        picture = folder / f"{Path(file).stem}.jpg"
        make_enrolment_picture(models / file, picture)
        gallery[name] = enroller.enrol_picture(read_picture(picture)).template
    for seed in show_progress(
        seeds, description=f"{FILM_FPS / step:.1f} frames/s", console=Console(stderr=True)
    ):
        film, truth_path = folder / f"{seed}.mp4", folder / f"{seed}.jsonl"
        if not film.exists():
            portraits = {name: models / file for name, file in PORTRAITS.items()}
            make_scene_video(film, portraits, truth_path, seed=seed)
        truth = load_truth(truth_path)
        since = first_wide_s(truth, step)
        for listed in (gallery, {}):
            ways = run_film(film, truth, listed, pair=pair, models=models, threshold=threshold, step=step)
            for name, way in ways.items():
                note_figures(found[name], way, since, is_listed=bool(listed))
    summaries = {name: summary_of(figures) for name, figures in found.items()}
    return {**summaries, "ratios": ratios_of(summaries, FILM_FPS / step)}


def note_figures(
    figures: dict[str, list[float]], way: Way, since: dict[str, float], *, is_listed: bool
) -> None:
    """Add one film's figures."""
    kind = "listed" if is_listed else "stranger"
    for person, began_s in since.items():
        figures[f"{kind}_embeddings"].append(way.n_embedded[person])
        if is_listed:
            figures["is_found"].append(person in way.alerted_s)
            figures["to_alert_s"].append(way.alerted_s.get(person, 1e9) - began_s)
    figures["wrong"].append(way.wrong)
    figures["spent_s"] += way.spent_s


def summary_of(figures: dict[str, list[float]]) -> dict[str, float]:
    """Return medians and totals."""
    both = figures["listed_embeddings"] + figures["stranger_embeddings"]
    return {
        "embeddings_per_passing_median": statistics.median(both),
        "embeddings_per_listed_passing_median": statistics.median(figures["listed_embeddings"]),
        "embeddings_per_strangers_passing_median": statistics.median(figures["stranger_embeddings"]),
        "embeddings_per_passing_most": max(both),
        "frames_s": len(figures["spent_s"]) / sum(figures["spent_s"]),
        "to_alert_median_s": statistics.median(figures["to_alert_s"]),
        "to_alert_latest_s": max(figures["to_alert_s"]),
        "people_found": sum(figures["is_found"]),
        "people_listed": len(figures["is_found"]),
        "wrong_alerts": sum(figures["wrong"]),
    }


def ratios_of(ways: dict[str, dict[str, float]], rate_hz: float) -> dict[str, float]:
    """Return what best moments cost and bring against every frame; lateness is in frame intervals."""
    best, every, apart = ways["best_moments"], ways["every_frame"], ways["every_frame_apart"]
    key = "embeddings_per_passing_median"
    return {
        "embeddings": best[key] / every[key],
        "frames_s": best["frames_s"] / every["frames_s"],
        "people_found": best["people_found"] - every["people_found"],
        "alert_later_by_frames": (best["to_alert_median_s"] - every["to_alert_median_s"]) * rate_hz,
        "alert_later_by_frames_same_rule": (best["to_alert_median_s"] - apart["to_alert_median_s"]) * rate_hz,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=Path(".cache/models"), help="where the networks are")
    parser.add_argument("--pair", default="centerface-dlib", help="detector and embedder")
    parser.add_argument(
        "--threshold", type=float, default=0.94, help="cosine at or above which an entry is named"
    )
    parser.add_argument("--films", type=int, default=3, help="films of two people each")
    parser.add_argument("--step", type=int, action="append", help="look at every n-th frame; default 1 and 3")
    parser.add_argument("--json", action="store_true", help="print JSON for a script")
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for step in arguments.step or [1, 3]:
            found[f"{FILM_FPS / step:.1f} frames/s"] = measure(
                arguments.pair,
                arguments.models,
                seeds=list(range(1, arguments.films + 1)),
                step=step,
                threshold=arguments.threshold,
                folder=Path(folder),
            )
    if arguments.json:
        print(json.dumps(found))
        return
    for rate, ways in found.items():
        print(f"{arguments.pair}, film looked at with {rate}:")
        for key in ways["best_moments"]:
            print(f"  {key:42}", *(f"{name} {ways[name][key]:8.2f}" for name in WAYS))
        print("  best moments against every frame:")
        for key, ratio in ways["ratios"].items():
            print(f"    {key:40} {ratio:8.2f}")


if __name__ == "__main__":
    main()
