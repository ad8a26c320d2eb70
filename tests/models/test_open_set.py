"""The rates are what the scores say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from appliance.errors import UsageError
from models.open_set import SplitScores, rate_at, score_splits, wilson_interval


def scores_of(strangers: list[float], mated: list[float]) -> SplitScores:
    return SplitScores(
        strangers=np.array(strangers, np.float32), mated=np.array(mated, np.float32), n_splits=1
    )


def test_threshold_lets_no_more_strangers_through_than_wanted() -> None:
    rate = rate_at(scores_of([i / 100 for i in range(100)], [0.985, 0.5]), list_size=2, fpir_wanted=0.02)
    assert rate.n_false_alarms == 2
    assert rate.fpir == 0.02
    assert 0.97 < rate.threshold <= 0.98
    assert rate.tpir == 0.5


def test_equal_scores_never_exceed_the_wanted_rate() -> None:
    rate = rate_at(scores_of([0.5] * 100, [0.5, 0.9]), list_size=2, fpir_wanted=0.02)
    assert rate.n_false_alarms == 0
    assert rate.tpir == 0.5


@pytest.mark.parametrize("fpir", [0.0, 1.0, -1.0, float("nan")])
def test_rate_that_is_none_is_refused(fpir: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        rate_at(scores_of([0.5], [0.5]), list_size=1, fpir_wanted=fpir)


def people(n_several: int, n_single: int) -> tuple[npt.NDArray[np.float32], list[int]]:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(n_several + n_single, 64))
    persons = [i for i in range(n_several) for _ in range(3)] + list(range(n_several, n_several + n_single))
    templates = centres[persons] + 0.1 * draw.normal(size=(len(persons), 64))
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    return templates.astype(np.float32), persons


def test_people_far_apart_are_all_found() -> None:
    templates, persons = people(20, 30)
    scores = score_splits(templates, persons, list_size=10, n_splits=3, seed=1)
    assert len(scores.strangers) == 3 * 40
    assert len(scores.mated) == 3 * 10 * 2
    rate = rate_at(scores, list_size=10, fpir_wanted=0.01)
    assert rate.tpir == 1.0
    assert rate.tpir_interval.low < 1.0


def test_long_list_is_filled_with_people_of_one_picture() -> None:
    templates, persons = people(20, 30)
    scores = score_splits(templates, persons, list_size=25, n_splits=1, seed=1)
    assert len(scores.mated) == 10 * 2
    assert len(scores.strangers) == 25


def test_same_seed_draws_the_same_lists() -> None:
    templates, persons = people(20, 30)
    first, second = (score_splits(templates, persons, list_size=10, n_splits=2, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.strangers, second.strangers)


@pytest.mark.parametrize("list_size", [41, 50, 1000])
def test_list_longer_than_the_people_is_refused(list_size: int) -> None:
    templates, persons = people(20, 30)
    with pytest.raises(UsageError):
        score_splits(templates, persons, list_size=list_size, n_splits=1, seed=1)


def test_wilson_interval_is_the_textbook_s() -> None:
    interval = wilson_interval(0.1, 50)
    assert interval.low == pytest.approx(0.0435, abs=5e-4)
    assert interval.high == pytest.approx(0.2136, abs=5e-4)
