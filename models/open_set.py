"""Measure open-set identification: who of a list is found, how often a stranger raises an alert."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.errors import UsageError

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A 95 % interval of a rate."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSetRate:
    """What was measured at one threshold.

    `tpir` counts a mated search as found when its own entry reaches the threshold, at whatever rank.
    `n_false_alarms` of `n_strangers` searches are `fpir`; both are of all splits together.
    """

    list_size: int
    fpir_wanted: float
    threshold: float
    fpir: float
    fpir_interval: Interval
    tpir: float
    tpir_interval: Interval
    n_strangers: int
    n_false_alarms: int
    n_mated: int
    n_splits: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitScores:
    """Scores of random splits: each stranger's highest, and each mated search's with its own entry."""

    strangers: Scores
    mated: Scores
    n_splits: int


def score_splits(
    templates: npt.NDArray[np.float32],
    persons: Sequence[int],
    *,
    list_size: int,
    n_splits: int,
    seed: int,
) -> SplitScores:
    """Search random lists of one picture a person.

    In each split, people with two or more pictures are listed, at most half of them; a longer list is
    filled up with people who have one picture. The listed people's other pictures are the mated searches,
    one picture of everybody else a search by a stranger.

    Args:
        templates: (N, D) float32 with unit L2 norm.
        persons: N numbers: whose picture it is.
        list_size: Entries of the list.
        n_splits: How many lists are drawn.
        seed: The draws are the same for the same seed.

    Raises:
        UsageError: There are too few people for such a list.
    """
    rows_of: dict[int, list[int]] = {}
    for row, person in enumerate(persons):
        rows_of.setdefault(person, []).append(row)
    several = [rows for rows in rows_of.values() if len(rows) > 1]
    single = [rows for rows in rows_of.values() if len(rows) == 1]
    n_mated = min(list_size, len(several) // 2)
    n_filler = list_size - n_mated
    if not n_mated or n_filler >= len(single) + (len(several) - n_mated):
        raise UsageError(
            f"{len(rows_of)} people, {len(several)} with two pictures, are too few for {list_size}"
        )
    if n_filler > len(single):
        raise UsageError(f"a list of {list_size} needs {n_filler} people with one picture, not {len(single)}")
    draw = np.random.default_rng(seed)
    strangers, mated = [], []
    for _ in range(n_splits):
        mixed = [several[i] for i in draw.permutation(len(several))]
        singles = [single[i] for i in draw.permutation(len(single))]
        shuffled = [draw.permutation(rows) for rows in mixed]
        listed = [rows[0] for rows in shuffled[:n_mated]] + [rows[0] for rows in singles[:n_filler]]
        others = [rows[0] for rows in shuffled[n_mated:]] + [rows[0] for rows in singles[n_filler:]]
        gallery = templates[listed]
        strangers.append((templates[others] @ gallery.T).max(axis=1))
        for place, rows in enumerate(shuffled[:n_mated]):
            mated.append(templates[rows[1:]] @ gallery[place])
    return SplitScores(
        strangers=np.concatenate(strangers).astype(np.float32),
        mated=np.concatenate(mated).astype(np.float32),
        n_splits=n_splits,
    )


def rate_at(scores: SplitScores, *, list_size: int, fpir_wanted: float) -> OpenSetRate:
    """Return the rates at the lowest threshold whose FPIR is at most `fpir_wanted`.

    The splits share people, so the intervals take the evidence of one split only (Wilson).

    Raises:
        UsageError: `fpir_wanted` is not between 0 and 1.
    """
    if not 0 < fpir_wanted < 1:
        raise UsageError(f"an FPIR of {fpir_wanted} cannot be measured; it lies between 0 and 1")
    n_strangers, n_mated = len(scores.strangers), len(scores.mated)
    falling = np.sort(scores.strangers)[::-1]
    n_allowed = math.floor(fpir_wanted * n_strangers)
    # Just above the first score that may not pass: searches at or above the threshold raise an alert.
    threshold = float(np.nextafter(falling[n_allowed], np.float32(np.inf)))
    n_false_alarms = int(np.count_nonzero(scores.strangers >= threshold))
    fpir = n_false_alarms / n_strangers
    tpir = float(np.count_nonzero(scores.mated >= threshold)) / n_mated
    return OpenSetRate(
        list_size=list_size,
        fpir_wanted=fpir_wanted,
        threshold=threshold,
        fpir=fpir,
        fpir_interval=wilson_interval(fpir, n_strangers / scores.n_splits),
        tpir=tpir,
        tpir_interval=wilson_interval(tpir, n_mated / scores.n_splits),
        n_strangers=n_strangers,
        n_false_alarms=n_false_alarms,
        n_mated=n_mated,
        n_splits=scores.n_splits,
    )


def wilson_interval(rate: float, n_trials: float) -> Interval:
    """Return the 95 % interval of a rate seen in so many trials.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    z = 1.959964  # the 0.975 quantile of the normal distribution
    centre = rate + z * z / (2 * n_trials)
    half = z * math.sqrt(rate * (1 - rate) / n_trials + z * z / (4 * n_trials * n_trials))
    whole = 1 + z * z / n_trials
    return Interval(low=max(0.0, (centre - half) / whole), high=min(1.0, (centre + half) / whole))
