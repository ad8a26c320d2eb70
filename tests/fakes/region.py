"""A region of the arena on the ordinary heap."""

from __future__ import annotations

from types import TracebackType

import numpy as np
import numpy.typing as npt

from appliance.compat import Self


class FakeRegion:
    """Implement the Region port; `n_clears` counts the scopes that ended."""

    def __init__(self) -> None:
        self.arrays: list[npt.NDArray[np.generic]] = []
        self.n_clears = 0

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        array: npt.NDArray[np.generic] = np.zeros(shape, dtype)
        self.arrays.append(array)
        return array

    def clear(self) -> None:
        self.n_clears += 1
        for array in self.arrays:
            array.fill(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
