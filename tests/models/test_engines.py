"""The cache of engines: its key, and every way in which a file in it can be wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import EngineError, ModelIntegrityError, StorageError
from models.engines import (
    MAGIC,
    EngineKey,
    detector_profile,
    embedder_profile,
    read_engine,
    write_engine,
)

KEY = EngineKey(
    model_id="centerface-1",
    model_sha256="a" * 64,
    tensorrt="10.3.0",
    compute_capability="8.7",
    profile=detector_profile(
        width_px=640, height_px=384, largest_width_px=1280, largest_height_px=720, precision="half"
    ),
)
ENGINE = bytes(range(256)) * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "engines"


@pytest.fixture
def path(folder: Path) -> Path:
    return write_engine(folder, KEY, ENGINE)


def test_engine_comes_back_as_it_was_written(folder: Path, path: Path) -> None:
    assert read_engine(folder, KEY) == ENGINE
    assert [entry.name for entry in folder.iterdir()] == [path.name]


def test_file_is_its_owner_s_alone_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        path = write_engine(folder, KEY, ENGINE)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_missing_engine_says_how_to_build_it(folder: Path) -> None:
    with pytest.raises(EngineError, match="appliance engines"):
        read_engine(folder, KEY)


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, model_id="centerface-2"),
        replace(KEY, model_sha256="b" * 64),
        replace(KEY, tensorrt="10.3.1"),
        replace(KEY, compute_capability="11.0"),
        replace(KEY, profile=replace(KEY.profile, precision="single")),
        replace(KEY, profile=replace(KEY.profile, values=())),
        replace(KEY, profile=replace(KEY.profile, unused=())),
    ],
    ids=["id", "model", "TensorRT", "GPU", "precision", "values", "unused"],
)
def test_engine_for_something_else_is_not_found_and_refused_under_this_name(
    folder: Path, path: Path, other: EngineKey
) -> None:
    with pytest.raises(EngineError, match="no "):
        read_engine(folder, other)
    path.rename(folder / other.file_name)
    with pytest.raises(EngineError, match="built for another"):
        read_engine(folder, other)


def test_flipped_byte_is_refused(folder: Path, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelIntegrityError, match="not the one that was built"):
        read_engine(folder, KEY)


@pytest.mark.parametrize("kept", [0, 5, len(MAGIC) + 2, len(MAGIC) + 50, -1])
def test_cut_file_is_refused(folder: Path, path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelIntegrityError):
        read_engine(folder, KEY)


@pytest.mark.parametrize("header", [b"{", b"[]", b"1", b'"x"'])
def test_header_that_is_none_is_refused(folder: Path, path: Path, header: bytes) -> None:
    path.write_bytes(MAGIC + len(header).to_bytes(4, "big") + header + ENGINE)
    with pytest.raises((ModelIntegrityError, EngineError)):
        read_engine(folder, KEY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_file_open_to_others_is_refused(folder: Path, path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(EngineError, match="open to others"):
        read_engine(folder, KEY)


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_folder_that_others_can_write_in_is_refused(folder: Path, path: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(EngineError, match="others can write"):
        read_engine(folder, KEY)


def test_link_in_place_of_the_file_is_refused(folder: Path, path: Path) -> None:
    path.rename(folder / "real")
    path.symlink_to(folder / "real")
    with pytest.raises(EngineError, match="cannot be opened"):
        read_engine(folder, KEY)


def test_write_cut_short_leaves_the_old_engine(folder: Path, path: Path) -> None:
    (folder / f".{path.name}.{os.getpid()}.part").write_bytes(b"half")
    assert read_engine(folder, KEY) == ENGINE
    write_engine(folder, KEY, b"new")
    assert read_engine(folder, KEY) == b"new"


def test_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        write_engine(tmp_path / "file" / "engines", KEY, ENGINE)


def test_embedder_s_profile_takes_any_crop_of_the_picture() -> None:
    profile = embedder_profile(largest_width_px=100, largest_height_px=720, precision="half")
    (crop,) = profile.shapes
    assert (crop.least, crop.usual, crop.most) == ((1, 1, 1, 3), (1, 160, 100, 3), (1, 720, 100, 3))
