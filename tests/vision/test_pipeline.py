"""The two threads on scripted networks: what is wiped, and when."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from appliance.records.frames import Pixels
from tests.fakes.house import House
from tests.fakes.networks import make_face, unit


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    house.pipeline.start()
    yield house
    house.stop()


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
