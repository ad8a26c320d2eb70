"""What a process that sees faces sets for itself, and whether each setting took effect.

Source: reference measurements of residue per allocator; prctl(2), mlockall(2), mallopt(3), GNU libc tunables.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Mapping

PR_SET_DUMPABLE = 4  # linux/prctl.h
PR_GET_DUMPABLE = 3  # linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # asm-generic/mman.h
CLEARING_ENVIRONMENT = {
    # pymalloc keeps freed small objects as they were; glibc's perturb overwrites what is freed, and its
    # per-thread cache would bypass that.
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=85:glibc.malloc.tcache_count=0",
}
FIXED_ENVIRONMENT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_PATTERN = bytes(range(1, 241))
_SIZES_BYTES = (64, 512, 4096, 65536)


def worker_environment(present: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a worker; of the present one only where programs are found."""
    kept = {name: present[name] for name in ("PATH", "HOME", "VIRTUAL_ENV", "TMPDIR") if name in present}
    return {**kept, **FIXED_ENVIRONMENT, **CLEARING_ENVIRONMENT}


def harden_process() -> tuple[str, ...]:
    """Forbid core dumps, tracing by others and new privileges; return a line for each that did not take."""
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    warnings = []
    if libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        warnings.append("the process is still dumpable")
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        warnings.append("core dumps are not off")
    return tuple(warnings)


def lock_memory() -> tuple[str, ...]:
    """Keep the process out of swap as far as it is allowed to; return a line when it is not.

    ONFAULT, because locking everything at once makes resident memory grow several times over.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:
        return (f"memory is not locked as a whole (limit {soft >> 10} KiB): only the arena is",)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        return (f"memory is not locked as a whole: {os.strerror(ctypes.get_errno())}",)
    return ()


def check_clearing() -> tuple[str, ...]:
    """Free memory and look whether it was cleared; return a line for each allocator that keeps its bytes."""
    warnings = []
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    kept = [size for size in _SIZES_BYTES if _keeps_freed(libc, size)]
    if kept:
        warnings.append(f"malloc keeps what is freed (sizes {kept}): GLIBC_TUNABLES has no effect")
    if sys.flags.ignore_environment or _python_keeps_freed():
        warnings.append("Python keeps what is freed: PYTHONMALLOC has no effect")
    if os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
        warnings.append("telemetry of ONNX Runtime is not off")
    return tuple(warnings)


def check_swap() -> tuple[str, ...]:
    """Return a line when the machine has swap, where locked memory's neighbours could go."""
    try:
        with open("/proc/swaps", encoding="ascii") as swaps:  # noqa: PTH123  procfs, not a path of ours
            n_areas = len(swaps.read().splitlines()) - 1
    except OSError as err:
        return (f"swap cannot be checked: {err}",)
    return (f"{n_areas} swap areas are on",) if n_areas > 0 else ()


def _keeps_freed(libc: ctypes.CDLL, size_bytes: int) -> bool:
    address = libc.malloc(size_bytes)
    pattern = (_PATTERN * (size_bytes // len(_PATTERN) + 1))[:size_bytes]
    ctypes.memmove(address, pattern, size_bytes)
    middle = address + size_bytes // 4  # the allocator's own links stand at the beginning
    libc.free(address)
    after = ctypes.string_at(middle, 32)
    return after == pattern[size_bytes // 4 : size_bytes // 4 + 32]


def _python_keeps_freed() -> bool:
    probe = bytearray(b"\xa5\x5a") * 100
    as_bytes = bytes(probe)
    middle = id(as_bytes) + 100
    del as_bytes
    return ctypes.string_at(middle, 32) in (b"\xa5\x5a" * 16, b"\x5a\xa5" * 16)
