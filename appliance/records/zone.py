"""The zone of recognition as points, and what is wrong with a polygon; for configuration and worker."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

ZonePoint = tuple[float, float]
"""x, y as fractions of the picture's width and height, 0..1, origin at the upper left."""

FEWEST_ZONE_POINTS, MOST_ZONE_POINTS = 3, 32
LEAST_ZONE_AREA = 1e-4
"""Of the picture: 92 px of 1280 x 720; whatever is smaller is a slip of the pen."""
WHOLE_PICTURE: tuple[ZonePoint, ...] = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))

_Exact = tuple[Fraction, Fraction]


def zone_problem(points: Sequence[ZonePoint]) -> str | None:
    """Return why these points are no zone, None when they are one.

    A zone is a simple polygon of 3..32 points within the picture: edges meet at their common point and
    nowhere else, and it has an area. Computed exactly, without rounding.
    """
    if not FEWEST_ZONE_POINTS <= len(points) <= MOST_ZONE_POINTS:
        return f"{len(points)} points, {FEWEST_ZONE_POINTS} to {MOST_ZONE_POINTS} are allowed"
    for number, point in enumerate(points):
        # Written so that a NaN is outside too.
        if not all(0.0 <= value <= 1.0 for value in point):
            return f"point {number} leaves the picture: x and y go from 0 to 1"
    exact = [(Fraction(x), Fraction(y)) for x, y in points]
    if _area(exact) < LEAST_ZONE_AREA:
        # Twisted halves cancel out: a crossing is the better thing to say when there is one.
        return _crossing(exact) or "the polygon has no area"
    return _crossing(exact)


def _area(points: Sequence[_Exact]) -> float:
    edges = zip(points, _rotated(points), strict=True)
    twice = sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in edges)
    return abs(float(twice)) / 2


def _crossing(points: Sequence[_Exact]) -> str | None:
    edges = list(zip(points, _rotated(points), strict=True))
    for first, second in combinations(range(len(edges)), 2):
        # Neighbours share a point; where one folds back on the other, the next edge begins on the first.
        if second - first in (1, len(edges) - 1):
            continue
        if _touch(*edges[first], *edges[second]):
            return f"the polygon crosses or touches itself: edges {first} and {second}"
    return None


def _touch(a: _Exact, b: _Exact, c: _Exact, d: _Exact) -> bool:
    if _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0:
        return True
    return _lies_on(c, a, b) or _lies_on(d, a, b) or _lies_on(a, c, d) or _lies_on(b, c, d)


def _side(a: _Exact, b: _Exact, c: _Exact) -> Fraction:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _lies_on(point: _Exact, a: _Exact, b: _Exact) -> bool:
    return (
        _side(a, b, point) == 0
        and min(a[0], b[0]) <= point[0] <= max(a[0], b[0])
        and min(a[1], b[1]) <= point[1] <= max(a[1], b[1])
    )


def _rotated(points: Sequence[_Exact]) -> list[_Exact]:
    return [*points[1:], points[0]]
