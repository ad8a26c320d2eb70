"""Turn a detector's raw maps into boxes with five points, and drop what overlaps.

All arrays here are of boxes, points and detection scores; the maps stay in the region they were given in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
CENTERFACE_OUTPUTS = {"537": ("heat", 1), "538": ("scale", 2), "539": ("offset", 2), "540": ("points", 10)}
"""What CenterFace's unnamed outputs are, and their channels."""
YUNET_STRIDES_PX = (8, 16, 32)
YUNET_OUTPUTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""What YuNet gives for each stride, and its length."""
LARGEST_OVERLAP = 0.3
"""Intersection over union above which the lesser of two boxes is dropped."""
MOST_CANDIDATES = 750


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """N faces in pixels of the detector's picture.

    `boxes` (N, 4) x, y, width, height; `points` (N, 5, 2) x, y; `scores` (N,), highest first.
    """

    boxes: Floats
    points: Floats
    scores: Floats


def suppress_overlaps(found: Detections) -> Detections:
    """Return the detections of which none overlaps a better one by more than LARGEST_OVERLAP."""
    order = np.argsort(-found.scores, kind="stable")[:MOST_CANDIDATES]
    left, top = found.boxes[order, 0], found.boxes[order, 1]
    right, bottom = left + found.boxes[order, 2], top + found.boxes[order, 3]
    area = (right - left) * (bottom - top)
    alive = np.ones(len(order), dtype=np.bool_)
    kept = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(order[i])
        width = np.minimum(right, right[i]) - np.maximum(left, left[i])
        height = np.minimum(bottom, bottom[i]) - np.maximum(top, top[i])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        alive &= shared <= LARGEST_OVERLAP * (area + area[i] - shared)
    return Detections(boxes=found.boxes[kept], points=found.points[kept], scores=found.scores[kept])


def decode_centerface(maps: Mapping[str, Floats], threshold: float) -> Detections:
    """Decode CenterFace.

    Args:
        maps: heat (1, 1, h, w), scale (1, 2, h, w) y then x, offset (1, 2, h, w) y then x, points
            (1, 10, h, w) y then x in parts of the box; a cell is 4 px.
        threshold: Least heat, 0..1.
    """
    heat = maps["heat"][0, 0]
    rows, columns = np.nonzero(heat >= threshold)
    scores = heat[rows, columns]
    scale, offset = maps["scale"][0][:, rows, columns], maps["offset"][0][:, rows, columns]
    height, width = np.exp(np.minimum(scale, 10.0)) * 4
    left = (columns + offset[1] + 0.5) * 4 - width / 2
    top = (rows + offset[0] + 0.5) * 4 - height / 2
    parts = maps["points"][0][:, rows, columns].reshape(5, 2, -1)
    points = np.stack([parts[:, 1] * width + left, parts[:, 0] * height + top], axis=-1)
    boxes = np.stack([left, top, width, height], axis=-1)
    found = Detections(
        boxes=boxes.astype(np.float32),
        points=points.transpose(1, 0, 2).astype(np.float32),
        scores=scores.astype(np.float32),
    )
    return suppress_overlaps(found)


def decode_yunet(maps: Mapping[str, Floats], threshold: float, width_px: int) -> Detections:
    """Decode YuNet.

    Args:
        maps: For strides s of 8, 16, 32 px: cls_s and obj_s (1, n, 1), bbox_s (1, n, 4), kps_s (1, n, 10);
            n cells in rows. cls_s is overwritten.
        threshold: Least score, the square root of cls * obj.
        width_px: Width of the detector's picture, a multiple of 32.
    """
    parts = []
    for stride in YUNET_STRIDES_PX:
        squared = maps[f"cls_{stride}"][0, :, 0]
        np.multiply(squared, maps[f"obj_{stride}"][0, :, 0], out=squared)  # stays where it is wiped
        cells = np.nonzero(squared >= threshold * threshold)[0]
        rows, columns = np.divmod(cells, width_px // stride)
        corner = np.stack([columns, rows], axis=-1).astype(np.float32)
        box = maps[f"bbox_{stride}"][0][cells]
        size = np.exp(np.minimum(box[:, 2:], 10.0)) * stride
        upper_left = (corner + box[:, :2]) * stride - size / 2
        points = (maps[f"kps_{stride}"][0][cells].reshape(-1, 5, 2) + corner[:, None]) * stride
        parts.append((np.concatenate([upper_left, size], axis=1), points, np.sqrt(squared[cells])))
    found = Detections(
        boxes=np.concatenate([p[0] for p in parts]).astype(np.float32),
        points=np.concatenate([p[1] for p in parts]).astype(np.float32),
        scores=np.concatenate([p[2] for p in parts]).astype(np.float32),
    )
    return suppress_overlaps(found)
