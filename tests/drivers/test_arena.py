from __future__ import annotations

import numpy as np
import pytest

from appliance.errors import ProcessSettingsError
from drivers.arena import Arena


def test_a_scope_zeroes_what_was_taken() -> None:
    arena = Arena(1 << 16)
    region, other = arena.region(), arena.region()
    mine, theirs = region.take((100,), np.uint8), other.take((100,), np.float32)
    theirs.fill(1)
    with region:
        mine.fill(7)
    assert not mine.any()
    assert theirs.all()


def test_a_scope_zeroes_on_an_exception_too() -> None:
    arena = Arena(1 << 16)
    region = arena.region()
    array = region.take((100,), np.uint8)
    with pytest.raises(KeyError), region:
        array.fill(7)
        raise KeyError
    assert arena.is_clear()


def test_without_clearing_the_residue_is_found() -> None:
    arena = Arena(1 << 16, is_clearing=False)
    region = arena.region()
    with region:
        region.take((100,), np.uint8).fill(7)
    assert not arena.is_clear()


def test_arrays_are_aligned_and_do_not_overlap() -> None:
    arena = Arena(1 << 16)
    region = arena.region()
    arrays = [region.take((3, 5), np.float32) for _ in range(10)]
    assert all(array.ctypes.data % 64 == 0 for array in arrays)
    for number, array in enumerate(arrays, start=1):
        array.fill(number)
    assert [array[0, 0] for array in arrays] == list(range(1, 11))


def test_an_arena_does_not_grow() -> None:
    region = Arena(4096).region()
    region.take((4000,), np.uint8)
    with pytest.raises(ProcessSettingsError, match="full"):
        region.take((200,), np.uint8)
