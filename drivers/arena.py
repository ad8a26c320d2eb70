"""The one owner of biometric memory: an anonymous, locked mapping that reaches no dump, swap or child."""

from __future__ import annotations

import ctypes
import mmap
import os
from types import TracebackType

import numpy as np
import numpy.typing as npt

from appliance.compat import Self
from appliance.errors import ProcessSettingsError

_ALIGNMENT_BYTES = 64
_MADV_UNMERGEABLE = 13  # asm-generic/mman-common.h


class Arena:
    """Own a fixed block of memory and hand out regions of it.

    Args:
        size_bytes: All that will ever be taken; an arena does not grow.
        is_clearing: Tests alone pass False, to see that the residue is then found.
    """

    def __init__(self, size_bytes: int, *, is_clearing: bool = True) -> None:
        size_bytes = -(-size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._map = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)
        self._is_clearing = is_clearing
        self._used_bytes = 0
        for advice in (mmap.MADV_DONTDUMP, mmap.MADV_DONTFORK, _MADV_UNMERGEABLE):
            try:
                self._map.madvise(advice)
            except OSError:
                # A kernel without KSM does not know UNMERGEABLE, and merges nothing.
                if advice != _MADV_UNMERGEABLE:
                    raise
        self.warnings = self._lock()

    @property
    def size_bytes(self) -> int:
        """Return the whole size."""
        return len(self._bytes)

    @property
    def used_bytes(self) -> int:
        """Return how much has been taken."""
        return self._used_bytes

    def region(self) -> ArenaRegion:
        """Return a new region: a scope whose end zeroes what was taken from it."""
        return ArenaRegion(self, is_clearing=self._is_clearing)

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """Return a zeroed, aligned array; ProcessSettingsError when the arena is full."""
        kind = np.dtype(dtype)
        length_bytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        start = -(-self._used_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        if start + length_bytes > len(self._bytes):
            raise ProcessSettingsError(
                f"the arena of {len(self._bytes)} bytes is full: {length_bytes} more were asked for"
            )
        self._used_bytes = start + length_bytes
        view: npt.NDArray[np.generic] = self._bytes[start : start + length_bytes].view(kind).reshape(shape)
        return view

    def is_clear(self) -> bool:
        """Say whether every byte is zero."""
        return not self._bytes.any()

    def clear(self) -> None:
        """Zero everything; the last act of a worker."""
        self._bytes.fill(0)

    def _lock(self) -> tuple[str, ...]:
        libc = ctypes.CDLL(None, use_errno=True)
        address = ctypes.c_void_p(self._bytes.ctypes.data)
        if libc.mlock(address, ctypes.c_size_t(len(self._bytes))) == 0:
            return ()
        return (f"the arena is not locked in memory: {os.strerror(ctypes.get_errno())}",)


class ArenaRegion:
    """Implement the Region port on the arena. Thread: that of its scope."""

    def __init__(self, arena: Arena, *, is_clearing: bool) -> None:
        self._arena = arena
        self._is_clearing = is_clearing
        self._arrays: list[npt.NDArray[np.generic]] = []

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """Return a zeroed, C-contiguous, 64-byte aligned array that lives as long as the arena."""
        array = self._arena.take(shape, dtype)
        self._arrays.append(array)
        return array

    def clear(self) -> None:
        """Zero everything that was taken."""
        if self._is_clearing:
            for array in self._arrays:
                array.fill(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
