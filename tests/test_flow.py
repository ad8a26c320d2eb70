from __future__ import annotations

from appliance.flow import LatestSlots


def test_the_newest_wins_and_the_drop_is_counted() -> None:
    dropped: list[int] = []
    slots: LatestSlots[str, int] = LatestSlots(on_drop=dropped.append)
    for item in (1, 2, 3):
        slots.put("gate", item)
    assert slots.take(0) == 3
    assert slots.take(0) is None
    assert (dropped, slots.n_dropped) == ([1, 2], 2)


def test_cameras_are_served_in_turn() -> None:
    slots: LatestSlots[str, str] = LatestSlots(on_drop=lambda _: None)
    order = []
    for _ in range(3):
        for camera in ("busy", "slow", "third"):
            slots.put(camera, camera)
        slots.put("busy", "busy")
        order.append(slots.take(0))
    assert set(order) == {"busy", "slow", "third"}


def test_nothing_is_kept_after_close() -> None:
    dropped: list[int] = []
    slots: LatestSlots[str, int] = LatestSlots(on_drop=dropped.append)
    slots.put("gate", 1)
    slots.close()
    slots.put("gate", 2)
    assert dropped == [1, 2]
    assert slots.take(0) is None
