"""The two threads on scripted networks: what is wiped, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from appliance.records.frames import Pixels, Template
from appliance.vision.pipeline import LONGEST_TURN_S
from tests.fakes.clock import FakeClock
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


def test_a_hung_network_shows_and_an_idle_pipeline_does_not() -> None:
    clock, hangs, goes_on = FakeClock(), threading.Event(), threading.Event()
    house = House(clock=clock)

    def hang(pixels: Pixels, points: object) -> Template:
        hangs.set()
        assert goes_on.wait(5.0)
        return unit(1.0)

    house.template_of = hang
    house.pipeline.start()
    try:
        clock.advance(60.0)
        assert eventually(house.pipeline.is_turning)  # no frames, and yet both threads come round
        threading.Thread(target=house.show, args=(0,), daemon=True).start()
        assert hangs.wait(5.0)
        clock.advance(LONGEST_TURN_S + 0.1)
        assert not house.pipeline.is_turning()
        goes_on.set()
        assert eventually(house.pipeline.is_turning)
    finally:
        goes_on.set()
        house.stop()


def eventually(holds: Callable[[], bool]) -> bool:
    never = threading.Event()
    return any(holds() or never.wait(0.05) for _ in range(100))
