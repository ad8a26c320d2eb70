"""Open a sealed list inside the vision worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.errors import StorageError
from appliance.records.channel import VisionArm
from appliance.records.watchlist import Entry, Reference
from appliance.watchlist.content import LARGEST_CONTENT_BYTES, open_content, unpack_pinned


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedList:
    """A list in the clear; it lives as long as the worker, and the worker as long as it is armed."""

    entries: tuple[Entry, ...]
    templates: npt.NDArray[np.float32]
    portrait_of: Callable[[Reference], bytes]

    @property
    def template_bytes(self) -> int:
        """Return the room that the gallery and its scores take."""
        return int(self.templates.nbytes + len(self.templates) * 4)


def open_sealed_list(descriptor: int, key: bytes, arm: VisionArm) -> OpenedList:
    """Read, decrypt and check a list; the descriptor is closed.

    Raises:
        IntegrityError: Another key, changed bytes, or not the list that was authorised.
        RecordError: Not a list, or an entry lacks what it needs (also AuthorityError, ExpiredError).
        StorageError: The file cannot be read.
    """
    try:
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            sealed = file.read(LARGEST_CONTENT_BYTES)
    except OSError as err:
        raise StorageError(f"the sealed list cannot be read: {err.strerror}") from err
    content = open_content(sealed, key, arm.content_sha256)
    unpacked = unpack_pinned(content, arm.content_sha256, valid_until=arm.valid_until)
    return OpenedList(
        entries=unpacked.index.entries, templates=unpacked.templates, portrait_of=unpacked.picture
    )
