"""Maps become boxes and points where they must."""

from __future__ import annotations

import numpy as np
import pytest

from models.decode import Detections, decode_centerface, decode_yunet, suppress_overlaps


def test_centerface_cell_becomes_its_box() -> None:
    maps = {name: np.zeros((1, n, 8, 8), np.float32) for name, n in _CENTERFACE.items()}
    maps["heat"][0, 0, 3, 5] = 0.9
    maps["scale"][0, :, 3, 5] = np.log([10, 6])  # 40 px high, 24 px wide
    maps["offset"][0, :, 3, 5] = [0.25, -0.25]
    maps["points"][0, :, 3, 5] = [0.5, 0.25] * 5
    found = decode_centerface(maps, 0.5)
    left, top = (5 - 0.25 + 0.5) * 4 - 12, (3 + 0.25 + 0.5) * 4 - 20
    np.testing.assert_allclose(found.boxes, [[left, top, 24, 40]], rtol=1e-5)
    np.testing.assert_allclose(found.points[0], [[left + 6, top + 20]] * 5, rtol=1e-5)
    assert found.scores[0] == pytest.approx(0.9)


_CENTERFACE = {"heat": 1, "scale": 2, "offset": 2, "points": 10}


def test_yunet_cell_becomes_its_box() -> None:
    maps = {}
    for stride in (8, 16, 32):
        n = (64 // stride) * (96 // stride)
        for kind, length in {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}.items():
            maps[f"{kind}_{stride}"] = np.zeros((1, n, length), np.float32)
    cell = 2 * 6 + 4  # row 2, column 4 of the 6 columns of stride 16
    maps["cls_16"][0, cell], maps["obj_16"][0, cell] = 0.9, 0.8
    maps["bbox_16"][0, cell] = [0.5, -0.5, np.log(2), np.log(3)]
    maps["kps_16"][0, cell] = [1, 2] * 5
    found = decode_yunet(maps, 0.6, 96)
    np.testing.assert_allclose(found.boxes, [[72 - 16, 24 - 24, 32, 48]], atol=1e-4)
    np.testing.assert_allclose(found.points[0], [[80, 64]] * 5)
    assert found.scores[0] == pytest.approx(0.72**0.5)


def test_score_below_the_threshold_is_no_face() -> None:
    maps = {name: np.zeros((1, n, 8, 8), np.float32) for name, n in _CENTERFACE.items()}
    maps["heat"][0, 0, 3, 5] = 0.49
    assert len(decode_centerface(maps, 0.5).scores) == 0


def test_of_overlapping_boxes_the_best_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 10, 10], [30, 0, 10, 10], [0, 9, 10, 10]], np.float32)
    found = Detections(
        boxes=boxes, points=np.zeros((4, 5, 2), np.float32), scores=np.array([0.5, 0.9, 0.6, 0.7], np.float32)
    )
    kept = suppress_overlaps(found)
    np.testing.assert_array_equal(kept.boxes, boxes[[1, 3, 2]])


def test_no_box_stays_no_box() -> None:
    empty = Detections(
        boxes=np.zeros((0, 4), np.float32),
        points=np.zeros((0, 5, 2), np.float32),
        scores=np.zeros(0, np.float32),
    )
    assert suppress_overlaps(empty).boxes.shape == (0, 4)
