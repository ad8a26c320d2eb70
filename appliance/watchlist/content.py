"""The plain content of a list, as bytes: `WL1`, the index's length, the index, templates, portraits.

    magic "WL1\\n" | u32 big-endian index length | WatchlistIndex as JSON, padded with spaces |
    N x D float32, little-endian, C order | portraits (JPEG), one after another

Everything is checked before anything is used, and nothing may lie in it that no entry names: each template
row and each byte of the picture block belongs to exactly one reference.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from appliance.errors import IntegrityError, RecordError
from appliance.records.watchlist import (
    LARGEST_WATCHLIST,
    EnrolledReference,
    Entry,
    Reference,
    WatchlistHeader,
    WatchlistIndex,
)
from appliance.records.wire import dump_record, parse_record
from appliance.sealing import open_bytes, seal_bytes
from appliance.watchlist.rules import check_entry

MAGIC = b"WL1\n"
LARGEST_INDEX_BYTES = LARGEST_WATCHLIST * 4096
LARGEST_CONTENT_BYTES = 1 << 30
LARGEST_PORTRAIT_BYTES = 12 * 1024
SHORTEST_TEMPLATE, LONGEST_TEMPLATE = 32, 1024
NORM_TOLERANCE = 1e-3
_LENGTH = struct.Struct(">I")
_START_BYTES = len(MAGIC) + _LENGTH.size
_ALIGNMENT_BYTES = 64
_JPEG_START = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WatchlistContent:
    """An opened list; templates and portraits are views of the bytes it was opened from.

    `templates` is (N, D) float32 with unit rows, read-only; a reference's `template_row` counts its rows.
    """

    index: WatchlistIndex
    templates: npt.NDArray[np.float32]
    pictures: memoryview

    def picture(self, reference: Reference) -> bytes:
        """Return a copy of a reference's portrait (JPEG)."""
        start = reference.picture_start_bytes
        return bytes(self.pictures[start : start + reference.picture_length_bytes])


def pack_content(entries: Sequence[tuple[Entry, Sequence[EnrolledReference]]], template_length: int) -> bytes:
    """Return the plain content of a list.

    Args:
        entries: Each entry with its references; what `entry.references` says is replaced.
        template_length: D; every template is (D,) float32 with unit L2 norm.

    Raises:
        RecordError: A template has another length or no unit norm, a portrait is no JPEG or too large, or
            there are too many entries.
    """
    if len(entries) > LARGEST_WATCHLIST:
        raise RecordError(f"entries: {len(entries)}, {LARGEST_WATCHLIST} allowed")
    placed: list[Entry] = []
    templates: list[npt.NDArray[np.float32]] = []
    portraits = bytearray()
    for entry, enrolled in entries:
        references: list[Reference] = []
        for one in enrolled:
            if one.template.shape != (template_length,):
                raise RecordError(f"{entry.entry_id}: template: not of {template_length} elements")
            references.append(_placed(one, len(templates), len(portraits)))
            templates.append(one.template)
            portraits += one.portrait_jpeg
        placed.append(replace(entry, references=tuple(references)))
    matrix = np.array(templates, dtype="<f4").reshape(len(templates), template_length)
    index = dump_record(WatchlistIndex(entries=tuple(placed)))
    index += b" " * (-(_START_BYTES + len(index)) % _ALIGNMENT_BYTES)  # the matrix starts aligned
    data = b"".join((MAGIC, _LENGTH.pack(len(index)), index, matrix.tobytes(), portraits))
    _unpack(data)
    return data


def unpack_content(
    data: bytes | bytearray | memoryview, header: WatchlistHeader, *, valid_until: datetime | None = None
) -> WatchlistContent:
    """Open a list's plain content and hold it against what its signers signed; copies no template.

    Args:
        data: The content; keep it as long as the result.
        header: Signed by enough of the right people.
        valid_until: No entry may expire before this; the list's own end when not given.

    Raises:
        IntegrityError: The bytes are not those that were signed.
        RecordError: They are not a list's content, or not of the size the header tells.
        AuthorityError: An entry lacks what an entry needs (also RecordError, ExpiredError).
    """
    content = unpack_pinned(data, header.content_sha256, valid_until=valid_until or header.expires_at)
    if len(content.index.entries) != header.n_entries:
        raise RecordError("n_entries: not the number of entries in the content")
    if content.templates.shape[1] != header.template_length:
        raise RecordError("template_length: not the length of the templates in the content")
    return content


def unpack_pinned(
    data: bytes | bytearray | memoryview, content_sha256: str, *, valid_until: datetime
) -> WatchlistContent:
    """Open a list's plain content given its sha256 alone, for who has no header; else as `unpack_content`."""
    view = memoryview(data).cast("B").toreadonly()
    if len(view) > LARGEST_CONTENT_BYTES:
        raise RecordError(f"content: {len(view)} bytes, {LARGEST_CONTENT_BYTES} allowed")
    if hashlib.sha256(view).hexdigest() != content_sha256:
        raise IntegrityError("content: not what the list's signers signed")
    content = _unpack(view)
    for entry in content.index.entries:
        check_entry(entry, valid_until=valid_until)
    return content


def seal_content(content: bytes, content_key: bytes) -> bytes:
    """Encrypt a list's plain content, bound to its own sha256."""
    return seal_bytes(content, content_key, bind_content(hashlib.sha256(content).hexdigest()))


def open_content(sealed: bytes, content_key: bytes, content_sha256: str) -> bytes:
    """Return the plain content, not yet checked: `unpack_content` does that; IntegrityError otherwise."""
    return open_bytes(sealed, content_key, bind_content(content_sha256))


def bind_content(content_sha256: str) -> bytes:
    """Return what a list's ciphertext is bound to."""
    return b"watchlist\0" + content_sha256.encode("ascii", errors="replace")


def _placed(enrolled: EnrolledReference, row: int, start_bytes: int) -> Reference:
    return Reference(
        template_row=row,
        picture_start_bytes=start_bytes,
        picture_length_bytes=len(enrolled.portrait_jpeg),
        captured_on=enrolled.captured_on,
        quality=enrolled.quality,
    )


def _unpack(data: bytes | memoryview) -> WatchlistContent:
    view = memoryview(data)
    if len(view) < _START_BYTES or view[: len(MAGIC)] != MAGIC:
        raise RecordError("content: not a list's content")
    (index_length,) = _LENGTH.unpack_from(view, len(MAGIC))
    if index_length > min(LARGEST_INDEX_BYTES, len(view) - _START_BYTES):
        raise RecordError("content: the index is longer than it may be")
    index = parse_record(
        WatchlistIndex,
        bytes(view[_START_BYTES : _START_BYTES + index_length]),
        limit_bytes=LARGEST_INDEX_BYTES,
    )
    rest = view[_START_BYTES + index_length :]
    references = _check_index(index)
    pictures_length = _check_pictures_tile(references)
    template_length = _template_length(len(references), len(rest) - pictures_length)
    templates_length = len(references) * template_length * 4
    templates = np.frombuffer(rest[:templates_length], dtype="<f4").reshape(-1, template_length)
    _check_templates(templates)
    pictures = rest[templates_length:]
    for reference in references:
        start = reference.picture_start_bytes
        if pictures[start : start + len(_JPEG_START)] != _JPEG_START:
            raise RecordError("content: a portrait is not a JPEG")
    return WatchlistContent(index=index, templates=templates, pictures=pictures)


def _check_index(index: WatchlistIndex) -> list[Reference]:
    if not index.entries:
        raise RecordError("entries: none")
    if len(index.entries) > LARGEST_WATCHLIST:
        raise RecordError(f"entries: {len(index.entries)}, {LARGEST_WATCHLIST} allowed")
    if len({entry.entry_id for entry in index.entries}) != len(index.entries):
        raise RecordError("entries: an entry_id occurs twice")
    references = [reference for entry in index.entries for reference in entry.references]
    if not references:
        raise RecordError("references: none")
    if [reference.template_row for reference in references] != list(range(len(references))):
        raise RecordError("references.template_row: not one row for each reference, in order")
    return references


def _check_pictures_tile(references: Sequence[Reference]) -> int:
    end = 0
    for reference in references:
        if reference.picture_start_bytes != end:
            raise RecordError("references.picture_start_bytes: the portraits do not follow one another")
        if not len(_JPEG_START) <= reference.picture_length_bytes <= LARGEST_PORTRAIT_BYTES:
            raise RecordError(f"references.picture_length_bytes: {LARGEST_PORTRAIT_BYTES} allowed")
        end += reference.picture_length_bytes
    return end


def _template_length(n_references: int, length_bytes: int) -> int:
    length, remainder = divmod(length_bytes, n_references * 4)
    if remainder or not SHORTEST_TEMPLATE <= length <= LONGEST_TEMPLATE:
        raise RecordError("content: not as long as its index says")
    return length


def _check_templates(templates: npt.NDArray[np.float32]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("nd,nd->n", templates, templates, dtype=np.float64))
        # written so that a NaN fails too
        if not np.all(np.abs(norms - 1.0) <= NORM_TOLERANCE):
            raise RecordError("content: a template is not of unit length")
