"""The models folder: what lies in it, checked before it is used."""

from __future__ import annotations

from pathlib import Path

from appliance.compat import StrEnum
from appliance.errors import ModelIntegrityError, ModelMissingError
from models.files import read_pinned
from models.manifest import ModelEntry, PictureEntry

DEFAULT_FOLDER = Path(".cache/models")
LARGEST_MODEL_BYTES = 250_000_000


class State(StrEnum):
    """How a model or picture is in the folder."""

    PRESENT = "present"
    MISSING = "missing"
    DAMAGED = "damaged"


def model_path(folder: Path, entry: ModelEntry) -> Path:
    """Return where the converted model lies."""
    return folder / f"{entry.id}.onnx"


def picture_path(folder: Path, entry: PictureEntry) -> Path:
    """Return where the picture lies."""
    return folder / entry.file_name


def load_model(folder: Path, entry: ModelEntry) -> bytes:
    """Return the bytes of a converted model after checking them; load these, not the file again.

    Raises:
        ModelMissingError: It has not been fetched.
        ModelIntegrityError: Its sha256 is not the manifest's.
    """
    return read_pinned(
        model_path(folder, entry), size_limit_bytes=LARGEST_MODEL_BYTES, sha256=entry.converted_sha256
    )


def load_picture(folder: Path, entry: PictureEntry) -> bytes:
    """Return the bytes of a picture after checking them; the same errors as `load_model`."""
    return read_pinned(picture_path(folder, entry), size_limit_bytes=entry.size_bytes, sha256=entry.sha256)


def state_of(folder: Path, entry: ModelEntry | PictureEntry) -> State:
    """Say how an entry is in the folder."""
    try:
        if isinstance(entry, ModelEntry):
            load_model(folder, entry)
        else:
            load_picture(folder, entry)
    except ModelMissingError:
        return State.MISSING
    except ModelIntegrityError:
        return State.DAMAGED
    return State.PRESENT
