"""CUDA memory and streams as jetson_utils' source says they behave, and the driver's compute capability.

Memory is named by its address and freed with its object; a mapped one is zeroed when made, a device one holds
what was there before. Work on a stream happens when the stream is synchronised and not before. What a real
board would answer with a crash or wrong results raises AssertionError, or is noted in `violations` where it
happens in a destructor.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

LEFT_BEFORE = 170
"""What device memory holds before anybody has written to it."""


class FakeMemory:
    """A cudaMemory: `ptr`, `size`, `mapped`."""

    def __init__(self, jetson: FakeJetsonMemory, size: int, *, is_mapped: bool) -> None:
        self.size, self.mapped = size, is_mapped
        self.bytes = np.full(size + 256, 0 if is_mapped else LEFT_BEFORE, np.uint8)
        start = -self.bytes.ctypes.data % 256
        self.bytes = self.bytes[start : start + size]
        self.ptr = self.bytes.ctypes.data
        self._jetson = jetson
        jetson.alive[self.ptr] = weakref.ref(self)

    def __del__(self) -> None:
        self._jetson.free(self.ptr, self.size)


class FakeJetsonMemory:
    """Stand in sys.modules for jetson_utils."""

    def __init__(self) -> None:
        self.alive: dict[int, weakref.ref[FakeMemory]] = {}
        self.streams: dict[int, list[tuple[Callable[[], None], list[int]]]] = {}
        self.violations: list[str] = []
        self.calls: list[str] = []
        self.made: list[weakref.ref[FakeMemory]] = []
        self.fails: set[str] = set()
        self.freed_dirty = 0
        self._n_streams = 0

    def videoSource(self, uri: str, options: dict[str, Any] | None = None) -> None:  # noqa: N802
        raise AssertionError("a network opens no camera")

    def cudaMalloc(self, *, size: int) -> FakeMemory:  # noqa: N802
        return self._allocate(size, is_mapped=False)

    def cudaAllocMapped(self, *, size: int) -> FakeMemory:  # noqa: N802
        return self._allocate(size, is_mapped=True)

    def cudaMemcpy(self, dst: FakeMemory, src: FakeMemory, *, stream: int) -> None:  # noqa: N802
        assert dst.size == src.size, "src and dst need to have the same size"
        self.queue(stream, lambda: np.copyto(dst.bytes, src.bytes), [dst.ptr, src.ptr])
        self.calls.append("copy")

    def cudaStreamCreate(self, *, nonblocking: bool = False) -> int:  # noqa: N802
        self._n_streams += 1
        self.streams[self._n_streams] = []
        return self._n_streams

    def cudaStreamSynchronize(self, stream: int) -> None:  # noqa: N802
        if "synchronize" in self.fails:
            self.streams[stream].clear()  # a context with an error does nothing any more
            raise Exception("CUDA error (700) - an illegal memory access was encountered")
        self.calls.append("synchronize")
        work = self.streams[stream]
        while work:
            do, addresses = work.pop(0)
            for address in addresses:
                self.memory_at(address)
            do()

    def cudaStreamDestroy(self, stream: int) -> None:  # noqa: N802
        assert not self.streams[stream], "a stream with work in it was destroyed"
        del self.streams[stream]

    def queue(self, stream: int, work: Callable[[], None], addresses: list[int]) -> None:
        """Put work on a stream, and say which memory it will touch."""
        assert stream in self.streams, "no such stream"
        self.streams[stream].append((work, addresses))

    def memory_at(self, address: int) -> FakeMemory:
        """Return the memory that lives at an address; nobody may use any other."""
        found = self.alive.get(address, lambda: None)()
        assert found is not None, f"no memory lives at {address}"
        return found

    def free(self, address: int, size: int) -> None:
        """Note what was freed while a stream still needed it, and what was freed uncleared."""
        if any(address in addresses for work in self.streams.values() for _, addresses in work):
            self.violations.append(f"{size} bytes were freed while a stream still used them")
        if ctypes.string_at(address, size).strip(b"\0"):
            self.freed_dirty += 1
        self.alive.pop(address, None)

    def _allocate(self, size: int, *, is_mapped: bool) -> FakeMemory:
        assert isinstance(size, int)
        assert 0 < size < 1 << 31
        if "allocate" in self.fails:
            raise Exception("CUDA error (2) - out of memory")
        memory = FakeMemory(self, size, is_mapped=is_mapped)
        self.made.append(weakref.ref(memory))
        return memory

    def contents(self) -> list[npt.NDArray[np.uint8]]:
        """Return what every living memory holds now, device memory included."""
        return [memory.bytes for memory in (ref() for ref in self.made) if memory is not None]


class FakeDriver:
    """libcuda, as far as it tells the compute capability."""

    def __init__(self, major: int = 8, minor: int = 7, *, status: int = 0) -> None:
        self._values, self._status = {75: major, 76: minor}, status

    def cuInit(self, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self._status

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = ordinal
        return self._status

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = self._values[attribute]
        return self._status
