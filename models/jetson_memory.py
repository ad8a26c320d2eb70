"""CUDA memory and streams by NVIDIA's jetson_utils; no pycuda, no cuda-python.

Nothing here ran on a Jetson: it was written from the library's source, and the tests run it on a fake that
behaves as that source says.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.errors import CudaError, DependencyError

LARGEST_BYTES = (1 << 31) - 1  # jetson_utils parses a size as a C int
_NEEDED = ("cudaMalloc", "cudaAllocMapped", "cudaMemcpy", "cudaStreamCreate", "cudaStreamSynchronize")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*, cuda.h


class MappedMemory:
    """Memory that the processor and the GPU both see at the same address.

    `view` is (size_bytes,) uint8; it must not be used after this object is gone.
    """

    def __init__(self, memory: Any) -> None:
        self._memory = memory
        self.address = int(memory.ptr)
        self.size_bytes = int(memory.size)
        cells = (ctypes.c_ubyte * self.size_bytes).from_address(self.address)
        self.view: npt.NDArray[np.uint8] = np.ctypeslib.as_array(cells)
        self.view.fill(0)


class DeviceMemory:
    """Memory of the GPU alone, and as many zeros beside it to clear it with: the library has no memset."""

    def __init__(self, jetson: Any, memory: Any, zeros: Any) -> None:
        self._jetson, self._memory, self._zeros = jetson, memory, zeros
        self.address = int(memory.ptr)
        self.size_bytes = int(memory.size)

    def clear(self, stream: int) -> None:
        """Queue its clearing on a stream; done when the stream is synchronised."""
        self._jetson.cudaMemcpy(self._memory, self._zeros, stream=stream)


class JetsonDevice:
    """The one GPU of the machine.

    Args:
        jetson: The module jetson_utils.
        compute_capability: Such as "8.7".
    """

    def __init__(self, jetson: Any, compute_capability: str) -> None:
        self._jetson = jetson
        self.compute_capability = compute_capability

    def mapped(self, size_bytes: int) -> MappedMemory:
        """Return zeroed mapped memory; CudaError when there is none."""
        return MappedMemory(self._take(self._jetson.cudaAllocMapped, size_bytes))

    def device(self, size_bytes: int) -> DeviceMemory:
        """Return device memory, holding whatever was there; CudaError when there is none."""
        memory = self._take(self._jetson.cudaMalloc, size_bytes)
        zeros = self._take(self._jetson.cudaAllocMapped, size_bytes)
        ctypes.memset(int(zeros.ptr), 0, size_bytes)
        return DeviceMemory(self._jetson, memory, zeros)

    def create_stream(self) -> int:
        """Return a new stream's handle."""
        return int(self._jetson.cudaStreamCreate(nonblocking=True))

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back; its work is done."""
        self._jetson.cudaStreamDestroy(stream)

    def synchronise(self, stream: int) -> None:
        """Wait until a stream's work is done; CudaError when any of it failed."""
        try:
            self._jetson.cudaStreamSynchronize(stream)
        except Exception as err:  # the library raises nothing more exact
            raise CudaError("the GPU did not finish its work") from err

    @staticmethod
    def _take(allocate: Any, size_bytes: int) -> Any:
        if not 0 < size_bytes <= LARGEST_BYTES:
            raise CudaError(f"{size_bytes} bytes of GPU memory cannot be asked for")
        try:
            return allocate(size=size_bytes)
        except Exception as err:  # the library raises nothing more exact
            raise CudaError(f"no {size_bytes} bytes of GPU memory") from err


def open_device(driver: Any = None) -> JetsonDevice:
    """Return the machine's GPU.

    Args:
        driver: The CUDA driver's library; None loads libcuda.so.1.

    Raises:
        DependencyError: No jetson_utils, one without streams, or no CUDA driver.
    """
    try:
        import jetson_utils
    except ImportError as err:
        raise DependencyError(
            "TensorRT needs jetson_utils, which JetPack's container or build brings"
        ) from err
    # PyPI has an unrelated package of this name.
    if not hasattr(jetson_utils, "videoSource"):
        raise DependencyError("another package goes by the name of jetson_utils: uninstall it")
    missing = [name for name in (*_NEEDED, "cudaStreamDestroy") if not hasattr(jetson_utils, name)]
    if missing:
        raise DependencyError(f"this jetson_utils is too old: it has no {', '.join(missing)}")
    return JetsonDevice(jetson_utils, _compute_capability(driver))


def _compute_capability(driver: Any) -> str:
    if driver is None:
        try:
            driver = ctypes.CDLL("libcuda.so.1")
        except OSError as err:
            raise DependencyError("TensorRT needs NVIDIA's driver: libcuda.so.1 is not there") from err
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    )
    if failed:
        raise DependencyError(f"the CUDA driver finds no device (status {failed})")
    return f"{major.value}.{minor.value}"
