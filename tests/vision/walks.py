"""Made sequences of boxes with their truth: people walk, hide each other, are missed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from appliance.records.frames import Box
from appliance.records.ids import TrackId
from appliance.vision.tracks import Tracker

WIDTH_PX, HEIGHT_PX = 1280.0, 720.0
HIDDEN_SHARE = 0.45
"""A face of which so much lies behind a nearer one is not found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody on a straight way; a wider face is nearer to the camera."""

    x_px: float
    y_px: float
    speed_x_px_s: float
    speed_y_px_s: float
    width_px: float
    from_s: float = 0.0

    def box_at(self, at_s: float) -> Box | None:
        """Return the box, None outside the picture or before the way begins."""
        x_px = self.x_px + self.speed_x_px_s * (at_s - self.from_s)
        y_px = self.y_px + self.speed_y_px_s * (at_s - self.from_s)
        if at_s < self.from_s or not (0 <= x_px <= WIDTH_PX and 0 <= y_px <= HEIGHT_PX):
            return None
        height_px = self.width_px * 1.3
        return Box(
            x_px=x_px - self.width_px / 2,
            y_px=y_px - height_px / 2,
            width_px=self.width_px,
            height_px=height_px,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How well the tracks told the people of a film."""

    n_people: int
    n_faces_seen: int
    n_mixed: int
    """Tracks that had boxes of more than one person."""
    n_pieces: int
    """Pairs of a person and a track, beyond one for each person."""

    @property
    def count_error(self) -> float:
        """Return by which part of the people the faces seen are wrong."""
        return abs(self.n_faces_seen - self.n_people) / self.n_people


def film(
    people: Sequence[Person], *, seconds: float, rate_hz: float, missed: float = 0.05, seed: int = 1
) -> Iterator[tuple[float, dict[int, Box]]]:
    """Yield each frame's time and the boxes that a detector finds, by person; they tremble."""
    random = np.random.default_rng(seed)
    for number in range(round(seconds * rate_hz)):
        at_s = number / rate_hz
        there = {who: box for who, each in enumerate(people) if (box := each.box_at(at_s)) is not None}
        yield (
            at_s,
            {
                who: _trembling(box, random)
                for who, box in there.items()
                if random.random() >= missed and not _is_hidden(box, there.values())
            },
        )


def judge(
    frames: Iterator[tuple[float, Mapping[int, Box]]], make: Callable[[], Tracker] = Tracker
) -> Outcome:
    """Run a tracker over a film, its boxes in changing order, and hold it against the truth.

    People of fewer than two boxes do not count.
    """
    tracker, random = make(), np.random.default_rng(9)
    tracks_of: dict[int, Counter[TrackId]] = defaultdict(Counter)
    for at_s, found in frames:
        who = list(found)
        random.shuffle(who)
        for person, track_id in zip(who, tracker.update([found[each] for each in who], at_s), strict=True):
            tracks_of[person][track_id] += 1
    people_of: dict[TrackId, set[int]] = defaultdict(set)
    for person, tracks in tracks_of.items():
        for track_id in tracks:
            people_of[track_id].add(person)
    return Outcome(
        n_people=sum(tracks.total() >= 2 for tracks in tracks_of.values()),
        n_faces_seen=tracker.n_faces_seen,
        n_mixed=sum(len(people) > 1 for people in people_of.values()),
        n_pieces=sum(len(tracks) - 1 for tracks in tracks_of.values()),
    )


def crowd(n_people: int, *, seconds: float, seed: int = 1) -> list[Person]:
    """Return people who come in over the film's time from both sides, near and far."""
    random = np.random.default_rng(seed)
    people = []
    for _ in range(n_people):
        is_rightwards, width_px = bool(random.random() < 0.5), float(random.uniform(28, 80))
        speed_px_s = width_px * float(random.uniform(4, 8))  # a head is 15 cm wide, a pace 0.6 to 1.2 m/s
        people.append(
            Person(
                x_px=0.0 if is_rightwards else WIDTH_PX,
                y_px=float(random.uniform(150, 500)),
                speed_x_px_s=speed_px_s if is_rightwards else -speed_px_s,
                speed_y_px_s=float(random.uniform(-10, 10)),
                width_px=width_px,
                from_s=float(random.uniform(0, seconds)),
            )
        )
    return people


def poster_wall(n_posters: int) -> list[Person]:
    """Return faces that stand still in rows of 40, none in front of another."""
    return [
        Person(x_px=20 + 31 * (n % 40), y_px=15 + 28 * (n // 40), speed_x_px_s=0, speed_y_px_s=0, width_px=20)
        for n in range(n_posters)
    ]


def _trembling(box: Box, random: np.random.Generator) -> Box:
    across, down, wider = random.normal(0, 0.02 * box.width_px, 3)
    return Box(
        x_px=box.x_px + across - wider / 2,
        y_px=box.y_px + down,
        width_px=box.width_px + wider,
        height_px=box.height_px,
    )


def _is_hidden(box: Box, others: Iterable[Box]) -> bool:
    return any(
        other.width_px > box.width_px
        and _shared_area(box, other) > HIDDEN_SHARE * box.width_px * box.height_px
        for other in others
    )


def _shared_area(one: Box, other: Box) -> float:
    across = min(one.x_px + one.width_px, other.x_px + other.width_px) - max(one.x_px, other.x_px)
    down = min(one.y_px + one.height_px, other.y_px + other.height_px) - max(one.y_px, other.y_px)
    return max(0.0, across) * max(0.0, down)
