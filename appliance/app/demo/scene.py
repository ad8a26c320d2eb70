"""The demonstration's film: who walks where and when, and the truth that goes with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.app.demo.scene_video import LONGEST_SHAKE_PX, CutOut, Stage, Walker
from appliance.errors import RecordError, StorageError, UsageError
from appliance.records.frames import Box, PictureSize
from appliance.records.wire import dump_record, parse_record
from drivers.cameras.writer import VideoWriter

MOST_PEOPLE = 2
TOLERANCE_S = 0.25
"""How far the time of a claim may be from the film's own: a player is never quite on time."""
LEAST_OVERLAP = 0.2
_LONGEST_LINE_BYTES = 1000
_EXPOSURE = 0.25  # of a frame: the way that is moved while the shutter is open


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthScene:
    """The first line of a truth file."""

    width_px: int
    height_px: int
    fps: int
    n_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthFace:
    """A line of a truth file: a face of which at least half can be seen."""

    frame_number: int
    media_time_s: float
    name: str
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Who is where in the film."""

    scene: TruthScene
    faces: tuple[TruthFace, ...]

    def person_at(self, media_time_s: float, box: Box, frame_size: PictureSize) -> str | None:
        """Return who was shown there, or None when nobody was.

        Args:
            media_time_s: Seconds since the film's first frame; right to within 0.25 s.
            box: Where a face was claimed, in pixels of a frame of `frame_size`.
            frame_size: Of the frame that the box is measured in.
        """
        across = self.scene.width_px / frame_size.width_px
        down = self.scene.height_px / frame_size.height_px
        claimed = Box(
            x_px=box.x_px * across,
            y_px=box.y_px * down,
            width_px=box.width_px * across,
            height_px=box.height_px * down,
        )
        best, best_overlap = None, LEAST_OVERLAP
        for face in self.faces:
            if abs(face.media_time_s - media_time_s) <= TOLERANCE_S:
                overlap = _overlap(face.box, claimed)
                if overlap >= best_overlap:
                    best, best_overlap = face.name, overlap
        return best


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """A way across the picture: parts of the film's time, of its width, and the face's width at 720 lines.

    The face is smallest at the edges and largest in the middle, where the person also slows down.
    """

    begins: float
    ends: float
    from_x: float
    to_x: float
    least_face_px: float
    largest_face_px: float


_WALKS = (
    _Walk(begins=0.02, ends=0.56, from_x=-0.06, to_x=1.06, least_face_px=45, largest_face_px=160),
    _Walk(begins=0.42, ends=0.97, from_x=-0.08, to_x=1.08, least_face_px=52, largest_face_px=150),
)
"""The second enters at the left while the first is on the way out at the right."""


def make_scene_video(
    out: Path,
    portraits: Mapping[str, Path],
    truth_path: Path,
    *,
    seed: int,
    seconds: float = 12,
    width: int = 1280,
    height: int = 720,
    fps: int = 25,
    progress: Callable[[float], None] = lambda _: None,
) -> None:
    """Film one or two people who walk behind a low wall in front of a house; H.264 in MP4.

    Args:
        out: The film to write.
        portraits: Name of each person, and one of the demonstration's portraits.
        truth_path: The truth to write, JSON lines: a TruthScene, then TruthFaces.
        seed: The same seed makes the same film.
        seconds: How long it is.
        width: Even.
        height: Even.
        fps: Frames per second.
        progress: Called with 0..1.

    Raises:
        UsageError: No person, more than two, or an odd or useless size.
        PictureError: A portrait cannot be used.
        StorageError: The film or the truth cannot be written.
    """
    size, n_frames = PictureSize(width_px=width, height_px=height), round(seconds * fps)
    if not 1 <= len(portraits) <= MOST_PEOPLE:
        raise UsageError(f"a film has one or two people, not {len(portraits)}")
    if width % 2 or height % 2 or min(width, height) < 128 or n_frames < 1:
        raise UsageError(
            f"no film of {n_frames} frames of {width} x {height} px: sides are even, from 128 on"
        )
    people = [(name, CutOut(path)) for name, path in portraits.items()]
    stage, random = Stage(size, seed), np.random.default_rng(seed + 1)
    scene = TruthScene(width_px=width, height_px=height, fps=fps, n_frames=n_frames)
    lines = [dump_record(scene)]
    with VideoWriter(out, size, fps) as writer:
        for number in range(n_frames):
            shake_px = _shake(number / fps)
            walkers = _walkers(people, number / n_frames, 1 / n_frames, size)
            noise_at_px = (int(random.integers(64)), int(random.integers(64)))
            gain = _gain(number / n_frames)
            writer.add(stage.paint([walker for _, walker in walkers], shake_px, gain, noise_at_px))
            lines += _truth_lines(walkers, number, fps, shake_px, size)
            progress((number + 1) / n_frames)
    try:
        truth_path.write_bytes(b"\n".join(lines) + b"\n")
    except OSError as err:
        raise StorageError(f"{truth_path} cannot be written: {err.strerror}") from err


def load_truth(path: Path) -> Truth:
    """Return a film's truth; StorageError when it cannot be read, RecordError when it is none."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as err:
        raise StorageError(f"{path} cannot be read: {err.strerror}") from err
    if not lines:
        raise RecordError(f"{path} is empty")
    scene = parse_record(TruthScene, lines[0], limit_bytes=_LONGEST_LINE_BYTES)
    if min(scene.width_px, scene.height_px, scene.fps) < 1:
        raise RecordError("TruthScene: a size or rate below 1")
    faces = (parse_record(TruthFace, line, limit_bytes=_LONGEST_LINE_BYTES) for line in lines[1:])
    return Truth(scene=scene, faces=tuple(faces))


def _walkers(
    people: list[tuple[str, CutOut]], now: float, step: float, size: PictureSize
) -> list[tuple[str, Walker]]:
    """Return who is on the way, those farther away first."""
    found = []
    for (name, cut_out), walk in zip(people, _WALKS, strict=False):
        if walk.begins <= now <= walk.ends:
            x_px, face_width_px = _place(walk, now, size)
            blur_px = abs(_place(walk, now + step, size)[0] - x_px) * _EXPOSURE
            steps = abs(math.sin(now * 40))  # the head goes up and down as its owner walks
            y_px = size.height_px * 0.37 - steps * face_width_px * 0.05
            walker = Walker(
                cut_out=cut_out, x_px=x_px, y_px=y_px, face_width_px=face_width_px, blur_px=blur_px
            )
            found.append((name, walker))
    return sorted(found, key=lambda each: each[1].face_width_px)


def _place(walk: _Walk, now: float, size: PictureSize) -> tuple[float, float]:
    part = (now - walk.begins) / (walk.ends - walk.begins)
    along = part + 0.7 * math.sin(2 * math.pi * part) / (2 * math.pi)  # slows down in the middle
    nearness = math.sin(math.pi * min(max(part, 0.0), 1.0)) ** 2
    face_px = walk.least_face_px + (walk.largest_face_px - walk.least_face_px) * nearness
    x_px = (walk.from_x + (walk.to_x - walk.from_x) * along) * size.width_px
    return x_px, face_px * size.height_px / 720


def _shake(time_s: float) -> tuple[int, int]:
    x_px = 2.5 * math.sin(time_s * 5.1) + 1.5 * math.sin(time_s * 13.7)
    y_px = 2.0 * math.sin(time_s * 6.3 + 1) + 1.0 * math.sin(time_s * 17.9)
    limit = LONGEST_SHAKE_PX
    return max(-limit, min(limit, round(x_px))), max(-limit, min(limit, round(y_px)))


def _gain(now: float) -> float:
    cloud = 0.22 * math.exp(-(((now - 0.66) / 0.06) ** 2))
    return 1.0 + 0.1 * math.sin(now * 15) - cloud


def _truth_lines(
    walkers: list[tuple[str, Walker]], number: int, fps: int, shake_px: tuple[int, int], size: PictureSize
) -> list[bytes]:
    frame = Box(x_px=0, y_px=0, width_px=size.width_px, height_px=size.height_px)
    lines = []
    for name, walker in walkers:
        box = walker.face_box()
        box = Box(
            x_px=round(box.x_px + shake_px[0], 1),
            y_px=round(box.y_px + shake_px[1], 1),
            width_px=round(box.width_px, 1),
            height_px=round(box.height_px, 1),
        )
        if _shared_area(box, frame) >= 0.5 * box.width_px * box.height_px:
            lines.append(
                dump_record(TruthFace(frame_number=number, media_time_s=number / fps, name=name, box=box))
            )
    return lines


def _overlap(left: Box, right: Box) -> float:
    """Return the shared area as a part of the area of both."""
    shared = _shared_area(left, right)
    both = left.width_px * left.height_px + right.width_px * right.height_px - shared
    return shared / both if both > 0 else 0.0


def _shared_area(left: Box, right: Box) -> float:
    across = min(left.x_px + left.width_px, right.x_px + right.width_px) - max(left.x_px, right.x_px)
    down = min(left.y_px + left.height_px, right.y_px + right.height_px) - max(left.y_px, right.y_px)
    return max(0.0, across) * max(0.0, down)
