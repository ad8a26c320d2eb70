"""Measure a reference's quality with the appliance's own code, where there is no arena: at ops."""

from __future__ import annotations

from types import TracebackType

import numpy as np
import numpy.typing as npt

from appliance.compat import Self
from appliance.quality import FaceMeasures


class OwnBuffers:
    """Implement the Region port on ordinary memory: the pictures at ops are of those to be listed."""

    def __init__(self) -> None:
        self._arrays: list[npt.NDArray[np.generic]] = []

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """Return a zeroed array."""
        array: npt.NDArray[np.generic] = np.zeros(shape, dtype)
        self._arrays.append(array)
        return array

    def clear(self) -> None:
        """Zero everything that was taken."""
        for array in self._arrays:
            array.fill(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()


def enrolment_measures() -> FaceMeasures:
    """Return measures with buffers of their own."""
    return FaceMeasures(OwnBuffers())
