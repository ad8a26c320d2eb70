"""The cache of TensorRT engines: what one was built from and for, and files refused when they differ.

An engine is code for one GPU and one TensorRT: it is built on the machine that runs it, never shipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from appliance.errors import EngineError, ModelIntegrityError, StorageError
from models.files import sha256_of, write_atomically

MAGIC = b"appliance engine 1\n"
LARGEST_ENGINE_BYTES = 1 << 30
_LARGEST_HEADER_BYTES = 64 * 1024
_LENGTH_BYTES = 4
Precision = Literal["single", "half"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The least, usual and most that an input may be: sides of a shape, or values of a shape tensor."""

    name: str
    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """What an engine is built for; part of its key.

    `values` are of inputs that say a shape (int64); `unused` are inputs of the model that its engine lacks.
    """

    shapes: tuple[Bounds, ...]
    values: tuple[Bounds, ...]
    precision: Precision
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """All that an engine depends on; `model_sha256` is of the ONNX file that the manifest pins."""

    model_id: str
    model_sha256: str
    tensorrt: str
    compute_capability: str
    profile: EngineProfile

    @property
    def file_name(self) -> str:
        """Return where the engine lies in its folder."""
        return f"{self.model_id}-{hashlib.sha256(_canonical(self)).hexdigest()[:32]}.engine"


def detector_profile(
    *,
    width_px: int,
    height_px: int,
    largest_width_px: int,
    largest_height_px: int,
    precision: Precision,
) -> EngineProfile:
    """Return the profile of a detector: any picture up to the largest, letterboxed into width x height."""
    largest = (1, largest_height_px, largest_width_px, 3)
    seen = (1, height_px, width_px, 3)
    return EngineProfile(
        shapes=(Bounds(name="frame", least=(1, 1, 1, 3), usual=largest, most=largest),),
        values=(Bounds(name="resized", least=(1, 1, 1, 3), usual=seen, most=seen),),
        precision=precision,
        unused=("pads",),  # models.fixed_size
    )


def embedder_profile(*, largest_width_px: int, largest_height_px: int, precision: Precision) -> EngineProfile:
    """Return the profile of an embedder: a crop of any size up to the whole picture."""
    largest = (1, largest_height_px, largest_width_px, 3)
    usual = (1, min(160, largest_height_px), min(160, largest_width_px), 3)
    return EngineProfile(
        shapes=(Bounds(name="crop", least=(1, 1, 1, 3), usual=usual, most=largest),),
        values=(),
        precision=precision,
    )


def write_engine(folder: Path, key: EngineKey, engine: bytes) -> Path:
    """Write an engine aside, mode 0600, and rename it; StorageError when the disk refuses."""
    header = json.dumps(
        {"key": asdict(key), "sha256": sha256_of(engine), "length_bytes": len(engine)}, sort_keys=True
    ).encode()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise StorageError(f"cannot make {folder}: {err.strerror}") from err
    path = folder / key.file_name
    length = len(header).to_bytes(_LENGTH_BYTES, "big")
    write_atomically(path, MAGIC + length + header + engine, mode=0o600)
    return path


def read_engine(folder: Path, key: EngineKey) -> bytes:
    """Return the engine for exactly this key.

    Raises:
        EngineError: There is none, it was built for something else, or others can write it.
        ModelIntegrityError: Its bytes are not those that were built.
    """
    path = folder / key.file_name
    data = _read_own(path)
    at = len(MAGIC) + _LENGTH_BYTES
    header_bytes = int.from_bytes(data[len(MAGIC) : at], "big")
    if not data.startswith(MAGIC) or header_bytes > _LARGEST_HEADER_BYTES or len(data) < at + header_bytes:
        raise ModelIntegrityError(f"{path}: not an engine of this appliance")
    try:
        header = json.loads(data[at : at + header_bytes])
    except ValueError as err:
        raise ModelIntegrityError(f"{path}: not an engine of this appliance") from err
    engine = data[at + header_bytes :]
    wanted = {"key": json.loads(_canonical(key)), "sha256": sha256_of(engine), "length_bytes": len(engine)}
    if not isinstance(header, dict) or header.get("key") != wanted["key"]:
        raise EngineError(f"{path}: built for another model, TensorRT, GPU or size; run: appliance engines")
    if header != wanted:
        raise ModelIntegrityError(f"{path}: the engine is not the one that was built; run: appliance engines")
    return engine


def _canonical(key: EngineKey) -> bytes:
    return json.dumps(asdict(key), sort_keys=True).encode()


def _read_own(path: Path) -> bytes:
    """Return a file's bytes if nobody but its owner, us or root, can write it: an engine is code."""
    try:
        folder = path.parent.stat()
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as err:
        raise EngineError(f"no {path.name} for this GPU and size; build it with: appliance engines") from err
    except OSError as err:
        raise EngineError(f"{path}: cannot be opened: {err.strerror}") from err
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(handle)
        owners = {0, os.geteuid()}
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in owners:
            raise EngineError(f"{path}: open to others; an engine is its owner's alone, mode 0600")
        if folder.st_mode & 0o022 or folder.st_uid not in owners:
            raise EngineError(f"{path.parent}: others can write in it")
        data = stream.read(LARGEST_ENGINE_BYTES + 1)
    if len(data) > LARGEST_ENGINE_BYTES:
        raise ModelIntegrityError(f"{path}: longer than {LARGEST_ENGINE_BYTES} bytes")
    return data
