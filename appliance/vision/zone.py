"""The zone of recognition: the part of a camera's view in which faces are searched."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.errors import RecordError
from appliance.records.frames import Box, PictureSize
from appliance.records.zone import WHOLE_PICTURE, ZonePoint, zone_problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A polygon in fractions of the picture, so that it survives a change of resolution.

    Raises:
        RecordError: The polygon crosses itself, has no area or leaves the picture.
    """

    points: tuple[ZonePoint, ...] = WHOLE_PICTURE

    def __post_init__(self) -> None:
        problem = zone_problem(self.points)
        if problem is not None:
            raise RecordError(f"zone: {problem}")

    def has_centre_of(self, box: Box, size: PictureSize) -> bool:
        """Say whether the box's centre lies inside; exactly on an edge it belongs to one side of it.

        The whole picture has no outside: a box that reaches beyond the frame is in it too.
        """
        if self.points == WHOLE_PICTURE:
            return True
        x = (box.x_px + box.width_px / 2) / size.width_px
        y = (box.y_px + box.height_px / 2) / size.height_px
        is_inside = False
        previous_x, previous_y = self.points[-1]
        for next_x, next_y in self.points:
            # Count the edges to the right of the point: an odd number means inside.
            if (next_y > y) != (previous_y > y):
                at_x = next_x + (y - next_y) / (previous_y - next_y) * (previous_x - next_x)
                is_inside ^= x < at_x
            previous_x, previous_y = next_x, next_y
        return is_inside
