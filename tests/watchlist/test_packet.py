"""A publication's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import RecordError, StorageError
from appliance.watchlist.packet import (
    AUTHORISATION_FILE,
    HEADER_FILE,
    KEY_FILE,
    LARGEST_PART_BYTES,
    SEALED_FILE,
    read_packet,
    write_packet,
)


def write(folder: Path) -> None:
    write_packet(folder, header=b"header", authorisation=b"authorisation", key=b"key", sealed=b"sealed")


def test_packet_comes_back_as_written(tmp_path: Path) -> None:
    write(tmp_path / "pub")
    packet = read_packet(tmp_path / "pub")
    assert (packet.header, packet.authorisation, packet.key) == (b"header", b"authorisation", b"key")
    assert packet.sealed_content.read_bytes() == b"sealed"
    assert [path.name for path in tmp_path.iterdir()] == ["pub"]


def test_folder_in_use_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "pub")
    with pytest.raises(StorageError, match="new folder"):
        write(tmp_path / "pub")


def test_packet_cut_short_before_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / ".pub.partial").mkdir()
    (tmp_path / ".pub.partial" / KEY_FILE).write_bytes(b"half of another key")
    (tmp_path / "pub").mkdir()
    write(tmp_path / "pub")
    assert read_packet(tmp_path / "pub").key == b"key"


@pytest.mark.parametrize("name", [HEADER_FILE, AUTHORISATION_FILE, KEY_FILE, SEALED_FILE])
def test_missing_file_and_link_are_refused_by_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / "pub")
    (tmp_path / "pub" / name).rename(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match=name):
        read_packet(tmp_path / "pub")
    (tmp_path / "pub" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match=name):
        read_packet(tmp_path / "pub")


def test_endless_part_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "pub")
    (tmp_path / "pub" / HEADER_FILE).write_bytes(bytes(LARGEST_PART_BYTES + 1))
    with pytest.raises(RecordError, match="longer"):
        read_packet(tmp_path / "pub")
